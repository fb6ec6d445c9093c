"""Weekly points of one task type by agent or version. They are not stored, and are made of the stored nights.

It imports numpy, so `trends` imports it when somebody asks for both.
"""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from worker.core import calendar
from worker.core.drift.clustering import WINDOW_NIGHTS, between, of_cells
from worker.core.stats.trend import Point, points
from worker.records import Cell
from worker.store.results import cells as summary
from worker.store.results import report as stored
from worker.store.results.cells import StreamCells


def segment_points(
    connection: Connection, since: date, until: date, *, by: str, task_type: str, scorer: str | None
) -> list[dict[str, Any]]:
    """The points of a task type, by agent or version.

    Args:
        connection: A read transaction.
        since: The Monday of the first week.
        until: A night of the last week.
        by: `agent` or `agent_version`.
        task_type: Which.
        scorer: Only this one; None for all.

    Returns:
        Fields of `TrendPoint` without coverage, by scorer, criterion, segment, series and week.
    """
    known = stored.scorer_names(connection)
    names = {pk: (name, series) for pk, (name, series, _) in known.items() if scorer in (None, name)}
    if not names:
        return []
    streams = summary.read_cells(connection, since - timedelta(days=WINDOW_NIGHTS), until, list(names))
    with_cells = {cell.night for stream in streams for cell in between(stream.cells, since, until)}
    rows = []
    for week in sorted({calendar.week_of(night) for night in with_cells}):
        nights = calendar.nights_of_week(week)
        unscored = _unscored(connection, nights, task_type, by)
        for stream in streams:
            name, series = names[stream.scorer_pk]
            for row in _week(stream, nights, task_type, by):
                key = (stream.scorer_pk, stream.criterion, row["segment"])
                named = {"week": week, "scorer": name, "scorer_version": series, "unscored": unscored[key]}
                rows.append(row | named)
    return sorted(rows, key=_order)


def _week(stream: StreamCells, nights: tuple[date, date], task_type: str, by: str) -> list[dict[str, Any]]:
    own: list[Cell] = [cell for cell in between(stream.cells, *nights) if cell.task_type == task_type]
    if not own:
        return []
    made = points(own, shares={}, dispersion=of_cells(stream.cells, nights[1]))
    return [
        point_fields(point, stream.criterion) | {"task_type": task_type, "raw_mean": None}
        for point in made
        if point.dimension == by
    ]


def point_fields(point: Point, criterion: str | None) -> dict[str, Any]:
    """Fields of `TrendPoint` that a point has by itself."""
    return {
        "task_type": point.task_type,
        "segment": point.segment,
        "criterion": criterion,
        "population": point.population,
        "sampled": point.sampled,
        "scored": point.estimate.n,
        "mean": point.estimate.mean,
        "low": point.estimate.low,
        "high": point.estimate.high,
        "raw_mean": point.raw_mean,
    }


def _unscored(
    connection: Connection, nights: tuple[date, date], task_type: str, by: str
) -> Counter[tuple[int, str | None, str | None]]:
    """Unscored runs of the task type by scorer, criterion and segment."""
    found: Counter[tuple[int, str | None, str | None]] = Counter()
    for (pk, criterion, of, agent, version), count in summary.unscored_counts(connection, *nights).items():
        if of == task_type:
            found[pk, criterion, agent if by == "agent" else version] += count
    return found


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("scorer", "criterion", "segment", "scorer_version", "week")
    return tuple((row[key] is not None, row[key] or "") for key in keys)
