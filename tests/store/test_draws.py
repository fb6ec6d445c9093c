from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.support.ledger import (
    NIGHT,
    NOW,
    Ledger,
    at_once,
    draw_strata,
    heuristic,
    incoming,
    judge,
    small_run,
    thresholds,
)
from worker.records import Stratum
from worker.store import meta
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.runs import draws
from worker.store.tables import DrawRow, SampleRow, core

ORDINARY = Stratum("refund", False)
sample, draw = core(SampleRow), core(DrawRow)


def sampled(store: Store) -> int:
    with store.read() as connection:
        return len(connection.execute(select(sample.c.run_pk)).all())


def history(store: Store) -> list[tuple[int, float, bool]]:
    statement = select(draw.c.seq, draw.c.threshold, draw.c.is_current).order_by(draw.c.task_type, draw.c.seq)
    with store.read() as connection:
        return [(seq, threshold, is_current) for seq, threshold, is_current in connection.execute(statement)]


@pytest.mark.parametrize(("size", "floor", "drawn"), [(50, 3, 3), (50, 20, 20), (3, 3, 3), (2, 3, 2), (4, 3, 3)])
def test_a_floor_draws_exactly_that_many(store: Store, size: int, floor: int, drawn: int) -> None:
    ledger = Ledger(store)
    ledger.add_runs(size)
    assert ledger.draw(ledger.register(heuristic()), rate=0.0, floor=floor) == drawn
    assert sampled(store) == drawn


def test_the_runs_with_the_smallest_keys_are_drawn_and_the_threshold_is_stored(store: Store) -> None:
    ledger = Ledger(store)
    ids = ledger.add_runs(10)
    ledger.draw(ledger.register(heuristic()), rate=0.3)
    assert thresholds(store) == {ORDINARY: 0.3}
    assert [job.run_id for job in ledger.jobs()] == ids[:3]
    with store.read() as connection:
        stored = draws.current_draws(connection, NIGHT)[ORDINARY]
    assert (stored["population"], stored["drawn"], stored["why"], stored["rate"]) == (10, 3, "rate", 0.3)


def test_strata_are_drawn_apart(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    ledger.add_runs(4, flagged=True)
    ledger.add_runs(100, task_type="billing")
    ledger.draw(ledger.register(heuristic()), rate=0.1, floor=3)
    with store.read() as connection:
        assert draws.populations(connection, NIGHT) == [
            (Stratum("billing", False), 100),
            (ORDINARY, 10),
            (Stratum("refund", True), 4),
        ]
        drawn = {stratum: row["drawn"] for stratum, row in draws.current_draws(connection, NIGHT).items()}
    assert drawn == {Stratum("billing", False): 10, ORDINARY: 3, Stratum("refund", True): 3}
    assert sampled(store) == 16


def test_a_key_equal_to_the_threshold_is_not_drawn(store: Store) -> None:
    ledger = Ledger(store)
    ledger.take([incoming(small_run("at"), key=0.5), incoming(small_run("below"), key=0.5 - 2**-53)])
    ledger.draw(ledger.register(heuristic()), rate=0.5)
    assert [job.run_id for job in ledger.jobs()] == ["below"]


def test_drawing_again_adds_nothing(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic(), judge())
    assert ledger.draw(scorers, rate=0.4) == 8
    assert ledger.draw(scorers, rate=0.4, now=NOW + timedelta(1)) == 0
    assert (sampled(store), history(store)) == (4, [(1, 0.4, True)])
    with store.read() as connection:
        assert draws.drawn_at(connection, [NIGHT]) == {NIGHT: NOW}


def test_a_raised_rate_supersedes_the_draw_and_only_adds_runs(store: Store) -> None:
    ledger = Ledger(store)
    ids = ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers, rate=0.2)
    before = {job.run_id for job in ledger.jobs()}
    assert ledger.draw(scorers, rate=0.6) == 4
    after = ledger.jobs()
    assert before < {job.run_id for job in after} == set(ids[:6])
    assert history(store) == [(1, 0.2, False), (2, 0.6, True)]
    assert [job.u for job in after] == pytest.approx([(number + 0.5) / 10 / 0.6 for number in range(6)])


def test_a_lowered_rate_changes_nothing(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers, rate=0.5)
    assert ledger.draw(scorers, rate=0.1) == 0
    assert history(store) == [(1, 0.5, True)]


def test_late_runs_are_decided_by_the_stored_threshold(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers, rate=0.0, floor=3)
    (threshold,) = thresholds(store).values()
    ledger.take([incoming(small_run(f"late-{key}"), key=key) for key in (0.0, 0.01, 0.02, threshold, 0.9)])
    with store.write() as connection:
        assert draws.add_samples(connection, NIGHT, NOW) == 3, "more than the floor: nothing is drawn anew"
        assert draws.add_samples(connection, NIGHT, NOW) == 0
        assert enrol.enqueue(connection, NIGHT, scorers, NOW) == 3
    assert [job.run_id for job in ledger.jobs()][:3] == ["late-0.0", "late-0.01", "late-0.02"]
    assert list(thresholds(store).values()) == [threshold]


def test_a_stratum_that_turns_up_late_is_drawn_then(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers, rate=0.5)
    ledger.add_runs(4, task_type="billing")
    with store.write() as connection:
        assert draws.add_samples(connection, NIGHT, NOW) == 0, "there is no threshold for it yet"
    assert ledger.draw(scorers, rate=0.5, now=NOW + timedelta(1)) == 2
    assert thresholds(store) == {ORDINARY: 0.5, Stratum("billing", False): 0.5}
    with store.read() as connection:
        assert draws.drawn_at(connection, [NIGHT]) == {NIGHT: NOW}, "the night was drawn when it was drawn"


def test_two_that_draw_a_night_at_once_draw_it_once(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(20)
    scorers = ledger.register(heuristic())
    told: list[tuple[bool, int]] = []
    with store.write() as connection:
        assert draws.lock_night(connection, NIGHT) is False

    def draw_it(own: Ledger, _: str) -> None:
        with own.store.write() as connection:
            was_drawn = draws.lock_night(connection, NIGHT)
            draw_strata(connection, NIGHT, 0.5, 0, NOW)
            draws.mark_drawn(connection, NIGHT, NOW)
            told.append((was_drawn, enrol.enqueue(connection, NIGHT, scorers, NOW)))

    at_once(store, 2, draw_it)
    assert sorted(told) == [(False, 10), (True, 0)]
    assert history(store) == [(1, 0.5, True)]


def test_drawn_nights_are_told_with_their_bounds_included(store: Store) -> None:
    nights = [NIGHT + timedelta(days) for days in range(4)]
    with store.write() as connection:
        assert [draws.mark_drawn(connection, night, NOW) for night in nights[:3]] == [True] * 3
        assert draws.mark_drawn(connection, nights[0], NOW + timedelta(1)) is False
    with store.read() as connection:
        assert draws.drawn_nights(connection) == nights[:3]
        assert draws.drawn_nights(connection, nights[1], nights[1]) == [nights[1]]
        assert draws.drawn_subset(connection, nights) == set(nights[:3])


def test_a_fact_about_the_installation_is_said_once(store: Store) -> None:
    with store.write() as connection:
        assert meta.get_meta(connection, "start") is None
        assert meta.set_meta_once(connection, "start", "one") == "one"
        assert meta.set_meta_once(connection, "start", "two") == "one"


def test_a_scorer_that_changes_is_a_new_row_and_one_that_does_not_stays_what_it_was(store: Store) -> None:
    ledger = Ledger(store)
    first = ledger.register(heuristic(), judge(task_types=("refund",)))
    assert ledger.register(judge(task_types=("refund",)), heuristic()) == first[::-1]
    (changed,) = ledger.register(judge(version="2"))
    assert changed.pk not in {entry.pk for entry in first}
    assert changed.key.series == "2+2task_co"
    with store.read() as connection:
        assert [entry.pk for entry in enrol.registered(connection)] == sorted(entry.pk for entry in [*first, changed])
        assert enrol.registered(connection, [changed.pk]) == [changed]
        assert enrol.enrolled(connection, [NIGHT]) == {NIGHT: []}


def test_a_scorer_gets_jobs_only_for_runs_it_applies_to(store: Store) -> None:
    ledger = Ledger(store)
    ledger.take(
        [
            incoming(small_run("refund", agent="one"), key=0.1),
            incoming(small_run("billing", task_type="billing", agent="one"), key=0.2),
            incoming(small_run("errored", status="errored", agent="two"), key=0.3),
        ]
    )
    scorers = ledger.register(
        heuristic("by_task", task_types=("refund",)),
        heuristic("by_status", statuses=("errored", "aborted")),
        heuristic("by_agent", agents=("one",)),
        heuristic("by_all", task_types=("refund",), statuses=("completed",), agents=("*",)),
        heuristic("any"),
    )
    ledger.draw(scorers)
    names = {scorer.pk: scorer.key.name for scorer in scorers}
    found: dict[str, list[str]] = {}
    for job in ledger.jobs():
        found.setdefault(names[job.scorer_pk], []).append(job.run_id)
    assert found == {
        "by_task": ["refund", "errored"],
        "by_status": ["errored"],
        "by_agent": ["refund", "billing"],
        "by_all": ["refund"],
        "any": ["refund", "billing", "errored"],
    }
