from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import count

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.support.ledger import NIGHT, NOW, Ledger, at_once, heuristic, incoming, small_run
from worker.connectors.sources import document
from worker.records import Run, Step
from worker.settings.sections_sampling import IntakeSection
from worker.store.engine import Store
from worker.store.runs import draws, references, runs
from worker.store.runs.runs import Counts, Incoming
from worker.store.tables import PayloadRow, RunRow, core

ARun = Callable[..., Run]
run, payload = core(RunRow), core(PayloadRow)
numbers = count()


def only(store: Store, run_id: str = "r-1") -> Run:
    with store.read() as connection:
        ((_, found),) = runs.find_runs(connection, run_id)
    return found


def test_a_batch_taken_twice_stores_nothing_twice(store: Store, a_run: ARun) -> None:
    ledger = Ledger(store)
    batch = [incoming(a_run(run_id=f"r-{number}")) for number in range(30)]
    assert ledger.take(batch) == Counts(accepted=30, revised=0, duplicate=0)
    assert ledger.take(batch) == Counts(accepted=0, revised=0, duplicate=30)
    with store.read() as connection:
        assert len(connection.execute(select(payload.c.run_pk)).all()) == 30


def test_an_empty_batch_is_taken(store: Store) -> None:
    assert Ledger(store).take([]) == Counts(0, 0, 0)


def test_a_run_that_is_sent_with_other_content_becomes_a_new_revision_and_both_are_kept(
    store: Store, a_run: ARun
) -> None:
    ledger = Ledger(store)
    ledger.take([incoming(a_run(output="first"))])
    assert ledger.take([incoming(a_run(output="second"))]) == Counts(accepted=0, revised=1, duplicate=0)
    found = only(store)
    assert (found.output, found.revision) == ("second", 2)
    with store.read() as connection:
        loaded = runs.load(connection, list(connection.execute(select(run.c.pk)).scalars()))
        kept = connection.execute(select(payload.c.revision).order_by(payload.c.revision)).scalars().all()
    assert [run.output for run in loaded.values()] == ["second"]
    assert list(kept) == [1, 2]


def test_within_one_batch_the_last_revision_wins_and_each_is_kept(store: Store, a_run: ARun) -> None:
    ledger = Ledger(store)
    first, second = incoming(a_run(output="first")), incoming(a_run(output="second"))
    assert ledger.take([first, first, second]) == Counts(accepted=1, revised=1, duplicate=1)
    assert only(store).output == "second"
    with store.read() as connection:
        assert len(connection.execute(select(payload.c.revision)).all()) == 2


def test_a_file_that_holds_two_revisions_of_a_run_can_be_taken_again_and_again(store: Store, a_run: ARun) -> None:
    ledger = Ledger(store)
    batch = [incoming(a_run(output="first")), incoming(a_run(output="second"))]
    ledger.take(batch)
    assert ledger.take(batch) == Counts(accepted=0, revised=0, duplicate=2)
    assert ledger.take(batch[:1]) == Counts(accepted=0, revised=0, duplicate=1)
    found = only(store)
    assert (found.output, found.revision) == ("second", 2)


def test_two_sources_may_use_one_run_id(store: Store, a_run: ARun) -> None:
    ledger = Ledger(store)
    batch = [
        incoming(a_run(source="langfuse", output="from langfuse", ended_at=datetime(2026, 11, 20, 9, tzinfo=UTC))),
        incoming(a_run(source="otlp", output="from otlp", ended_at=datetime(2026, 11, 20, 10, tzinfo=UTC))),
    ]
    assert ledger.take(batch) == Counts(accepted=2, revised=0, duplicate=0)
    with store.read() as connection:
        newest_first = [run.output for _, run in runs.find_runs(connection, "r-1")]
        assert newest_first == ["from otlp", "from langfuse"]
        assert [run.source for _, run in runs.find_runs(connection, "r-1", "langfuse")] == ["langfuse"]
        assert runs.find_runs(connection, "nobody") == []


def test_a_revision_moves_a_run_while_its_night_is_not_drawn(store: Store, a_run: ARun) -> None:
    ledger = Ledger(store)
    ledger.take([incoming(a_run(output="first"))])
    ledger.take(
        [incoming(a_run(task_type="billing", status="errored"), night=NIGHT - timedelta(1), flags=("errored",))]
    )
    with store.read() as connection:
        moved = connection.execute(select(run)).one()
    assert (moved.night, moved.task_type, moved.flagged, moved.status) == (
        NIGHT - timedelta(1),
        "billing",
        True,
        "errored",
    )


def test_a_revision_moves_nothing_that_decided_the_draw_once_the_night_is_drawn(store: Store, a_run: ARun) -> None:
    ledger = Ledger(store)
    ledger.take([incoming(a_run(output="first", agent="one"), key=0.25)])
    ledger.draw(ledger.register(heuristic()))
    changed = a_run(task_type="billing", status="errored", agent="two", output="second")
    ledger.take([incoming(changed, night=NIGHT - timedelta(1), key=0.75, flags=("errored",))])
    with store.read() as connection:
        stands = connection.execute(select(run)).one()
    assert (stands.night, stands.sample_key) == (NIGHT, 0.25)
    assert (stands.task_type, stands.flagged, stands.flags) == ("refund", False, "")
    assert (stands.status, stands.agent) == ("completed", "one"), "they decide which scorers look at the run"
    assert only(store).output == "second"


def test_what_a_database_cannot_hold_in_free_text_becomes_a_replacement_character(store: Store, a_run: ARun) -> None:
    dirty = a_run(session_id="a\0b", user_id="\ud800", error="boom\0", stop_reason="\udfff", trace_id="\0")
    clean = incoming(a_run())
    Ledger(store).take([Incoming(dirty, "sha", clean.payload, NIGHT, 0.5, ())])
    found = only(store)
    assert (found.session_id, found.user_id, found.error) == ("a\ufffdb", "\ufffd", "boom\ufffd")
    assert (found.stop_reason, found.trace_id) == ("\ufffd", "\ufffd")


def test_texts_of_a_run_survive_whatever_they_hold(store: Store, a_run: ARun) -> None:
    odd = "NUL \0, quote ', emoji 🙂, line\u2028separator, percent %s :name"
    steps = (Step(seq=0, kind="tool", name=odd, arguments={odd: [odd, None, 1.5]}, result=odd),)
    sent = a_run(input=odd, output=odd, steps=steps, tags={"tag": odd}, vendor_ids={"v": odd})
    Ledger(store).take([incoming(sent)])
    found = only(store)
    assert found.model_dump(exclude={"received_at"}) == sent.model_dump(exclude={"received_at"})


def test_a_run_of_five_thousand_steps_comes_back_whole(store: Store, a_run: ARun) -> None:
    steps = tuple(
        Step(seq=seq, kind="tool", name="search", arguments={"page": seq}, result="x" * 100) for seq in range(5_000)
    )
    Ledger(store).take([incoming(a_run(steps=steps))])
    assert only(store).steps == steps
    with store.read() as connection:
        facts = connection.execute(select(run.c.steps, run.c.tool_calls, run.c.tool_errors)).one()
    assert tuple(facts) == (5_000, 5_000, 0)


def test_more_runs_than_one_list_of_ids_holds_come_back(store: Store) -> None:
    ledger = Ledger(store)
    batch = [incoming(small_run(f"many-{number}")) for number in range(1_100)]
    assert ledger.take(batch).accepted == 1_100
    assert ledger.take(batch).duplicate == 1_100
    with store.read() as connection:
        pks = list(connection.execute(select(run.c.pk)).scalars())
        assert len(runs.load(connection, pks)) == 1_100


def test_a_pruned_run_is_found_without_its_texts_and_never_loaded(store: Store, a_run: ARun) -> None:
    Ledger(store).take([incoming(a_run())])
    with store.write() as connection:
        connection.execute(payload.delete())
        pks = list(connection.execute(select(run.c.pk)).scalars())
        assert runs.load(connection, pks) == {}
    found = only(store)
    assert (found.task_type, found.input, found.output, found.steps) == ("refund", None, None, ())


def test_listing_is_newest_first_and_its_bounds_are_included(store: Store) -> None:
    ledger = Ledger(store)
    nights = [NIGHT - timedelta(days) for days in range(4)]
    for night in nights:
        ledger.take([incoming(small_run(f"{night}", night=night), night=night)])
    ledger.take([incoming(small_run("odd", task_type="billing", status="errored"))])
    with store.read() as connection:

        def listed(
            task_type: str | None = None,
            status: str | None = None,
            since: date | None = None,
            until: date | None = None,
            limit: int = 100,
        ) -> list[str]:
            rows = runs.list_runs(connection, task_type=task_type, status=status, since=since, until=until, limit=limit)
            return [row["run_id"] for row in rows]

        assert listed(task_type="refund") == [str(night) for night in nights]
        assert listed(since=nights[2], until=nights[1]) == [str(nights[1]), str(nights[2])]
        assert listed(task_type="billing") == listed(status="errored") == ["odd"]
        assert len(listed(limit=2)) == 2


def test_the_span_is_none_without_runs_and_both_ends_with_them(store: Store) -> None:
    ledger = Ledger(store)
    with store.read() as connection:
        assert runs.night_span(connection) is None
    for night in (NIGHT, NIGHT - timedelta(9), NIGHT - timedelta(3)):
        ledger.take([incoming(small_run(f"{night}", night=night), night=night)])
    with store.read() as connection:
        assert runs.night_span(connection) == (NIGHT - timedelta(9), NIGHT)


def test_references_of_a_night_stay_as_first_stored(store: Store) -> None:
    for cost in (1.0, 2.0):
        with store.write() as connection:
            references.store_references(connection, [{"night": NIGHT, "task_type": "refund", "cost_usd": cost}])
    with store.read() as connection:
        assert references.references(connection, [NIGHT])[NIGHT, "refund"]["cost_usd"] == 1.0
        assert references.latest_references(connection)["refund"]["cost_usd"] == 1.0


def test_recent_values_of_a_busy_task_type_are_a_bounded_subset_by_key(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(40)
    ledger.add_runs(4, task_type="rare")
    with store.read() as connection:
        values = references.recent_values(connection, NIGHT, NIGHT, limit=10)
    assert {task: len(rows) for task, rows in values.items()} == {"refund": 10, "rare": 4}


def test_two_takers_at_once_lose_no_revision(store: Store, a_run: ARun) -> None:
    told: list[Counts] = []

    def take(own: Ledger, who: str) -> None:
        batch = [incoming(a_run(run_id=f"r-{number}", output=who)) for number in range(50)]
        told.append(own.take(batch if who == "worker-0" else batch[::-1]))

    at_once(store, 2, take)
    assert Counts(*map(sum, zip(*told, strict=True))) == Counts(accepted=50, revised=50, duplicate=0)
    with store.read() as connection:
        bodies = connection.execute(select(payload.c.run_pk, payload.c.revision)).all()
        newest = runs.load(connection, list(connection.execute(select(run.c.pk)).scalars()))
    assert len(bodies) == 100
    assert {run.revision for run in newest.values()} == {2}
    assert len({run.output for run in newest.values()}) == 1, "who came second wins everywhere"


def test_two_takers_at_once_revise_one_after_the_other(store: Store, a_run: ARun) -> None:
    Ledger(store).take([incoming(a_run(run_id=f"r-{number}")) for number in range(50)])
    told: list[Counts] = []

    def take(own: Ledger, who: str) -> None:
        told.append(own.take([incoming(a_run(run_id=f"r-{number}", output=who)) for number in range(50)]))

    at_once(store, 2, take)
    assert told == [Counts(accepted=0, revised=50, duplicate=0)] * 2
    with store.read() as connection:
        assert {run.revision for _, run in runs.find_runs(connection, "r-7")} == {3}
        assert len(connection.execute(select(payload.c.run_pk)).all()) == 150


def test_a_time_of_another_zone_is_the_same_moment(store: Store) -> None:
    with store.write() as connection:
        draws.mark_drawn(connection, NIGHT, NOW.astimezone(timezone(timedelta(hours=9))))
    with store.read() as connection:
        assert draws.drawn_at(connection, [NIGHT])[NIGHT].isoformat() == NOW.isoformat()


def test_a_naive_time_never_reaches_the_store(store: Store) -> None:
    with pytest.raises(Exception, match="naive"), store.write() as connection:
        draws.mark_drawn(connection, NIGHT, datetime(2026, 11, 20))  # noqa: DTZ001 that is the point


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
AMOUNT = st.none() | st.floats(0, 1e9)
TOKENS = st.none() | st.integers(0, 2**53)
TIME = st.datetimes(datetime(2001, 1, 1), datetime(2026, 11, 20), timezones=st.just(UTC))  # noqa: DTZ001 naive by contract
STEPS = st.builds(
    Step,
    seq=st.integers(0, 99),
    kind=st.sampled_from(["model", "tool", "agent", "other"]),
    name=TEXT,
    arguments=JSON,
    result=st.none() | TEXT,
    error=st.none() | TEXT.filter(bool),
    started_at=st.none() | TIME,
    duration_ms=AMOUNT,
    model=st.none() | TEXT,
    input_tokens=TOKENS,
    cost_usd=AMOUNT,
)
RUNS = st.builds(
    Run,
    run_id=NAME.map(lambda name: f"{next(numbers)}-{name}"),
    source=NAME,
    trace_id=st.none() | NAME,
    vendor_ids=st.dictionaries(TEXT, TEXT, max_size=2),
    agent=st.just("") | NAME,
    agent_version=st.just("") | NAME,
    task_type=NAME,
    status=st.sampled_from(["completed", "aborted", "errored", "incomplete"]),
    input=st.none() | TEXT,
    output=st.none() | TEXT,
    steps=st.lists(STEPS, max_size=3).map(tuple),
    started_at=st.none() | TIME,
    ended_at=TIME,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    cost_usd=AMOUNT,
    cost_source=st.sampled_from(["client", "price_table", "unknown"]),
    latency_ms=AMOUNT,
    session_id=st.none() | NAME,
    user_id=st.none() | NAME,
    tags=st.dictionaries(TEXT, JSON, max_size=2),
    content=st.sampled_from(["full", "partial", "none"]),
    stop_reason=st.none() | NAME,
    error=st.none() | NAME,
)
few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@few
@given(st.lists(RUNS, min_size=1, max_size=4))
def test_a_run_comes_out_of_the_store_as_it_went_in(store: Store, sent: list[Run]) -> None:
    Ledger(store).take([incoming(run) for run in sent])
    with store.read() as connection:
        for run in sent:
            ((_, found),) = runs.find_runs(connection, run.run_id, run.source)
            assert found == run.model_copy(update={"received_at": NOW})


def test_a_step_comes_back_as_it_was_understood_not_as_it_was_written(store: Store) -> None:
    written = {
        "run_id": "loose",
        "task_type": "refund",
        "status": "completed",
        "ended_at": "2026-11-20T14:02:00Z",
        "steps": [{"kind": "tool", "name": "search", "started_at": "2026-11-20T15:01:00+01:00", "duration_ms": "12.5"}],
    }
    taken = document.read(orjson.loads(orjson.dumps(written)), source="jsonl", now=NOW, limits=IntakeSection())
    Ledger(store).take([Incoming(taken.run, taken.sha, taken.payload, NIGHT, 0.5, ())])
    assert only(store, "loose").steps == taken.run.steps
    assert only(store, "loose").steps[0].started_at == datetime(2026, 11, 20, 14, 1, tzinfo=UTC)
