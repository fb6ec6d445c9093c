"""Nights that were drawn before another version became active, and scoring them again."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    history,
    ingest,
    nightly,
    rows,
    wait,
)
from tests.support.rubrics import changed
from worker.demo.judge.server import MODEL
from worker.pipeline.backfill import BackfillPlan, carry_out
from worker.pipeline.nightly import finish
from worker.project.project import Project
from worker.store.budget import accounts
from worker.store.results import cells
from worker.store.tables import CutRow, EnrolmentRow, JobRow, NightRow, RunRow, ScoreRow, ScorerRow, core

cut, enrolment, job, night_table, run, score, scorer = (
    core(row) for row in (CutRow, EnrolmentRow, JobRow, NightRow, RunRow, ScoreRow, ScorerRow)
)
NIGHTS = [MONDAY + timedelta(days=offset) for offset in range(3)]
LATER = MONDAY + timedelta(days=3)
STRICTER = {"version: 1.0.0": "version: 1.1.0", "threshold: 0.7": "threshold: 0.9"}
PRICED = f'{PLAIN}[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
FEW = {"refund": 9, "order": 9}
RUNS = 18
"""In a night; all of them are judged."""


def now() -> datetime:
    return datetime.now(UTC)


def drawn_before(installation: Installation, tmp_path: Path, toml: str = PLAIN) -> Project:
    """Three nights scored by 1.0.0, and a fourth that was drawn with 1.1.0."""
    old = installation.project(toml)
    ingest(old, history(4, FEW))
    assert nightly(old, NIGHTS).still_open == 0
    new = installation.project(toml, SPOTCHECK_PROMPTS=changed(tmp_path / "mine", STRICTER))
    assert nightly(new, [LATER]).still_open == 0
    return new


def run_it(project: Project, planned: BackfillPlan) -> None:
    carry_out(project, planned, now())
    assert wait(project).still_open == 0
    finish(project, now())


def scored(project: Project) -> Counter[tuple[str, date]]:
    """Runs with an aggregate score by version of the rubric and night."""
    statement = (
        select(scorer.c.version, score.c.night, func.count())
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
        .where(scorer.c.kind == "judge", score.c.criterion.is_(None), score.c.purpose == "production")
        .group_by(scorer.c.version, score.c.night)
    )
    return Counter({(version, night): count for version, night, count in rows(project, statement)})


def summarised(project: Project, version: str) -> dict[date, tuple[int, int]]:
    """Scored and drawn runs of the cells of a version's aggregate, by night."""
    with project.store.read() as connection:
        pks = list(connection.execute(select(scorer.c.pk).where(scorer.c.version == version)).scalars())
        found = cells.read_cells(connection, MONDAY, LATER, pks, aggregates_only=True)
    sums: dict[date, tuple[int, int]] = {}
    for each in found:
        for cell in each.cells:
            done, drawn = sums.get(cell.night, (0, 0))
            sums[cell.night] = done + cell.scored, drawn + cell.sampled
    return sums


def account(project: Project, which: str | None = None) -> accounts.AccountBalance:
    with project.store.read() as connection:
        return accounts.day_balance(connection, project.nights.of(now()), which)
