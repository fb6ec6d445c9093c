import random
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from tests.support.ledger import (
    NIGHT,
    NOW,
    Ledger,
    at_once,
    heuristic,
    incoming,
    judge,
    outcome,
    run,
    score,
    small_run,
)
from worker.records import Cell
from worker.store.budget.accounts import SpendingLimits
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.results import cells, trends
from worker.store.results.cells import cell, cut
from worker.store.runs import runs
from worker.store.runs.draws import draw

Key = tuple[int, str | None, str, bool, str, str]
Sums = tuple[int, int, int, int, float, float]


def a_busy_night(ledger: Ledger, seed: int) -> list[Registered]:
    """A night with every kind of thing in it: strata, agents, filters, unscored, criteria, a cut, late runs."""
    chance = random.Random(seed)

    def batch(count: int, prefix: str) -> list[runs.Incoming]:
        return [
            incoming(
                small_run(
                    f"{prefix}-{number}",
                    task_type=chance.choice(["refund", "billing", "Ärger"]),
                    agent=chance.choice(["one", "two"]),
                    agent_version=chance.choice(["1", "2"]),
                    status=chance.choice(["completed", "errored"]),
                ),
                key=chance.random(),
                flags=chance.choice([(), (), ("tool_error",)]),
            )
            for number in range(count)
        ]

    ledger.take(batch(150, "run"))
    scorers = ledger.register(heuristic(), heuristic("picky", statuses=("completed",), agents=("one",)), judge())
    ledger.draw(scorers, rate=0.4, floor=3)
    ledger.take(batch(40, "late"))
    with ledger.store.write() as connection:
        summary_of_late = enrol.enqueue(connection, NIGHT, scorers, NOW)
    assert summary_of_late == 0, "late runs are in no sample before they are decided"
    for lane in ("heuristic", "judge"):
        jobs = ledger.claim(scorers, lane=lane, limit=1_000, money=purse(scorers) if lane == "judge" else None).jobs
        ledger.settle(
            [
                outcome(
                    job,
                    chance.choice([0.0, 0.25, 1.0, None]),
                    cost_usd=0.1 if lane == "judge" else 0.0,
                    criteria=("tone", "truth"),
                )
                for job in jobs
            ]
        )
    assert ledger.claim(scorers, lane="judge", money=purse(scorers)).shed > 0
    return scorers


def purse(scorers: Sequence[Registered]) -> SpendingLimits:
    return SpendingLimits(NIGHT, 3.0, {scorer.pk: 0.1 for scorer in scorers})


def expected(ledger: Ledger, scorers: Sequence[Registered]) -> dict[Key, Sums]:
    """The cells by their definition, from raw rows."""
    with ledger.store.read() as connection:
        all_runs = {row.pk: row for row in connection.execute(select(run))}
        scores = connection.execute(select(score)).all()
        draws = {(row.task_type, row.flagged): row for row in connection.execute(select(draw))}
        cuts = {(row.draw_pk, row.scorer_pk): row.threshold for row in connection.execute(select(cut))}
    jobs = ledger.jobs()
    found: dict[Key, Sums] = {}
    for scorer in scorers:
        admitted = [run for run in all_runs.values() if scorer.applies_to.admits(run.task_type, run.status, run.agent)]
        criteria = {score.criterion for score in scores if score.scorer_pk == scorer.pk} | {None}
        for segment in {segment_of(row) for row in admitted}:
            inside = {row.pk for row in admitted if segment_of(row) == segment}
            current = draws[segment[0], segment[1]]
            threshold = cuts.get((current.pk, scorer.pk), current.threshold)
            for criterion in criteria:
                counted = [
                    score
                    for score in scores
                    if (score.scorer_pk, score.criterion) == (scorer.pk, criterion)
                    and score.run_pk in inside
                    and all_runs[score.run_pk].sample_key < threshold
                ]
                values = [score.value for score in counted if score.outcome == "scored"]
                found[scorer.pk, criterion, *segment] = (
                    len(inside),
                    sum(1 for job in jobs if job.scorer_pk == scorer.pk and job.run_pk in inside),
                    len(values),
                    len(counted) - len(values),
                    sum(values),
                    sum(value * value for value in values),
                )
    return found


def segment_of(row: Any) -> tuple[str, bool, str, str]:
    return row.task_type, row.flagged, row.agent, row.agent_version


def stored(store: Store) -> dict[Key, Sums]:
    with store.read() as connection:
        rows = connection.execute(select(cell)).mappings().all()
    keys = ("scorer_pk", "criterion", "task_type", "flagged", "agent", "agent_version")
    sums = ("population", "sampled", "scored", "unscored", "s", "ss")
    found = {tuple(row[key] for key in keys): tuple(row[name] for name in sums) for row in rows}
    assert len(found) == len(rows), "no cell twice"
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_cells_are_what_the_raw_rows_add_up_to(store: Store, seed: int) -> None:
    ledger = Ledger(store)
    scorers = a_busy_night(ledger, seed)
    with store.write() as connection:
        assert connection.execute(select(func.count()).select_from(cut)).scalar_one() > 0
        count = cells.refresh_night(connection, NIGHT)
    wanted = expected(ledger, scorers)
    found = stored(store)
    assert count == len(found)
    assert found.keys() == wanted.keys()
    for key, sums in wanted.items():
        assert found[key] == pytest.approx(sums), key
    beyond = [key for key, sums in found.items() if sums[1] > sums[2] + sums[3]]
    assert beyond, "the cut left something out"


def test_a_score_beyond_the_cut_does_not_count(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(judge())
    ledger.draw(scorers)
    money = SpendingLimits(NIGHT, 1.0, {scorers[0].pk: 0.1})
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, limit=2, money=money).jobs])
    ledger.claim(scorers, limit=1, owner="dead", money=money)
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, money=money).jobs])
    assert ledger.claim(scorers, now=NOW + timedelta(hours=1), money=money).shed == 1, "its call is presumed spent"
    with store.write() as connection:
        cells.refresh_night(connection, NIGHT)
    assert list(stored(store).values()) == [(10, 10, 2, 0, 2.0, 2.0)]
    assert stored(store) == expected(ledger, scorers)
    assert ledger.count(scorers).scored == 9, "paid for, and told as what it is"


def test_summing_a_night_again_replaces_its_cells(store: Store) -> None:
    ledger = Ledger(store)
    a_busy_night(ledger, 3)
    with store.write() as connection:
        count = cells.refresh_night(connection, NIGHT)
        assert cells.refresh_night(connection, NIGHT) == count
    assert len(stored(store)) == count


def together(store: Store, work: Callable[[Connection], object]) -> None:
    """Two transactions that are both open before either does its work; on SQLite one waits at the door."""
    barrier = threading.Barrier(2)

    def start(own: Ledger, _: str) -> None:
        with own.store.write() as connection:
            connection.execute(select(run.c.pk).limit(1)).all()
            if own.store.dialect == "postgresql":
                barrier.wait()
            work(connection)

    at_once(store, 2, start)


def test_a_night_that_two_sum_at_once_is_summed_once(store: Store) -> None:
    ledger = Ledger(store)
    a_busy_night(ledger, 4)
    with store.write() as connection:
        count = cells.refresh_night(connection, NIGHT)
    together(store, lambda connection: cells.refresh_night(connection, NIGHT))
    assert len(stored(store)) == count


def test_a_week_that_two_replace_at_once_stands_once(store: Store) -> None:
    (one,) = Ledger(store).register(judge())
    rows = [point(one.pk, "2026-W47", "refund", segment=f"s-{number}") for number in range(50)]
    together(store, lambda connection: trends.replace_week(connection, "2026-W47", rows))
    assert len(points(store)) == 50


def test_cells_come_in_one_order_on_every_database(store: Store) -> None:
    ledger = Ledger(store)
    scorers = a_busy_night(ledger, 5)
    with store.write() as connection:
        cells.refresh_night(connection, NIGHT)
        streams = cells.read_cells(connection, NIGHT, NIGHT)
        assert cells.read_cells(connection, NIGHT + timedelta(1), NIGHT + timedelta(9)) == []
        aggregates = cells.read_cells(connection, NIGHT, NIGHT, [scorers[2].pk, scorers[0].pk], aggregates_only=True)
    assert [(stream.scorer_pk, stream.criterion) for stream in streams] == [
        (scorer.pk, criterion) for scorer in scorers for criterion in (None, "tone", "truth")
    ]
    for stream in streams:
        assert stream.cells == sorted(stream.cells)
        assert all(isinstance(cell, Cell) for cell in stream.cells)
    assert [(aggregate.scorer_pk, aggregate.criterion) for aggregate in aggregates] == [
        (scorers[0].pk, None),
        (scorers[2].pk, None),
    ]


def test_unscored_runs_are_summed_by_segment(store: Store) -> None:
    ledger = Ledger(store)
    a_busy_night(ledger, 6)
    with store.write() as connection:
        cells.refresh_night(connection, NIGHT)
        found = cells.unscored_counts(connection, NIGHT, NIGHT)
    wanted: dict[tuple[Any, ...], int] = {}
    for (scorer_pk, criterion, task_type, _, agent, version), sums in stored(store).items():
        key = (scorer_pk, criterion, task_type, agent, version)
        wanted[key] = wanted.get(key, 0) + sums[3]
    assert found == wanted
    assert sum(found.values()) > 0


def test_the_reference_traffic_is_a_task_types_own_first_nights(store: Store) -> None:
    ledger = Ledger(store)
    scorers = ledger.register(heuristic(), heuristic("picky", task_types=("refund",)))
    for days, refunds, bills in ((0, 4, 0), (1, 2, 6), (2, 90, 2)):
        night = NIGHT + timedelta(days)
        ledger.add_runs(refunds, night=night)
        ledger.add_runs(bills, night=night, task_type="billing")
        ledger.draw(scorers, night=night)
        with store.write() as connection:
            cells.refresh_night(connection, night)
    with store.read() as connection:
        assert cells.first_nights(connection) == {"refund": NIGHT, "billing": NIGHT + timedelta(1)}
        assert cells.reference_traffic(connection, 2) == {"refund": 3.0, "billing": 4.0}


def stale(store: Store, since: date = NIGHT) -> list[tuple[date, int, int]]:
    with store.read() as connection:
        return cells.stale_nights(connection, since)


def summarise(store: Store) -> None:
    with store.write() as connection:
        for night, resolved, ended in cells.stale_nights(connection, NIGHT):
            cells.mark_summarised(connection, night, resolved, ended, NOW)


def test_a_night_is_stale_when_its_jobs_or_runs_changed_since_its_summary(store: Store) -> None:
    ledger = Ledger(store)
    assert stale(store) == []
    ledger.add_runs(4)
    assert stale(store) == [], "not drawn, nothing to sum"
    scorers = ledger.register(heuristic())
    ledger.draw(scorers)
    assert stale(store) == [(NIGHT, 0, 4)]
    summarise(store)
    assert stale(store) == []
    jobs = ledger.claim(scorers).jobs
    ledger.settle([outcome(job) for job in jobs[:3]])
    assert stale(store) == [(NIGHT, 3, 4)]
    summarise(store)
    ledger.add_runs(1)
    assert stale(store) == [(NIGHT, 3, 5)]


def test_an_old_night_is_looked_at_again_while_its_jobs_were_open_or_when_it_gets_more(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers, rate=0.5)
    jobs = ledger.claim(scorers).jobs
    summarise(store)
    ledger.settle([outcome(job) for job in jobs])
    much_later = NIGHT + timedelta(30)
    assert stale(store, much_later) == [(NIGHT, 5, 10)]
    summarise(store)
    assert stale(store, much_later) == []
    ledger.draw(scorers, rate=0.8)
    ledger.settle([outcome(job) for job in ledger.claim(scorers).jobs])
    assert stale(store, much_later) == [(NIGHT, 8, 10)], "somebody raised the rate of a night long past"


def test_a_night_is_compared_once_after_its_summary(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(1)
    ledger.draw(ledger.register(heuristic()))
    with store.write() as connection:
        assert cells.open_jobs(connection, NIGHT) == 1
        assert cells.uncompared_nights(connection) == []
        cells.mark_summarised(connection, NIGHT, 0, 1, NOW)
        assert cells.uncompared_nights(connection) == [NIGHT]
        cells.mark_compared(connection, NIGHT, NOW)
        assert cells.uncompared_nights(connection) == []


def point(scorer_pk: int, week: str, task_type: str | None, **over: Any) -> Mapping[str, Any]:
    counts = {"population": 10, "sampled": 5, "scored": 4, "unscored": 1}
    numbers = {"mean": 0.5, "low": 0.4, "high": 0.6, "raw_mean": None}
    names = {"dimension": "task_type", "segment": None, "criterion": None}
    return {"week": week, "task_type": task_type, "scorer_pk": scorer_pk} | names | counts | numbers | over


def points(store: Store, **asked: Any) -> Sequence[Mapping[str, Any]]:
    with store.read() as connection:
        wanted = {"dimension": "task_type", "scorer_name": None, "task_type": None, "since_week": None} | asked
        return [dict(point) for point in trends.points(connection, **wanted)]


def test_points_come_overall_first_then_by_task_type_oldest_week_first(store: Store) -> None:
    one, other = Ledger(store).register(judge("b"), heuristic("a"))
    for week in ("2026-W47", "2026-W09"):
        rows = [point(pk, week, task) for pk in (one.pk, other.pk) for task in ("refund", None, "billing")]
        rows += [point(one.pk, week, None, criterion="tone"), point(one.pk, week, None, dimension="agent", segment="x")]
        with store.write() as connection:
            trends.replace_week(connection, week, rows)
    told = [(point["scorer"], point["criterion"], point["task_type"], point["week"]) for point in points(store)]
    assert told == [
        (scorer, criterion, task_type, week)
        for scorer, criterion, tasks in (
            ("a", None, (None, "billing", "refund")),
            ("b", None, (None, "billing", "refund")),
            ("b", "tone", (None,)),
        )
        for task_type in tasks
        for week in ("2026-W09", "2026-W47")
    ]
    assert {point["scorer"] for point in points(store, scorer_name="a")} == {"a"}
    assert {point["task_type"] for point in points(store, task_type="refund")} == {"refund"}
    assert {point["week"] for point in points(store, since_week="2026-W10")} == {"2026-W47"}
    assert [point["segment"] for point in points(store, dimension="agent")] == ["x", "x"]
    assert points(store)[0]["scorer_version"] == "1+a-1"
    assert points(store, scorer_name="b")[0]["kind"] == "judge"


def test_replacing_a_week_leaves_the_others(store: Store) -> None:
    (one,) = Ledger(store).register(judge())
    with store.write() as connection:
        trends.replace_week(connection, "2026-W46", [point(one.pk, "2026-W46", None)])
        trends.replace_week(connection, "2026-W47", [point(one.pk, "2026-W47", None)])
        trends.replace_week(connection, "2026-W47", [point(one.pk, "2026-W47", None, mean=0.75)])
        trends.replace_week(connection, "2026-W46", [])
    assert [(point["week"], point["mean"]) for point in points(store)] == [("2026-W47", 0.75)]
