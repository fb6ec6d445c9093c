"""Scores to trend: a night's cells, then the weekly points that the night touches."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from worker.core import calendar
from worker.core.drift.clustering import WINDOW_NIGHTS, between, of_cells
from worker.core.drift.thresholds import MIX_NIGHTS
from worker.core.stats.trend import points
from worker.project.project import Project
from worker.store.results import cells as summary
from worker.store.results import trends
from worker.store.results.cells import StreamCells
from worker.store.runs import draws

Segments = Mapping[str, str]
"""What a cell belongs to, by dimension: its task type, its agent, its agent's version."""


class Stale(NamedTuple):
    """A night whose summary is out of date, with the counts that hold now."""

    night: date
    resolved: int
    """Resolved jobs."""
    ended: int
    """Ended runs."""


def summarise(project: Project, nights: Sequence[Stale], now: datetime) -> int:
    """Bring nights' cells and the weekly points they touch up to date; repeating it gives the same.

    While the reference mix is still being learned, the earlier weeks' overall lines move with it.

    Args:
        project: Whose scores.
        nights: Which; a week is computed once, however many of its nights are given.
        now: The time.

    Returns:
        Weekly points stored.
    """
    if not nights:
        return 0
    for stale in nights:
        with project.store.write() as connection:
            draws.lock_night(connection, stale.night)  # two at once would each add their cells
            summary.refresh_night(connection, stale.night)
    with project.store.write() as connection:
        for stale in sorted(nights):
            draws.lock_night(connection, stale.night)
        first = summary.first_nights(connection)
        weeks = sorted({week for stale in nights for week in _weeks(first, stale.night)})
        trends.lock_weeks(connection, weeks)
        since = calendar.nights_of_week(weeks[0])[0] - timedelta(days=WINDOW_NIGHTS)
        until = calendar.nights_of_week(weeks[-1])[1]
        streams = summary.read_cells(connection, since, until)
        traffic = summary.reference_traffic(connection, MIX_NIGHTS)
        stored = 0
        for week in weeks:
            unscored = _by_stream(summary.unscored_counts(connection, *calendar.nights_of_week(week)))
            rows = [row for stream in streams for row in _points(week, stream, traffic, unscored)]
            trends.replace_week(connection, week, rows)
            stored += len(rows)
        for stale in nights:
            summary.mark_summarised(connection, stale.night, stale.resolved, stale.ended, now)
    return stored


def _weeks(first: Mapping[str, date], night: date) -> list[str]:
    """The night's week; and those before it while some task type's mix is being learned. Oldest first."""
    is_learning = any(night < since + timedelta(days=MIX_NIGHTS) for since in first.values())
    if not is_learning:
        return [calendar.week_of(night)]
    since = max(min(first.values()), night - timedelta(days=MIX_NIGHTS + 7))
    return sorted({calendar.week_of(each) for each in calendar.nights_between(since, night)})


def _by_stream(counts: Mapping[tuple[Any, ...], int]) -> dict[tuple[int, str | None], list[tuple[Segments, int]]]:
    """Counts by (scorer, criterion), each with where it belongs."""
    found: dict[tuple[int, str | None], list[tuple[Segments, int]]] = defaultdict(list)
    for (scorer_pk, criterion, task_type, agent, version), count in counts.items():
        if count:
            belongs = {"task_type": task_type, "agent": agent, "agent_version": version}
            found[scorer_pk, criterion].append((belongs, count))
    return found


def _points(
    week: str,
    stream: StreamCells,
    traffic: Mapping[str, float],
    unscored: Mapping[tuple[int, str | None], Sequence[tuple[Segments, int]]],
) -> list[dict[str, Any]]:
    monday, sunday = calendar.nights_of_week(week)
    own = between(stream.cells, monday, sunday)
    counts = unscored.get((stream.scorer_pk, stream.criterion), ())
    rows = []
    for point in points(own, shares=traffic, dispersion=of_cells(stream.cells, sunday) if own else 1.0):
        estimate = point.estimate
        rows.append(
            {
                "week": week,
                "dimension": point.dimension,
                "task_type": point.task_type,
                "segment": point.segment,
                "scorer_pk": stream.scorer_pk,
                "criterion": stream.criterion,
                "population": point.population,
                "sampled": point.sampled,
                "scored": estimate.n,
                "unscored": _unscored(counts, point.dimension, point.task_type or point.segment),
                "mean": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "raw_mean": point.raw_mean,
            }
        )
    return rows


def _unscored(counts: Sequence[tuple[Segments, int]], dimension: str, asked: str | None) -> int:
    """Unscored runs of one line; asked for None, of all."""
    return sum(count for belongs, count in counts if asked is None or asked == belongs[dimension])
