"""Stored runs: a list, one to read, and which nights and task types there are."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from worker.project.project import Project
from worker.records import Run
from worker.store.runs import runs


class RunSummary(NamedTuple):
    """A run without its texts."""

    source: str
    run_id: str
    revision: int
    agent: str
    agent_version: str
    task_type: str
    status: str
    night: date
    flagged: bool
    flags: str
    """Why it is flagged, separated by commas; empty where it is not."""
    ended_at: datetime
    started_at: datetime | None
    received_at: datetime
    steps: int
    tool_calls: int
    tool_errors: int
    tools: str | None
    """JSON by tool name: calls, and those that failed; None without tool calls."""
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    cost_source: str
    latency_ms: float | None
    session_id: str | None
    user_id: str | None
    trace_id: str | None
    root_span_id: str | None
    content: str
    stop_reason: str | None
    error: str | None


class FoundRun(NamedTuple):
    """A run with its key in the store."""

    pk: int
    run: Run


def list_runs(
    project: Project,
    *,
    task_type: str | None = None,
    status: str | None = None,
    since: date | None = None,
    until: date | None = None,
    limit: int,
) -> list[RunSummary]:
    """At most `limit` runs, newest first; None for no filter, bounds included."""
    with project.store.read() as connection:
        rows = runs.list_runs(connection, task_type=task_type, status=status, since=since, until=until, limit=limit)
    return [RunSummary._make(row[field] for field in RunSummary._fields) for row in rows]


def find_runs(project: Project, run_id: str, source: str | None = None) -> Sequence[FoundRun]:
    """The runs with this id, newest first; several only where several sources use the id."""
    with project.store.read() as connection:
        return [FoundRun(pk, run) for pk, run in runs.find_runs(connection, run_id, source)]


def night_span(project: Project) -> tuple[date, date] | None:
    """The first and the last night with runs; None without runs."""
    with project.store.read() as connection:
        return runs.night_span(connection)


def nights_around(project: Project, first: date, last: date) -> tuple[date | None, bool, date | None]:
    """The nearest night with runs before some nights, whether any of these has runs, and the nearest after them."""
    with project.store.read() as connection:
        return runs.nights_around(connection, first, last)


def undrawn_nights(project: Project, before: date) -> list[date]:
    """Nights before `before` that have runs and were never drawn, oldest first."""
    with project.store.read() as connection:
        return runs.undrawn_nights(connection, before)


def task_types(project: Project) -> set[str]:
    """Every task type of the stored runs; about 0.1 s for a million runs."""
    with project.store.read() as connection:
        return runs.task_types(connection)
