"""Stored runs: a list, one to read, and which nights and task types there are."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, RowMapping

from worker.project.project import Project
from worker.queries.empty import RunFilters
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


class ScoredRun(NamedTuple):
    """A run with a score of one scorer."""

    run: RunSummary
    scorer: str
    scorer_version: str
    """The series id."""
    value: float
    """0..1."""
    reason: str
    """The criterion with the lowest score and why, or what the scorer said; empty where it said nothing."""


class ListedRuns(NamedTuple):
    """Runs that match, as far as they were looked at."""

    runs: list[RunSummary]
    scored: list[ScoredRun]
    """The same with their scores, where these were asked for."""
    looked_at: int | None = None
    """How many runs were looked at for a tag, where that was the bound; None where all that match were found."""


_LOOKED_AT = 20_000
"""Runs whose tags are read: they stand with the texts, which are unpacked one by one."""
_CHUNK = 500
Tag = tuple[str, str]
EVERY_RUN = RunFilters()


def list_runs(project: Project, filters: RunFilters = EVERY_RUN, *, tag: Tag | None = None, limit: int) -> ListedRuns:
    """At most `limit` runs, newest first; None for no filter, bounds included.

    Args:
        project: Whose.
        filters: Which.
        tag: A tag and its value, as text.
        limit: The most to return.
    """
    with project.store.read() as connection:

        def chunk(offset: int, size: int) -> Sequence[RowMapping]:
            return runs.list_runs(connection, **filters._asdict(), limit=size, offset=offset)

        rows, looked_at = _matching(connection, chunk, tag, limit)
    return ListedRuns([_summary(row) for row in rows], [], looked_at)


def worst_runs(
    project: Project,
    filters: RunFilters = EVERY_RUN,
    *,
    scorer: str,
    below: float | None = None,
    tag: Tag | None = None,
    limit: int,
) -> ListedRuns:
    """At most `limit` scored runs, the lowest score first; each once, by the newest series that has scored it.

    Args:
        project: Whose.
        filters: Which.
        scorer: By whose score.
        below: Only scores below this, 0..1.
        tag: A tag and its value, as text.
        limit: The most to return.
    """
    from worker.store.queue import enrol  # with the tables of scores, which a plain list does without
    from worker.store.results import scores

    with project.store.read() as connection:
        series = {one.pk: one.key.series for one in enrol.registered(connection) if one.key.name == scorer}

        def chunk(offset: int, size: int) -> Sequence[RowMapping]:
            return scores.worst_runs(
                connection, list(series), **filters._asdict(), below=below, limit=size, offset=offset
            )

        rows, looked_at = _matching(connection, chunk, tag, limit * len(series) if series else limit)
        newest: dict[int, RowMapping] = {}
        for row in rows:
            if row["pk"] not in newest or row["scorer_pk"] > newest[row["pk"]]["scorer_pk"]:
                newest[row["pk"]] = row
        kept = sorted(newest.values(), key=lambda row: (row["value"], -row["night"].toordinal(), row["pk"]))[:limit]
        found = [
            ScoredRun(_summary(row), scorer, series[row["scorer_pk"]], row["value"], _reason(connection, row))
            for row in kept
        ]
    return ListedRuns([one.run for one in found], found, looked_at)


def _matching(
    connection: Connection, chunk: Callable[[int, int], Sequence[RowMapping]], tag: Tag | None, limit: int
) -> tuple[list[RowMapping], int | None]:
    """The first rows that have a tag, and how many were looked at where that ended the search."""
    if tag is None:
        return list(chunk(0, limit)), None
    found: list[RowMapping] = []
    for offset in range(0, _LOOKED_AT, _CHUNK):
        rows = chunk(offset, _CHUNK)
        tags = runs.tags_of(connection, [row["pk"] for row in rows])
        found += [row for row in rows if _has(tags.get(row["pk"], {}), tag)]
        if len(found) >= limit or len(rows) < _CHUNK:
            return found[:limit], None
    return found, _LOOKED_AT


def _has(tags: Mapping[str, object], tag: Tag) -> bool:
    """Whether a run has a tag with a value, which may be a number or a truth value there."""
    if tag[0] not in tags:
        return False
    value = tags[tag[0]]
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text == tag[1]


def _reason(connection: Connection, row: RowMapping) -> str:
    from worker.store.results import scores

    lowest = scores.lowest_criterion(connection, row["pk"], row["scorer_pk"])
    if lowest is None:
        return scores.rationale_of(connection, row["pk"], row["scorer_pk"]) or ""
    return f"{lowest['criterion']}: {lowest['rationale'] or ''}".rstrip(": ")


def _summary(row: RowMapping) -> RunSummary:
    return RunSummary._make(row[field] for field in RunSummary._fields)


def scorers_with_scores(project: Project) -> list[str]:
    """Names of all scorers that are stored, rubrics first."""
    from worker.store.queue import enrol

    with project.store.read() as connection:
        stored = {(one.key.kind != "judge", one.key.name) for one in enrol.registered(connection)}
    return [name for _, name in sorted(stored)]


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
