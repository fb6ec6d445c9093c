"""The same question is not paid twice: what a judge answered is kept, given again, and forgotten."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, event, func, select, text, update

from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    ingest,
    nightly,
    rows,
    states,
    wait,
)
from tests.support.rubrics import changed, look_again
from worker.demo.judge.server import MODEL, completion, refused
from worker.errors import StoreError
from worker.jobs.judge_loop import drain_judge
from worker.jobs.processor import JobProcessor
from worker.jobs.queue import ClaimedBatch, JobQueue
from worker.jobs.reply_cache import ReplyCache, key_of, pack, unpack
from worker.judge.client import ChatJudge
from worker.judge.retrying import PacedJudge
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.records import CACHED, CriterionQuestion, Judging, Message, Question, Reply
from worker.store.budget import accounts
from worker.store.tables import AnswerRow, JobRow, ScoreRow, core

answer, job, score = core(AnswerRow), core(JobRow), core(ScoreRow)
RUNS = 6
PRICED = f'{PLAIN}[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
RAISED = {"version: 1.0.0": "version: 1.1.0"}
STRICTER = RAISED | {"threshold: 0.7": "threshold: 0.9"}


def judged(installation: Installation, toml: str = PLAIN) -> Project:
    """A project whose night is scored."""
    project = installation.project(toml)
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    assert nightly(project, [MONDAY]).still_open == 0
    assert len(installation.asked) == RUNS
    return project


def again(
    installation: Installation, tmp_path: Path, changes: dict[str, str], toml: str = PLAIN, **environ: str
) -> Project:
    """The same night, scored by a rubric or a judge that changed so."""
    prompts = changed(tmp_path / "mine", RAISED | changes) if changes else ""
    project = installation.project(toml, **{"SPOTCHECK_PROMPTS": prompts, **environ})
    look_again(project, MONDAY)
    assert wait(project).still_open == 0
    return project


def kept(project: Project) -> int:
    return int(rows(project, select(func.count()).select_from(answer))[0][0])


def aggregates(project: Project) -> list[Any]:
    """Of the newest series."""
    newest = select(func.max(job.c.scorer_pk)).where(job.c.lane == "judge").scalar_subquery()
    statement = select(score).where(score.c.criterion.is_(None), score.c.scorer_pk == newest)
    return rows(project, statement.order_by(score.c.run_pk))


# What is the same question


def test_another_threshold_costs_no_call(installation: Installation, tmp_path: Path) -> None:
    installation.passes = lambda case: case != "case-3"
    first = judged(installation, PRICED)
    before = aggregates(first)
    assert kept(first) == RUNS
    project = again(installation, tmp_path, STRICTER, PRICED)
    assert len(installation.asked) == RUNS
    assert states(project) == {"scored": 2 * RUNS}
    after = aggregates(project)
    assert {job.scorer_pk for job in after}.isdisjoint({job.scorer_pk for job in before})
    same = ("value", "prompt_hash", "model_served", "input_tokens", "output_tokens", "params_effective")
    for old, new in zip(before, after, strict=True):
        assert [getattr(new, name) for name in same] == [getattr(old, name) for name in same]
        assert (new.service_tier, new.cost_usd, new.latency_ms) == (CACHED, 0.0, 0.0)
        assert old.cost_usd > 0
    assert kept(project) == RUNS
    assert_reconciles(project)


def test_a_rubric_that_a_backfill_sets_on_an_open_night_asks_only_about_the_rest(
    installation: Installation, tmp_path: Path
) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    old = installation.project()
    ingest(old, [document(f"case-{number}", yesterday) for number in range(40)])
    draw_nights(old, [yesterday])
    with JobProcessor(old) as processor:
        processor.drain("judge", stop=lambda: len(installation.asked) >= 10)
    done = states(old)["scored"]
    assert 10 <= done < 40
    new = installation.project(SPOTCHECK_PROMPTS=changed(tmp_path / "mine", STRICTER))
    look_again(new, yesterday)
    before = len(installation.asked)
    with JobProcessor(new) as processor:
        while processor.drain("judge").settled:
            pass
    assert states(new) == {"scored": 2 * 40}, "each version ends what it was enrolled with"
    assert len({one["messages"][-1]["content"] for one in installation.asked}) == 40
    assert 40 - done <= len(installation.asked) - before <= 2 * (40 - done), "two may ask the same at the same moment"


@pytest.mark.parametrize(
    "what", ["another question", "another limit", "another temperature", "another model", "another address"]
)
def test_any_other_question_or_judge_is_asked(installation: Installation, tmp_path: Path, what: str) -> None:
    changes = {
        "another question": {"Is every part of the request dealt with?": "Is each part of the request dealt with?"},
        "another limit": {"max_output_tokens: 2000": "max_output_tokens: 2001"},
        "another temperature": {"temperature: 0": "temperature: 0.1"},
    }
    environ = {
        "another model": {"SPOTCHECK_JUDGE_MODEL": "another"},
        "another address": {"OPENAI_BASE_URL": installation.judge.base_url.replace("127.0.0.1", "localhost")},
    }
    judged(installation)
    given = changes.get(what, {})
    if what == "another address":
        given = STRICTER
    project = again(installation, tmp_path, given, **environ.get(what, {}))
    assert len(installation.asked) == 2 * RUNS
    assert kept(project) == 2 * RUNS


def test_a_key_stands_for_all_that_is_sent_and_for_nothing_else() -> None:
    asked = Question(
        messages=(Message("system", "s"), Message("user", "u")),
        answer_schema={"type": "object", "properties": {"a": {}, "b": {}}},
        schema_name="demo",
        model="m",
        params={"temperature": 0, "seed": 1},
        prompt_hash="0" * 16,
    )
    others: Sequence[dict[str, Any]] = [
        {"messages": (Message("system", "su"), Message("user", ""))},
        {"messages": (Message("user", "s"), Message("user", "u"))},
        {"answer_schema": {"type": "object", "properties": {"b": {}, "a": {}}}},
        {"schema_name": "other"},
        {"model": "n"},
        {"params": {"temperature": 0}},
        {"params": {"temperature": 0, "seed": "1"}},
        {"max_output_tokens": 1201},
        {"backend": "responses"},
        {"wants_probabilities": True},
        {"may_repair": True},
        {"asked": (CriterionQuestion("one", "One?", {"pass": "It is.", "fail": "It is not."}),)},
        {"asked": (CriterionQuestion("one", "One?", {"pass": "It is.", "fail": "It isn't."}),)},
    ]
    keys = {key_of("", asked.model_copy(update=other)) for other in others}
    keys |= {key_of("http://a/v1", asked), key_of("", asked)}
    assert len(keys) == len(others) + 2
    same: Sequence[dict[str, Any]] = [
        {"prompt_hash": "1" * 16},
        {"digest_version": "9"},
        {"service_tier": "flex"},
        {"params": {"seed": 1, "temperature": 0, "prompt_cache_key": "spotcheck-1"}},
    ]
    assert {key_of("", asked.model_copy(update=other)) for other in same} == {key_of("", asked)}
    torn = asked.model_copy(update={"messages": (Message("user", "lone \ud800"),)})
    assert len({key_of("", torn), key_of("", asked)}) == 2
    assert set(Question.model_fields) == {
        "backend", "messages", "answer_schema", "schema_name", "model", "params", "max_output_tokens",
        "wants_probabilities", "may_repair", "asked", "prompt_hash", "digest_version", "is_repeated", "service_tier",
    }, "a new field belongs into the key, or into what is named beside it"  # fmt: skip


def test_a_reply_comes_back_as_it_was_but_for_price_and_time() -> None:
    judging = Judging(model_requested="m", service_tier="batch", input_tokens=9, cost_usd=0.5, latency_ms=7.0)
    reply = Reply(content='{"a": "\u2028\x00"}', finish_reason="stop", judging=judging)
    body = pack(reply)
    assert body is not None
    found = unpack(body)
    assert found is not None
    free = {"service_tier": CACHED, "cost_usd": 0.0, "latency_ms": 0.0}
    assert found == reply.model_copy(update={"judging": judging.model_copy(update=free)})
    assert pack(reply.model_copy(update={"content": "lone \ud800"})) is None
    later_version = orjson.dumps(orjson.loads(body) | {"a_field_of_tomorrow": 1})
    assert unpack(later_version) is None
    assert unpack(b"no JSON") is None


# What is not kept, or not given again


def test_an_answer_without_a_verdict_is_asked_for_again(installation: Installation, tmp_path: Path) -> None:
    said = {
        "case-0": completion("prose"),
        "case-1": completion(None, refusal="no"),
        "case-2": completion('{"a', finish_reason="length"),
        "case-3": completion("", finish_reason="content_filter"),
        "case-4": refused(400, "maximum context length is 8192 tokens", code="context_length_exceeded"),
    }
    installation.instead = said.get
    project = installation.project()
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    nightly(project, [MONDAY])
    assert states(project) == {"unscored": 5, "scored": 1}
    assert kept(project) == 1
    installation.instead = lambda case: None
    before = len(installation.asked)
    project = again(installation, tmp_path, STRICTER)
    assert len(installation.asked) - before == 5
    assert states(project) == {"unscored": 5, "scored": 1 + RUNS}
    assert kept(project) == RUNS


@pytest.mark.parametrize(
    ("purpose", "replicate", "is_asked"),
    [("backfill", 0, False), ("bridge", 0, False), ("anchor:2026-09-07", 0, True), ("production", 1, True)],
)
def test_anchors_and_repetitions_are_asked_anew(
    installation: Installation, purpose: str, replicate: int, is_asked: bool
) -> None:
    project = judged(installation)
    again_so = {"state": "queued", "attempt": 0, "purpose": purpose, "replicate": replicate, "resolved_at": None}
    with project.store.write() as connection:
        connection.execute(update(job).where(job.c.lane == "judge").values(**again_so))
    assert wait(project).still_open == 0
    assert len(installation.asked) == RUNS * (1 + is_asked)
    tiers = rows(
        project, select(score.c.service_tier).where(score.c.purpose == purpose, score.c.replicate == replicate)
    )
    assert ((CACHED,) in tiers) is not is_asked
    assert kept(project) == RUNS


def test_who_wants_several_answers_takes_none_of_before_and_keeps_none(
    installation: Installation, tmp_path: Path
) -> None:
    judged(installation)
    several = {"{temperature: 0}": "{temperature: 0}\n  samples: 3"}
    project = again(installation, tmp_path, several)
    assert len(installation.asked) == RUNS * (1 + 3)
    assert kept(project) == RUNS


def test_after_its_days_an_answer_is_not_given_again_and_forgotten(installation: Installation, tmp_path: Path) -> None:
    project = judged(installation)
    made = datetime.now(UTC) - timedelta(days=7, minutes=1)
    with project.store.write() as connection:
        some = connection.execute(select(answer.c.key).order_by(answer.c.key).limit(4)).scalars().all()
        connection.execute(update(answer).where(answer.c.key.in_(some)).values(created_at=made))
    reconcile(installation.project(PLAIN + "answers_days = 8\n"), datetime.now(UTC), lambda lane, due: None)
    assert kept(project) == RUNS
    again(installation, tmp_path, STRICTER)
    assert len(installation.asked) == RUNS + 4
    with project.store.write() as connection:
        connection.execute(update(answer).where(answer.c.key.in_(some)).values(created_at=made))
    reconcile(project, datetime.now(UTC), lambda lane, due: None)
    assert kept(project) == RUNS - 4


def test_without_days_nothing_is_kept_and_what_was_kept_goes(installation: Installation, tmp_path: Path) -> None:
    project = judged(installation)
    off = PLAIN + "answers_days = 0\n"
    again(installation, tmp_path, STRICTER, off)
    assert len(installation.asked) == 2 * RUNS
    assert kept(project) == RUNS
    reconcile(installation.project(off), datetime.now(UTC), lambda lane, due: None)
    assert kept(project) == 0


# Money and the store


def test_a_job_that_is_answered_from_memory_spends_nothing_and_frees_what_was_reserved(
    installation: Installation,
    tmp_path: Path,
) -> None:
    capped = PRICED.replace("concurrency = 8", "concurrency = 8\nbudget_usd_per_day = 1.0")
    project = judged(installation, capped)
    today = project.nights.of(datetime.now(UTC))

    def account() -> accounts.AccountBalance:
        with project.store.read() as connection:
            return accounts.day_balance(connection, today)

    before = account()
    assert before.spent_usd > 0
    again(installation, tmp_path, STRICTER, capped)
    assert len(installation.asked) == RUNS
    after = account()
    assert after.spent_usd == pytest.approx(before.spent_usd)
    assert after.reserved_usd == pytest.approx(0, abs=1e-9)


def test_answers_are_kept_with_their_scores_or_not_at_all(
    installation: Installation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    project = installation.project(PLAIN.replace("heuristics", "lease_s = 5\nheuristics"))
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(project, [MONDAY])
    with project.store.write() as connection:
        connection.execute(text("ALTER TABLE answer RENAME TO gone"))
    with JobProcessor(project) as processor, pytest.raises(StoreError):
        processor.drain("judge")
    assert len(installation.asked) >= 1, "a memory that does not answer keeps nobody from asking"
    assert [record.levelname for record in caplog.records if "kept answers cannot be looked up" in record.message] == [
        "WARNING"
    ]
    assert states(project) == {"leased": RUNS}
    assert rows(project, select(score.c.pk)) == []
    with project.store.write() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO answer"))
        connection.execute(update(job).values(lease_until=datetime(2026, 1, 1, tzinfo=UTC)))
    assert nightly(project, [MONDAY]).still_open == 0
    assert states(project) == {"scored": RUNS}
    assert kept(project) == RUNS


class Counting(JobQueue):
    """A lane that counts the claims that gave work."""

    claims = 0

    def claim(
        self, limit: int, scorer_pks: Sequence[int] | None = None, *, lease_s: float | None = None
    ) -> ClaimedBatch:
        taken = super().claim(limit, scorer_pks, lease_s=lease_s)
        self.claims += bool(taken.work)
        return taken


def test_a_claim_is_looked_up_with_one_query_and_settled_answers_take_one_statement(installation: Installation) -> None:
    project = installation.project(PLAIN.replace("concurrency = 8", "concurrency = 64"))
    ingest(project, [document(f"case-{number}") for number in range(60)])
    draw_nights(project, [MONDAY])
    seen: list[str] = []

    def note(_: Connection, cursor: object, statement: str, *rest: object) -> None:
        if " answer" in statement:
            seen.append(statement.split()[0])

    event.listen(project.store.engine, "before_cursor_execute", note)
    lane = Counting(project, "judge")

    async def drain() -> None:
        judge = PacedJudge(ChatJudge(installation.judge.base_url, None, concurrency=64))
        await drain_judge(lane, judge, concurrency=64, budget_s=60, stop=lambda: False, answers=ReplyCache(project))
        await judge.close()

    asyncio.run(drain())
    event.remove(project.store.engine, "before_cursor_execute", note)
    assert states(project) == {"scored": 60}
    assert kept(project) == 60
    assert lane.claims <= 30
    assert seen.count("SELECT") <= lane.claims
    assert seen.count("INSERT") <= lane.claims + 5
    assert set(seen) == {"SELECT", "INSERT"}
