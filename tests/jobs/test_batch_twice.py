"""Batches and kept answers: what a batch answered is not paid again, and what is in doubt goes to the second judge."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.support.batch_server import BATCHED, PRICED, BatchOffice, advance, lane_states
from tests.support.cascade import BIG, CASCADE, PRICES, UNSURE, TwoJudges, account, aggregates, cost, drain
from tests.support.project import MONDAY, Installation, assert_reconciles, document, draw_nights, ingest, rows
from tests.support.rubrics import changed, look_again
from worker.demo.judge.server import MODEL
from worker.project.project import Project
from worker.records import CACHED
from worker.store.tables import AnswerRow, BatchRow, JobRow, ScoreRow, core

answer, batch, job, score = core(AnswerRow), core(BatchRow), core(JobRow), core(ScoreRow)
RUNS = 6
STRICTER = {"version: 1.0.0": "version: 1.1.0", "threshold: 0.7": "threshold: 0.9"}
OFF = PRICED.replace("concurrency = 8", "concurrency = 8\nanswers_days = 0")


@pytest.fixture
def office(installation: Installation) -> BatchOffice:
    return BatchOffice(installation.judge)


def batched(project: Project, office: BatchOffice) -> None:
    """A night judged in a batch, but for the first question to the server."""
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(project, [MONDAY])
    advance(project)
    office.end()
    advance(project)


def kept(project: Project) -> int:
    return int(rows(project, select(func.count()).select_from(answer))[0][0])


def tiers(project: Project) -> dict[Any, int]:
    """Aggregates of the newest series by service tier."""
    newest = select(func.max(job.c.scorer_pk)).scalar_subquery()
    statement = (
        select(score.c.service_tier, func.count())
        .where(score.c.criterion.is_(None), score.c.scorer_pk == newest, score.c.purpose == "production")
        .group_by(score.c.service_tier)
    )
    return dict(map(tuple, rows(project, statement)))


def test_what_a_batch_answered_needs_no_line_in_the_next(
    installation: Installation, office: BatchOffice, tmp_path: Path
) -> None:
    project = installation.project(PRICED)
    batched(project, office)
    assert tiers(project) == {"batch": RUNS - 1, None: 1}
    assert kept(project) == RUNS
    spent = account(project).spent_usd
    asked = len(installation.asked)
    again = installation.project(PRICED, SPOTCHECK_PROMPTS=changed(tmp_path / "mine", STRICTER))
    ingest(again, [document("case-new")])
    draw_nights(again, [MONDAY])
    look_again(again, MONDAY)
    with again.store.write() as connection:
        connection.execute(job.update().where(job.c.state == "queued", job.c.lane == "judge").values(lane="batch"))
    advance(again)
    assert len(office.batches) == 2
    office.end()
    advance(again)
    assert len(installation.asked) - asked == 2, "only the new run is asked about, by each version once"
    assert tiers(again) == {CACHED: RUNS, "batch": 1}
    ((batch_usd,),) = rows(again, select(func.max(batch.c.cost_usd)).where(batch.c.jobs == 2))
    assert account(again).spent_usd == pytest.approx(spent + batch_usd)
    assert account(again).reserved_usd == pytest.approx(0, abs=1e-9)
    assert_reconciles(again)


def test_without_days_a_batch_keeps_nothing_and_asks_again(
    installation: Installation, office: BatchOffice, tmp_path: Path
) -> None:
    project = installation.project(OFF)
    batched(project, office)
    assert kept(project) == 0
    again = installation.project(OFF, SPOTCHECK_PROMPTS=changed(tmp_path / "mine", STRICTER))
    look_again(again, MONDAY)
    with again.store.write() as connection:
        connection.execute(job.update().where(job.c.state == "queued", job.c.lane == "judge").values(lane="batch"))
    advance(again)
    assert len(office.lines(max(office.batches))) == RUNS


def test_what_a_batch_left_in_doubt_is_asked_of_the_second_judge_at_once_and_nothing_twice(
    installation: Installation,
    office: BatchOffice,
    tmp_path: Path,
) -> None:
    judges = TwoJudges(installation, tmp_path)
    toml = BATCHED + PRICES
    project = judges.project(toml)
    batched(project, office)
    in_doubt = lane_states(project)["judge", "queued", "a second judge is to be asked"]
    assert in_doubt == len(UNSURE) - judges.calls(BIG), "one may have been the first question to the server"
    assert in_doubt >= len(UNSURE) - 1
    ((batch_usd,),) = rows(project, select(batch.c.cost_usd))
    drain(project)
    assert {state for _, state, _ in lane_states(project)} == {"scored"}
    assert judges.calls(MODEL) == RUNS, "the first judge is not asked again"
    assert sorted(case for model, case in judges.asked if model == BIG) == list(UNSURE)
    production, beside = aggregates(project, "production"), aggregates(project, "escalation")
    assert {case for case, score in production.items() if score.model_requested == BIG} == set(UNSURE) == set(beside)
    assert {score.value for score in production.values()} == {1.0}
    # the judge counts at full price what the batch had for half
    assert account(project).spent_usd == pytest.approx(judges.paid_usd - batch_usd)
    assert account(project).reserved_usd == pytest.approx(0, abs=1e-9)
    assert cost(project) < account(project).spent_usd, "a first verdict from memory tells no price"
    assert_reconciles(project)

    asked = len(judges.asked)
    judges.prompts = changed(tmp_path / "mine", CASCADE | STRICTER)
    again = judges.project(toml)
    look_again(again, MONDAY)
    with again.store.write() as connection:
        connection.execute(job.update().where(job.c.state == "queued", job.c.lane == "judge").values(lane="batch"))
    advance(again)
    assert len(office.batches) == 1, "nothing was left to ask"
    drain(again)
    assert {state for _, state, _ in lane_states(again)} == {"scored"}
    assert len(judges.asked) == asked
    assert_reconciles(again)


def test_several_samples_with_a_second_judge_behind_them_wait_for_no_batch(
    installation: Installation, tmp_path: Path
) -> None:
    def batchable(more: str) -> bool:
        text = {"judge:\n  backend: chat": f"judge:\n  {more}\n  backend: chat"}
        project = installation.project(PRICED, SPOTCHECK_PROMPTS=changed(tmp_path / str(len(more)), text))
        rows = [row for row, _ in project.scorers.register()]
        return project.lanes.batched(rows, is_backfill=True) != []

    escalate = f"escalate: {{when: [unknown], to: {BIG}}}"
    assert batchable("samples: 3")
    assert batchable(escalate)
    assert not batchable(f"samples: 3\n  {escalate}")
