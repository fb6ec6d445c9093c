"""Points by night. They are not stored, and are made of the stored nights.

It imports numpy, so `trends` imports it when somebody asks for nights.
"""

from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from worker.core.drift.clustering import WINDOW_NIGHTS, of_cells
from worker.core.drift.thresholds import MIX_NIGHTS
from worker.core.stats.trend import points
from worker.queries.segments import point_fields
from worker.records import Cell
from worker.store.results import cells as summary
from worker.store.results import report as stored


def nightly_points(
    connection: Connection, since: date, until: date, *, by: str, scorer: str | None
) -> list[dict[str, Any]]:
    """The points of each night.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included.
        by: `task_type`, `agent` or `agent_version`.
        scorer: Only this one; None for all.

    Returns:
        Fields of `TrendPoint` without coverage, with the night in ISO form as `week`; by scorer and criterion, the
        overall line first, oldest night first. A night without runs has no point.
    """
    known = stored.scorer_names(connection)
    names = {pk: (name, series) for pk, (name, series, _) in known.items() if scorer in (None, name)}
    if not names:
        return []
    traffic = summary.reference_traffic(connection, MIX_NIGHTS)
    rows = []
    for stream in summary.read_cells(connection, since - timedelta(days=WINDOW_NIGHTS), until, list(names)):
        by_night: dict[date, list[Cell]] = defaultdict(list)
        for cell in stream.cells:
            by_night[cell.night].append(cell)
        name, series = names[stream.scorer_pk]
        for night, own in sorted(by_night.items()):
            if night < since:
                continue
            for point in points(own, shares=traffic, dispersion=of_cells(stream.cells, night)):
                if point.dimension == by:
                    named = {"week": night.isoformat(), "scorer": name, "scorer_version": series}
                    rows.append(named | point_fields(point, stream.criterion))
    unscored = _unscored(connection, since, until, by)
    for row in rows:
        key = (row["scorer_version"], row["scorer"], row["criterion"], row["task_type"] or row["segment"], row["week"])
        row["unscored"] = unscored[key]
    return sorted(rows, key=_order)


def _unscored(connection: Connection, since: date, until: date, by: str) -> Counter[tuple[Any, ...]]:
    """Unscored runs by series, scorer, criterion, line (None for the overall one) and night."""
    names = {pk: (series, name) for pk, (name, series, _) in stored.scorer_names(connection).items()}
    found: Counter[tuple[Any, ...]] = Counter()
    for night, pk, criterion, task, agent, version, count in summary.unscored_by_night(connection, since, until):
        line = {"task_type": task, "agent": agent, "agent_version": version}[by]
        for each in {line, None}:
            found[(*names[pk], criterion, each, night.isoformat())] += count
    return found


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("scorer", "criterion", "task_type", "segment", "scorer_version", "week")
    return tuple((row[key] is not None, row[key] or "") for key in keys)
