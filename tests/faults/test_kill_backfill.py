"""A backfill that is killed again and again: nothing is lost, nothing is scored twice, no answer is paid twice."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.support.processes import ProcessShell, environment
from tests.support.project import MONDAY, assert_reconciles, document, draw_nights, ingest, nightly, rows
from tests.support.rubrics import changed
from worker.demo.judge.server import Answer, JudgeServer, simulated_verdict
from worker.project.project import Project
from worker.settings import Settings
from worker.store.tables import EnrolmentRow, JobRow, ScoreRow, ScorerRow, core

pytestmark = pytest.mark.slow

enrolment, job, score, scorer = (core(row) for row in (EnrolmentRow, JobRow, ScoreRow, ScorerRow))
NIGHTS = [MONDAY + timedelta(days=offset) for offset in range(4)]
RUNS = 50
"""In a night."""
CONCURRENCY, LATENCY_S = 4, 0.05
HELD = 2 * CONCURRENCY + 16 + 50
"""Jobs that a process may hold, which a kill loses: calls under way, others ready, and answers not stored yet."""
TOML = f"""\
[sampling]
rate = 1.0
[scoring]
heuristics = []
rubrics = ["task_completion"]
lease_s = 5
max_attempts = 100
[judge]
concurrency = {CONCURRENCY}
answers_days = 0
"""
NEW = {"version: 1.0.0": "version: 1.1.0", "threshold: 0.7": "threshold: 0.9"}


async def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    await asyncio.sleep(LATENCY_S)  # so that a kill finds calls under way
    return simulated_verdict(request, lambda prompt: 1.0)


def states(project: Project, pk: int) -> Counter[str]:
    statement = select(job.c.state, func.count()).where(job.c.scorer_pk == pk).group_by(job.c.state)
    return Counter(dict(map(tuple, rows(project, statement))))


@pytest.mark.parametrize("database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.long)])
def test_a_backfill_survives_kill_nine_at_any_moment(database_url: str, tmp_path: Path, kills: int) -> None:
    (tmp_path / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    rng = random.Random(kills)
    with JudgeServer(answer) as judge:
        environ = environment(judge.base_url, {"SPOTCHECK_DATABASE_URL": database_url})
        old = Project(Settings.read(environ, TOML)).open()
        ingest(old, [document(f"case-{night:%d}-{number}", night) for night in NIGHTS for number in range(RUNS)])
        assert nightly(old, NIGHTS[:1]).still_open == 0
        draw_nights(old, NIGHTS[1:3])  # what an open night holds is no business of a backfill
        environ["SPOTCHECK_PROMPTS"] = changed(tmp_path / "mine", NEW)
        new = Project(Settings.read(environ, TOML)).open()
        draw_nights(new, NIGHTS[3:])
        pk = max(pk for (pk,) in rows(new, select(scorer.c.pk)))
        before = judge.requests.count
        shell = ProcessShell(tmp_path, environ)
        lost = 0
        for _ in range(kills):
            with shell.start(
                "backfill", "--until", str(NIGHTS[2]), "--yes", "--wait", start_new_session=True,
                stderr=subprocess.DEVNULL,
            ) as doomed:  # fmt: skip
                time.sleep(rng.uniform(0.3, 2.5))  # any moment, by the seed
                os.killpg(doomed.pid, signal.SIGKILL)
                doomed.wait()
            held = rows(new, select(func.count()).where(job.c.state == "leased", job.c.lease_until > datetime.now(UTC)))
            assert held[0][0] <= lost + HELD
            lost += held[0][0]
            enrolled = select(enrolment.c.night).where(enrolment.c.scorer_pk == pk).distinct()
            for (night,) in rows(new, enrolled):
                jobs = select(func.count()).where(job.c.scorer_pk == pk, job.c.night == night)
                assert rows(new, jobs) == [(RUNS,)], "a night is enrolled with all its jobs, or not at all"
            assert_books(new)
        done = shell.timed("backfill", "backfill", "--until", str(NIGHTS[2]), "--yes", "--wait", "--json")
        assert (done["open"], done["postponed"]) == (0, 0)
        shell.timed("score", "score", "--wait", "--json")
        assert states(new, pk) == {"scored": 4 * RUNS}
        per_run = (
            select(score.c.run_pk, score.c.scorer_pk, func.count())
            .where(score.c.criterion.is_(None))
            .group_by(score.c.run_pk, score.c.scorer_pk)
        )
        assert {count for _, _, count in rows(new, per_run)} == {1}
        assert len(rows(new, per_run)) == (3 + 4) * RUNS
        assert (2 + 4) * RUNS <= judge.requests.count - before <= (2 + 4) * RUNS + lost
        assert_reconciles(new)
        assert not judge.requests.failures
        old.store.close()
        new.store.close()


def assert_books(project: Project) -> None:
    """At any moment: a score has its resolved job, and a resolved job its score."""
    aggregates = select(score.c.run_pk, score.c.scorer_pk).where(score.c.criterion.is_(None))
    resolved = select(job.c.run_pk, job.c.scorer_pk).where(job.c.state.in_(("scored", "unscored")))
    assert sorted(map(tuple, rows(project, aggregates))) == sorted(map(tuple, rows(project, resolved)))
