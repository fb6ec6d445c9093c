"""Servers keep how a prompt begins for a while: ours begin alike and go out together, and what was kept is cheaper."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.project import MONDAY, PLAIN, Installation, document, draw_nights, ingest, nightly, rows, states
from tests.support.rubrics import changed
from worker.demo.judge.server import MODEL, Answer, refused, simulated_verdict
from worker.jobs.judge_loop import drain_judge
from worker.jobs.queue import ClaimedBatch, JobQueue
from worker.judge.client import ChatJudge
from worker.judge.limits.call_queue import CallQueue
from worker.judge.retrying import PacedJudge
from worker.project.project import Project
from worker.queries.report.gather import ReportRequest, gather
from worker.records import Question, Reply
from worker.scorers.rubric.scorer import RubricScorer
from worker.settings import Settings
from worker.store.budget import accounts
from worker.store.results import scores
from worker.store.tables import JobRow, RunRow, ScoreRow, core

job, run, score = core(JobRow), core(RunRow), core(ScoreRow)
RUNS = 12
TWO = PLAIN.replace("[scoring]", '[scoring]\nrubrics = ["task_completion", "groundedness"]')


class Listening:
    """A judge on the wire, with the order in which it was asked."""

    def __init__(self, base_url: str, concurrency: int) -> None:
        self._judge = PacedJudge(ChatJudge(base_url, None, concurrency=concurrency))
        self.asked: list[str] = []

    async def ask(self, question: Question) -> Reply:
        self.asked.append(question.schema_name)
        return await self._judge.ask(question)

    def queue(self, model: str) -> CallQueue:
        return self._judge.queue(model)

    async def close(self) -> None:
        await self._judge.close()


def test_the_calls_of_a_claim_go_out_rubric_by_rubric_and_are_claimed_run_by_run(installation: Installation) -> None:
    project = installation.project(TWO)
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(project, [MONDAY])
    claimed: list[list[tuple[int, int]]] = []

    class Watched(JobQueue):
        def claim(
            self, limit: int, scorer_pks: Sequence[int] | None = None, *, lease_s: float | None = None
        ) -> ClaimedBatch:
            taken = super().claim(limit, scorer_pks, lease_s=lease_s)
            claimed.append([(work.job.run_pk, work.job.scorer_pk) for work in taken.work])
            return taken

    lane = Watched(project, "judge")
    judge = Listening(installation.judge.base_url, 64)

    async def drain() -> None:
        await drain_judge(lane, judge, concurrency=64, budget_s=60, stop=lambda: False)
        await judge.close()

    asyncio.run(drain())
    assert states(project) == {"scored": 2 * RUNS}
    order = rows(
        project,
        select(job.c.run_pk, job.c.scorer_pk)
        .where(job.c.lane == "judge")
        .order_by(job.c.u, job.c.run_pk, job.c.scorer_pk),
    )
    in_turn = [pair for some in claimed for pair in some]
    assert in_turn == [tuple(pair) for pair in order], "what a budget would cut is as random as before"
    turns = sum(before != other for before, other in pairwise(judge.asked))
    claims = sum(map(bool, claimed))
    assert turns <= 2 * claims - 1, "at most once within a claim, and once between two"
    assert claims <= 6
    assert sorted(judge.asked) == ["groundedness"] * RUNS + ["task_completion"] * RUNS


def test_tokens_that_the_server_had_kept_are_counted_and_priced_as_such(installation: Installation) -> None:
    cached = 1_024

    def answer(request: dict[str, Any], headers: object) -> Answer:
        said = simulated_verdict(request, lambda prompt: 1.0)
        assert isinstance(said.body, dict)
        said.body["usage"]["prompt_tokens_details"]["cached_tokens"] = cached
        return said

    installation.judge.answer = answer
    prices = f'[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
    project = installation.project(PLAIN + prices + "cached_input_usd_per_mtok = 0.1\n")
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    nightly(project, [MONDAY])
    found = rows(project, select(score).where(score.c.criterion.is_(None), score.c.model_requested == MODEL))
    assert len(found) == RUNS
    expected = 0.0
    for one in found:
        assert one.cached_tokens == cached
        usd = ((one.input_tokens - cached) * 1.0 + cached * 0.1 + one.output_tokens * 4.0) / 1e6
        assert one.cost_usd == pytest.approx(usd)
        expected += usd
    now = datetime.now(UTC)
    with project.store.read() as connection:
        assert scores.judging_cost(connection, MONDAY, MONDAY) == pytest.approx(expected)
        assert accounts.day_balance(connection, project.nights.of(now)).spent_usd == pytest.approx(expected)
        assert scores.mean_cost(connection, found[0].scorer_pk, {}) == pytest.approx(expected / RUNS)
    assert gather(project, ReportRequest(MONDAY, MONDAY), now).sampled.judging_usd == pytest.approx(expected)


def test_only_openai_s_own_address_is_told_which_prompts_begin_alike(tmp_path: Path) -> None:
    environ = {"SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}", "SPOTCHECK_JUDGE_MODEL": MODEL}
    own = Project(Settings.read(environ | {"OPENAI_API_KEY": "sk-none"}, TWO)).open()
    other = Project(Settings.read(environ | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, TWO)).open()
    routed = [scorer for scorer in own.scorers.all if isinstance(scorer, RubricScorer)]
    assert [scorer.options.is_routed for scorer in routed] == [True, True]
    assert [scorer.options.is_routed for scorer in other.scorers.all if isinstance(scorer, RubricScorer)] == [
        False,
        False,
    ]
    assert [scorer.key for scorer in own.scorers.all] == [scorer.key for scorer in other.scorers.all]
    for project in (own, other):
        project.store.close()


def test_a_server_that_does_not_know_the_word_is_asked_without_it_from_then_on(
    installation: Installation, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def answer(request: dict[str, Any], headers: object) -> Answer:
        seen.append("prompt_cache_key" in request)
        if seen[-1]:
            return refused(400, "Unrecognized request argument: prompt_cache_key", param="prompt_cache_key")
        return simulated_verdict(request, lambda prompt: 1.0)

    installation.judge.answer = answer
    routed = changed(tmp_path / "mine", {"{temperature: 0}": "{temperature: 0, prompt_cache_key: mine}"})
    project = installation.project(PLAIN.replace("concurrency = 8", "concurrency = 1"), SPOTCHECK_PROMPTS=routed)
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    assert nightly(project, [MONDAY]).still_open == 0
    assert states(project) == {"scored": RUNS}
    assert 1 <= sum(seen) <= 4, "and those that were waiting already"
    assert seen.count(False) == RUNS
    assert not any(seen[8:])
    params = rows(project, select(score.c.params_effective).where(score.c.params_effective.is_not(None)))
    assert all("prompt_cache_key" not in given for (given,) in params)
