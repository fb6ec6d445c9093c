"""A made-up team whose runs say by themselves how they went; what is planted in them is what a test says."""

import io
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.support.projects import OpenProject
from worker.connectors.sources import jsonl
from worker.core.calendar import nights_between
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import IntakeCounts, take
from worker.pipeline.operations.watch import watch
from worker.project.project import Project
from worker.records import Drift

MONDAY = date(2026, 9, 28)
TASKS = ("billing", "faq", "research")
TOOLS = {"billing": "issue_refund", "faq": "search_help", "research": "query_ledger"}


class Way(NamedTuple):
    """How the runs of one task type go on one night."""

    runs: float = 60
    errors: float = 0.03
    aborts: float = 0.02
    tool_fails: float = 0.02
    cost_usd: float = 0.02
    calls: float = 3.0


Ways = Callable[[str, int], Way]
"""How runs go, by task type and night (counted from 0)."""


def steady(_task_type: str, _offset: int) -> Way:
    return Way()


def project(
    open_project: OpenProject, database_url: str, toml: str = "", environ: Mapping[str, str] | None = None
) -> Project:
    """No scorers at all: operational figures need none."""
    text = f"[scoring]\nheuristics = []\nrubrics = []\n[sampling]\nrate = 0.01\nfloor_per_night = 0\n{toml}"
    environ = {"SPOTCHECK_DATABASE_URL": database_url, "SPOTCHECK_BROKER_URL": "memory://", **(environ or {})}
    return open_project(text, **environ)


def night_of_runs(rng: random.Random, night: date, offset: int, ways: Ways) -> Iterator[dict[str, Any]]:
    weekend = 0.5 if night.weekday() >= 5 else 1.0
    for task_type in TASKS:
        way = ways(task_type, offset)
        mean = way.runs * weekend
        for _ in range(max(0, round(rng.gauss(mean, mean**0.5)))):
            yield a_run(rng, night, task_type, way)


def a_run(rng: random.Random, night: date, task_type: str, way: Way) -> dict[str, Any]:
    hour = min(23.99, max(0.0, rng.gauss(14, 4)))
    ended = datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(hours=hour)
    draw = rng.random()
    status = "errored" if draw < way.errors else "aborted" if draw < way.errors + way.aborts else "completed"
    calls = 1 + sum(rng.random() < 0.5 for _ in range(round(2 * (way.calls - 1))))
    return {
        "run_id": f"w-{rng.getrandbits(48):012x}",
        "task_type": task_type,
        "status": status,
        "ended_at": ended.isoformat(),
        "agent": "bot",
        "cost_usd": round(way.cost_usd * rng.lognormvariate(0, 0.5), 6),
        "steps": [
            {"kind": "tool", "name": TOOLS[task_type], "error": "HTTP 500" if rng.random() < way.tool_fails else None}
            for _ in range(calls)
        ],
    }


def send(opened: Project, documents: list[dict[str, Any]], now: datetime) -> IntakeCounts:
    lines = io.BytesIO(b"\n".join(orjson.dumps(document) for document in documents))
    rejected: list[object] = []
    tally = take(opened, jsonl.read(lines, now=now, limits=opened.settings.intake), now, on_rejected=rejected.append)
    assert rejected == []
    return tally


def live(
    opened: Project,
    nights: int,
    ways: Ways,
    *,
    seed: int = 1,
    since: date = MONDAY,
    lived: int = 0,
    rng: random.Random | None = None,
) -> list[Drift]:
    """Night by night: its runs come, the morning after it is drawn and watched.

    Args:
        opened: The project.
        nights: How many nights in all.
        ways: How runs go.
        seed: Of the runs.
        since: The first night.
        lived: So many of the nights are in the project already.
        rng: Where the random numbers stand after those; instead of a seed.
    """
    rng = rng or random.Random(seed)
    found = []
    for offset, night in enumerate(nights_between(since, since + timedelta(days=nights - 1))):
        if offset < lived:
            continue
        morning = datetime(night.year, night.month, night.day, 2, 5, tzinfo=UTC) + timedelta(days=1)
        if offset == 0:
            opened.nights.first_tick(morning)
        send(opened, list(night_of_runs(rng, night, offset, ways)), morning)
        draw_night(opened, night, morning)
        found += watch(opened, morning).found
    return found


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'spotcheck.db'}"
