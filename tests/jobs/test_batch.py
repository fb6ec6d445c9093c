"""The batch lane: whatever a server does to a batch, and whenever a process dies, every job ends once."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import select, update

from tests.support.batch_server import BATCHED, PRICED, BatchOffice, advance, batch, job, lane_states, score
from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    ingest,
    rows,
    wait,
)
from worker.demo.judge.server import Answer, refused
from worker.jobs.processor import JobProcessor
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.store.budget import accounts

RUNS = 30


@pytest.fixture
def office(installation: Installation) -> BatchOffice:
    return BatchOffice(installation.judge)


@pytest.fixture
def project(installation: Installation, office: BatchOffice) -> Project:
    """A night whose judge's jobs wait for a batch; what the server can do is known already."""
    opened = installation.project(PRICED)
    ingest(opened, [document("case-known")])
    draw_nights(opened, [MONDAY])
    advance(opened)  # the one job is asked at once, to learn what the server can do
    installation.asked.clear()
    office.calls.clear()
    ingest(opened, [document(f"case-{number}") for number in range(RUNS)])
    reconcile(opened, datetime.now(UTC), lambda lane, due: None)
    with opened.store.write() as connection:
        connection.execute(update(job).where(job.c.lane == "judge").values(lane="batch"))
    draw_nights(opened, [MONDAY])
    assert lane_states(opened) == Counter({("batch", "scored", None): 1, ("batch", "queued", None): RUNS})
    return opened


def only_batch(project: Project) -> Any:
    (found,) = rows(project, select(batch))
    return found


def assert_all_scored_once(project: Project, runs: int = RUNS + 1) -> None:
    assert {state for _, state, _ in lane_states(project)} == {"scored"}
    aggregates = rows(
        project, select(score.c.run_pk).where(score.c.criterion.is_(None), score.c.prompt_hash.is_not(None))
    )
    assert len(aggregates) == len(set(aggregates)) == runs
    assert_reconciles(project)
    with project.store.read() as connection:
        held = accounts.day_balance(connection, project.nights.of(datetime.now(UTC)))
    assert held.reserved_usd == pytest.approx(0.0)


def test_a_night_is_judged_in_a_batch_for_half_the_price(
    installation: Installation, office: BatchOffice, project: Project
) -> None:
    advance(project)
    assert installation.asked == []
    assert len(office.lines("batch_0001")) == RUNS
    assert lane_states(project)["batch", "leased", None] == RUNS
    assert advance(project).settled == 0, "the server has not ended it"
    office.end()
    assert advance(project).settled == RUNS
    assert_all_scored_once(project)
    told = only_batch(project)
    assert (told.state, told.server_state, told.jobs, told.collected) == ("done", "completed", RUNS, RUNS)
    costs = rows(project, select(score.c.cost_usd, score.c.service_tier).where(score.c.cost_usd.is_not(None)))
    in_batch = [usd for usd, tier in costs if tier == "batch"]
    assert len(in_batch) == RUNS
    assert told.cost_usd == pytest.approx(sum(in_batch))
    assert told.cost_at_once_usd == pytest.approx(2 * sum(in_batch))
    with project.store.read() as connection:
        spent = accounts.day_balance(connection, project.nights.of(datetime.now(UTC))).spent_usd
    assert spent == pytest.approx(sum(usd for usd, _ in costs))
    assert office.files == {}, "no text of a run is left at the server"


def test_the_first_question_to_a_server_is_asked_at_once_to_learn_what_it_can_do(
    installation: Installation,
    office: BatchOffice,
) -> None:
    plain = installation.judge.answer

    def no_schemas(request: dict[str, Any], headers: Any) -> Any:
        if request.get("response_format", {}).get("type") == "json_schema":
            return refused(400, "response_format json_schema is not supported")
        return plain(request, headers)

    installation.judge.answer = no_schemas
    opened = installation.project(BATCHED)
    ingest(opened, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(opened, [MONDAY])
    advance(opened)
    assert len(office.lines("batch_0001")) == RUNS - 1
    assert "response_format" not in office.lines("batch_0001")[0]["body"], "asked for a tool call, as it can do"
    office.end()
    advance(opened)
    assert_all_scored_once(opened, RUNS)


@pytest.mark.parametrize("status", ["expired", "cancelled", "completed"])
def test_what_a_batch_did_not_answer_is_asked_at_once(
    installation: Installation,
    office: BatchOffice,
    project: Project,
    status: str,
) -> None:
    advance(project)
    office.end(status, only=lambda number: number % 3 == 0)
    assert advance(project).settled == RUNS // 3
    assert lane_states(project)["judge", "queued", "not answered in its batch"] == RUNS - RUNS // 3
    assert wait(project).still_open == 0
    assert len(installation.asked) == RUNS + RUNS // 3 - RUNS // 3 - RUNS // 3 + RUNS // 3
    assert_all_scored_once(project)


def test_a_failed_batch_without_any_file_is_asked_at_once(office: BatchOffice, project: Project) -> None:
    advance(project)
    office.batches["batch_0001"] |= {"status": "failed", "errors": {"data": [{"message": "too many tokens"}]}}
    advance(project)
    assert only_batch(project).trouble == "too many tokens"
    assert wait(project).still_open == 0
    assert_all_scored_once(project)


def test_a_server_that_has_too_much_waiting_gets_half_as_many_later(office: BatchOffice, project: Project) -> None:
    advance(project)
    errors = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached for m"}]}
    office.batches["batch_0001"] |= {"status": "failed", "errors": errors}
    advance(project)
    assert {lane for lane, state, _ in lane_states(project) if state == "queued"} == {"batch"}
    assert len(office.batches) == 1, "not at once"
    with project.store.write() as connection:
        connection.execute(update(job).values(not_before=None))
    advance(project)
    assert [len(office.lines(name)) for name in sorted(office.batches)][1:] == [RUNS // 2, RUNS // 2]
    for name in sorted(office.batches)[1:]:
        office.end(batch_id=name)
    advance(project)
    assert_all_scored_once(project)


def test_a_file_that_is_too_large_for_the_server_is_sent_in_halves(office: BatchOffice, project: Project) -> None:
    sizes: list[int] = []

    def only_small(method: str, path: str) -> Answer | None:
        if (method, path) != ("POST", "/v1/files"):
            return None
        (filling,) = [row.jobs for row in rows(project, select(batch)) if row.state == "filling"]
        sizes.append(filling)
        return refused(413, "Request Entity Too Large") if filling > 10 else None

    office.instead = only_small
    for _ in range(3):
        advance(project)
    assert sizes[:2] == [RUNS, RUNS // 2]
    assert max(sizes[2:]) <= 10
    for name in office.batches:
        office.end(batch_id=name)
    advance(project)
    assert_all_scored_once(project)


def test_rows_of_every_bad_kind_cost_only_themselves(office: BatchOffice, project: Project) -> None:
    advance(project)
    seen: list[str] = []

    def spoil(row: dict[str, Any]) -> list[bytes]:
        seen.append(row["custom_id"])
        good = orjson.dumps(row)
        too_long = {"error": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"}}
        bad: list[list[bytes]] = [
            [good, good],
            [b"not json", good],
            [b"{}", b"[]", b"null", good],
            [orjson.dumps(row | {"custom_id": "1-1-1-1"}), good],
            [orjson.dumps(row | {"custom_id": None})],
            [orjson.dumps(row | {"response": None, "error": {"code": "batch_expired"}})],
            [orjson.dumps(row | {"response": {"status_code": 500, "body": {"error": {"message": "oops"}}}})],
            [orjson.dumps(row | {"response": {"status_code": 429, "body": None}})],
            [orjson.dumps(row | {"response": {"status_code": 200, "body": {"choices": "none"}}})],
            [orjson.dumps(row | {"response": {"status_code": 400, "body": too_long}})],
            [orjson.dumps(row | {"response": {"status_code": "200", "body": row["response"]["body"]}})],
            [good[: len(good) // 2]],
            [b'{"custom_id": "' + b"x" * 9_000_000 + b'"}', good],
        ]
        return bad[len(seen) % len(bad)]

    office.end(spoil=spoil)
    advance(project)
    assert wait(project).still_open == 0
    found = Counter(state for _, state, _ in lane_states(project).elements())
    too_long = sum(1 for number in range(1, RUNS + 1) if number % 13 == 9)
    assert found == Counter({"scored": RUNS + 1 - too_long, "unscored": too_long})
    assert {reason for _, state, reason in lane_states(project) if state == "unscored"} == {"too_long"}
    assert_reconciles(project)
    assert "could not be read" in only_batch(project).trouble


def test_at_its_deadline_a_batch_is_cancelled_and_what_is_missing_is_asked_at_once(
    office: BatchOffice, project: Project
) -> None:
    advance(project)
    with project.store.write() as connection:
        connection.execute(update(batch).values(deadline_at=datetime.now(UTC) - timedelta(seconds=1)))
    advance(project)
    assert office.batches["batch_0001"]["status"] == "cancelling"
    advance(project)
    assert office.calls["POST /v1/batches/cancel"] == 1
    assert lane_states(project)["batch", "leased", None] == RUNS, "what was answered meanwhile is still to come"
    office.end("cancelled", only=lambda number: number < 10)
    assert advance(project).settled == 10
    assert wait(project).still_open == 0
    assert_all_scored_once(project)


def test_a_batch_that_does_not_even_end_when_cancelled_is_given_up_and_presumed_paid(
    office: BatchOffice, project: Project
) -> None:
    advance(project)
    with project.store.write() as connection:
        connection.execute(update(batch).values(deadline_at=datetime.now(UTC) - timedelta(hours=2)))
    advance(project)
    assert only_batch(project).state == "done"
    assert wait(project).still_open == 0
    assert_all_scored_once(project)


@pytest.mark.parametrize("call", ["POST /v1/files", "POST /v1/batches"])
def test_a_step_whose_answer_was_lost_is_not_done_twice(office: BatchOffice, project: Project, call: str) -> None:
    method, path = call.split()
    lost = [Answer(500, body={"error": {"message": "gone"}})]
    office.after = lambda one, at: lost.pop() if (one, at) == (method, path) and lost else None
    advance(project)
    assert only_batch(project).trouble is not None
    advance(project)
    assert len(office.batches) == 1
    office.end()
    assert advance(project).settled == RUNS
    assert_all_scored_once(project)


def test_a_process_that_is_told_to_stop_leaves_the_batch_to_the_next(
    office: BatchOffice, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.jobs.batch.held.JOBS_AT_ONCE", 7)

    def after(looks: int) -> Callable[[], bool]:
        left = iter(range(looks))
        return lambda: next(left, None) is None

    for looks in (1, 2, 3):
        advance(project, stop=after(looks))
        assert office.batches == {}
    advance(project)
    assert len(office.lines("batch_0001")) == RUNS
    office.end()
    total = sum(advance(project, stop=after(looks)).settled for looks in (1, 1, 1))
    assert total == 21
    assert total + advance(project).settled == RUNS
    assert only_batch(project).collected == RUNS
    assert_all_scored_once(project)


def test_many_processes_at_once_make_one_batch_of_each_job(office: BatchOffice, project: Project) -> None:
    broken: list[BaseException] = []

    def work() -> None:
        own = Project(project.settings).open()
        try:
            with JobProcessor(own) as processor:
                processor.drain("batch")
        except BaseException as error:  # noqa: BLE001 told by the test's own thread
            broken.append(error)
        finally:
            own.store.close()

    for has_ended in (False, True):
        for one in office.batches if has_ended else ():
            office.end(batch_id=one)
        with project.store.write() as connection:
            connection.execute(update(batch).values(look_at=project.store.now(connection)))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert broken == []
    ids = [line["custom_id"] for batch in office.batches for line in _asked(office, batch)]
    assert len(ids) == len(set(ids))
    while any(row.state != "done" for row in rows(project, select(batch))):
        advance(project)
    assert_all_scored_once(project)


def _asked(office: BatchOffice, batch_id: str) -> list[dict[str, Any]]:
    return office.lines(batch_id) if office.batches[batch_id]["input_file_id"] in office.files else []


def test_a_server_without_a_batch_lane_is_asked_at_once(
    installation: Installation, project: Project, office: BatchOffice
) -> None:
    office.instead = lambda method, path: refused(404, "Not Found")
    advance(project)
    assert only_batch(project).state == "done"
    assert wait(project).still_open == 0
    assert len(installation.asked) == RUNS
    assert_all_scored_once(project)


def test_a_refused_key_puts_the_batch_off_and_loses_nothing(office: BatchOffice, project: Project) -> None:
    office.instead = lambda method, path: refused(401, "Incorrect API key provided")
    assert "check OPENAI_API_KEY" in (advance(project).refused or "")
    assert lane_states(project)["batch", "leased", None] == RUNS
    office.instead = lambda method, path: None
    advance(project)
    office.end()
    assert advance(project).settled == RUNS
    assert_all_scored_once(project)


def test_a_run_that_was_sent_again_meanwhile_is_asked_again(
    installation: Installation,
    office: BatchOffice,
    project: Project,
) -> None:
    advance(project)
    ingest(project, [document("case-3", output="Now something else was said about order case-3.")])
    office.end()
    assert advance(project).settled == RUNS - 1
    assert wait(project).still_open == 0
    assert [("something else" in str(request["messages"])) for request in installation.asked][-1]
    assert_all_scored_once(project)


def test_a_budget_is_reserved_at_the_batchs_price_and_kept(installation: Installation, office: BatchOffice) -> None:
    opened = installation.project(PRICED)
    (most,) = [opened.prices.max_usd(scorer) for scorer in opened.scorers.all if scorer.key.kind == "judge"]
    assert most is not None
    capped = installation.project(PRICED.replace("[judge]", f"[judge]\nbudget_usd_per_day = {most * 5.2}"))
    ingest(capped, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(capped, [MONDAY])
    advance(capped)  # one is asked at once
    first = len(office.lines(max(office.batches)))
    assert 9 <= first <= 10, "at half the price twice as many fit as at once"
    office.end()
    for _ in range(12):
        advance(capped)
        if any(batch["status"] == "in_progress" for batch in office.batches.values()):
            office.end()
    with capped.store.read() as connection:
        spent = accounts.day_balance(connection, capped.nights.of(datetime.now(UTC)))
    assert spent.spent_usd + spent.reserved_usd <= most * 5.2 + 1e-9
    assert_reconciles(capped)


def test_lanes_by_rubric_and_for_nights_of_long_ago(installation: Installation, office: BatchOffice) -> None:
    toml = PLAIN.replace("[scoring]", '[scoring]\nrubrics = ["task_completion", "tone_and_format"]')
    toml += 'backfill_lane = "batch"\n[judge.lanes]\ntone_and_format = "now"\n'
    opened = installation.project(toml)
    recent = datetime.now(UTC).date() - timedelta(days=1)
    ingest(opened, [document("case-old", MONDAY), document("case-new", recent)])
    draw_nights(opened, [MONDAY, recent])
    found = rows(opened, select(job.c.night, job.c.lane).where(job.c.lane != "heuristic").order_by(job.c.night))
    assert sorted(found) == sorted([(MONDAY, "batch"), (MONDAY, "judge"), (recent, "judge"), (recent, "judge")])
