"""Projects on one database with a simulated judge, and the steps from runs to trends in one process."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import select, update

from worker.connectors.sources import jsonl
from worker.demo.judge.server import MODEL, Answer, JudgeServer, simulated_verdict
from worker.jobs.processor import JobProcessor
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import IntakeCounts, take
from worker.pipeline.nightly import Waited, finish, wait_for_scores
from worker.project.project import Project
from worker.records.sample import StratumDraw
from worker.settings import Settings
from worker.store.results import counts
from worker.store.tables import CellRow, DrawRow, JobRow, RunRow, SampleRow, ScoreRow, ScorerRow, TrendRow, core

cell, draw, job, run, sample, score, scorer, trend = (
    core(row) for row in (CellRow, DrawRow, JobRow, RunRow, SampleRow, ScoreRow, ScorerRow, TrendRow)
)
MONDAY = date(2026, 9, 7)
"""The first night of every history here; long over."""
PLAIN = """\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present"]
[judge]
concurrency = 8
"""
CASE = re.compile(r"case-[0-9a-z-]+")


class Installation:
    """A judge whose mind can be changed, and projects on one database that ask it."""

    def __init__(self, database_url: str, judge: JudgeServer) -> None:
        self.database_url, self.judge = database_url, judge
        self.asked: list[dict[str, Any]] = []
        self.passes: Callable[[str], bool] = lambda case: True
        self.judge.answer = self._answer
        self.instead: Callable[[str], Answer | None] = lambda case: None
        """What to answer instead of a verdict; None for a verdict."""
        self._opened: list[Project] = []

    def _answer(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.append(request)
        case = CASE.search(prompt_of(request))
        named = case.group() if case else ""
        passes = 1.0 if self.passes(named) else 0.0
        return self.instead(named) or simulated_verdict(request, lambda prompt: passes)

    def project(self, toml: str = PLAIN, **environ: str) -> Project:
        addresses = {
            "SPOTCHECK_DATABASE_URL": self.database_url,
            "SPOTCHECK_JUDGE_MODEL": MODEL,
            "OPENAI_BASE_URL": self.judge.base_url,
        }
        opened = Project(Settings.read(addresses | environ, toml)).open()
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        for project in self._opened:
            project.store.close()


def prompt_of(request: Mapping[str, Any]) -> str:
    return "\n".join(message["content"] for message in request["messages"])


def document(case: str, night: date = MONDAY, **over: Any) -> dict[str, Any]:
    """A run whose texts name its case, as JSON fields."""
    ended = datetime(night.year, night.month, night.day, 14, tzinfo=UTC)
    return {
        "run_id": case,
        "task_type": "refund",
        "status": "completed",
        "ended_at": ended.isoformat(),
        "input": f"Order {case}: please refund the lamp that came broken.",
        "output": f"I have refunded order {case}; the money arrives in three days.",
        "steps": [{"kind": "tool", "name": "issue_refund", "arguments": {"order": case}, "result": "issued"}],
        **over,
    }


def ingest(project: Project, documents: Iterable[Mapping[str, Any]]) -> IntakeCounts:
    now = datetime.now(UTC)
    lines = io.BytesIO(b"\n".join(orjson.dumps(document) for document in documents))
    refusals: list[str] = []
    found = take(
        project,
        jsonl.read(lines, now=now, limits=project.settings.intake),
        now,
        on_rejected=lambda line: refusals.append(line.reason),
    )
    assert not refusals
    return found


def draw_nights(project: Project, nights: Iterable[date], rate: float | None = None) -> list[StratumDraw]:
    return [stratum for night in nights for stratum in draw_night(project, night, datetime.now(UTC), rate=rate)]


def wait(project: Project, *, stop: Callable[[], bool] = lambda: False) -> Waited:
    with JobProcessor(project) as processor:
        return wait_for_scores(project, processor, lambda lane, due: None, stop=stop)


def nightly(project: Project, nights: Iterable[date], rate: float | None = None) -> Waited:
    draw_nights(project, nights, rate)
    waited = wait(project)
    finish(project, datetime.now(UTC))
    return waited


def rows(project: Project, statement: Any) -> list[Any]:
    with project.store.read() as connection:
        return list(connection.execute(statement).all())


def states(project: Project, lane: str = "judge") -> Counter[str]:
    return Counter(state for (state,) in rows(project, select(job.c.state).where(job.c.lane == lane)))


def everything(project: Project) -> dict[str, list[Any]]:
    """What a repetition must leave as it is; keys and times of rows that are made anew do not count."""
    kept = {"draw": draw, "sample": sample, "job": job, "score": score, "cell": cell, "trend": trend, "run": run}
    said = {}
    for name, table in kept.items():
        columns = [column for column in table.c if name not in ("cell", "trend") or column.name != "pk"]
        said[name] = sorted(map(repr, rows(project, select(*columns))))
    return said


def assert_reconciles(project: Project, *, pending: int = 0) -> list[counts.NightCounts]:
    registered = [entry for entry, _ in project.scorers.register()]
    with project.store.read() as connection:
        found = counts.night_counts(connection, MONDAY, MONDAY + timedelta(days=80), registered, MONDAY)
    assert found
    assert all(count.reconciles for count in found), found
    assert sum(count.pending for count in found) == pending
    return found


def history(nights: int, each: Mapping[str, int], seed: int = 1) -> list[dict[str, Any]]:
    """So many runs a night of each task type; every tenth is flagged, as aborted."""
    made = []
    for offset in range(nights):
        for task_type, count in each.items():
            for number in range(count):
                case = f"case-{seed}-{task_type}-{offset:02}-{number:02}"
                status = "aborted" if number % 10 == 9 else "completed"
                made.append(document(case, MONDAY + timedelta(days=offset), task_type=task_type, status=status))
    return made


def wait_is_over(project: Project) -> None:
    """As though the back-off had passed."""
    with project.store.write() as connection:
        connection.execute(update(job).values(not_before=None))
