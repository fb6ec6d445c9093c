"""Weekly points of scores, and what must be said beside them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection

from worker.core import calendar
from worker.project.project import Project
from worker.queries.empty import EmptyFilter, there_instead
from worker.queries.report.series import SeriesHistory, series_history
from worker.records import TrendPoint
from worker.store.results import cells, counts, trends
from worker.store.results import report as stored
from worker.store.results.counts import MissingScoreReason as MissingScoreReason  # for those who may not see the store
from worker.store.runs import runs

_WEEK = 7
_ALL_WEEKS = 520
"""Ten years; `trends --weeks` takes no more."""
_STORED = tuple(field for field in TrendPoint.model_fields if field not in ("coverage", "backfilled_nights"))
Backfilled = Mapping[tuple[str, str, str], int]
"""Nights that a backfill had scored, by scorer, series and week."""


class TrendsRequest(NamedTuple):
    """Which points."""

    by: str = "task_type"
    """`task_type`, `agent` or `agent_version`."""
    scorer: str | None = None
    """Only this scorer; None for all."""
    task_type: str | None = None
    weeks: int = 8
    """So many ISO weeks, ending with the newest that has runs."""
    since: date | None = None
    """From the week of this night on, instead of `weeks`."""
    until: date | None = None
    """To the week of this night."""
    by_day: bool = False
    """Points of single nights; the bounds are nights then."""

    def oldest_week(self, newest: date) -> str:
        """The first week, by the newest night with runs."""
        if self.since is not None:
            return calendar.week_of(self.since)
        newest = self.until or newest
        return calendar.week_of(calendar.weeks_before(newest, self.weeks - 1))


class PartialWeek(NamedTuple):
    """The newest week, of which not all nights are in."""

    week: str
    nights: int
    is_over: bool
    """Whether the calendar has gone beyond it, so that no more nights will come by themselves."""

    @property
    def text(self) -> str:
        """In words.

        Example:
            >>> PartialWeek("2026-W48", 2, is_over=False).text, PartialWeek("2026-W40", 5, is_over=True).text
            ('W48 so far: 2 of 7 nights', 'W40: 5 of 7 nights')
        """
        return f"{self.week[5:]}{'' if self.is_over else ' so far'}: {self.nights} of 7 nights"


def read_points(project: Project, request: TrendsRequest) -> list[TrendPoint]:
    """The points of a request; empty where no run was ever taken in or nothing is summarised yet."""
    with project.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return []
        if request.by_day:
            return _nights(connection, request, span[1])
        week = request.oldest_week(span[1])
        if request.by != "task_type" and request.task_type is not None:
            from worker.queries.segments import segment_points  # with numpy, which other requests do without

            monday = calendar.nights_of_week(week)[0]
            found = segment_points(
                connection, monday, span[1], by=request.by, task_type=request.task_type, scorer=request.scorer
            )
            backfilled = _backfilled(connection, week)
            return _until([_point(row, backfilled) for row in found], request)
        weekly = points_since(connection, week, by=request.by, scorer=request.scorer, task_type=request.task_type)
        return _until(weekly, request)


def _until(points: list[TrendPoint], request: TrendsRequest) -> list[TrendPoint]:
    if request.until is None:
        return points
    last = calendar.week_of(request.until)
    return [point for point in points if point.week <= last]


def _nights(connection: Connection, request: TrendsRequest, newest: date) -> list[TrendPoint]:
    """Points of single nights, with the night as their `week`."""
    from worker.queries.nightly_points import nightly_points  # with numpy, which other requests do without

    until = request.until or newest
    since = request.since or until - timedelta(days=7 * request.weeks - 1)
    rows = nightly_points(connection, since, until, by=request.by, scorer=request.scorer)
    return [_point(row, {}) for row in rows if request.task_type in (None, row["task_type"])]


def empty_trend_filters(project: Project, request: TrendsRequest) -> list[EmptyFilter]:
    """Why a request has no point; empty where nothing has any, or it has some."""
    options = {"scorer": "scorers", "task_type": "task types", "weeks": "weeks"}
    names = [name for name in options if getattr(request, name) is not None]

    def points(some: Collection[str], by: str = request.by) -> list[TrendPoint]:
        kept: dict[str, Any] = {"weeks": _ALL_WEEKS} | {name: getattr(request, name) for name in some}
        return read_points(project, TrendsRequest(by, **kept))

    def values(name: str, others: Collection[str]) -> list[str]:
        by = "task_type" if name == "task_type" else request.by  # lines by agent have no task type
        known = sorted({getattr(point, name.removesuffix("s")) for point in points(others, by)} - {None})
        return [f"{known[0]} to {known[-1]}"] if known and name == "weeks" else known

    def left(some: Collection[str]) -> bool:
        return bool(points(some))

    if left(names) or not left([]):
        return []
    return [
        EmptyFilter(f"--{name.replace('_', '-')}", str(getattr(request, name)), options[name], there)
        for name, there in there_instead(names, left, values)
    ]


def unknown_name(project: Project, request: TrendsRequest) -> EmptyFilter | None:
    """The name in a request that no stored scorer, or no run, has; None where all are known, or nothing is stored."""
    with project.store.read() as connection:
        known = {name for name, _, _ in stored.scorer_names(connection).values()}
        if request.scorer is not None and known and request.scorer not in known:
            return EmptyFilter("--scorer", request.scorer, "scorers", sorted(known))
        if request.task_type is not None:
            known = runs.task_types(connection)
            if known and request.task_type not in known:
                return EmptyFilter("--task-type", request.task_type, "task types", sorted(known))
    return None


def points_since(
    connection: Connection, week: str, *, by: str = "task_type", scorer: str | None = None, task_type: str | None = None
) -> list[TrendPoint]:
    """Points by scorer and criterion: the overall line first, then by task type and segment; oldest week first.

    Args:
        connection: A read transaction.
        week: The first ISO week.
        by: `task_type`, `agent` or `agent_version`.
        scorer: Only this one; None for all.
        task_type: Only this one; None for all.
    """
    rows = trends.points(connection, dimension=by, scorer_name=scorer, task_type=task_type, since_week=week)
    backfilled = _backfilled(connection, week)
    return [_point(dict(row), backfilled) for row in rows]


def _backfilled(connection: Connection, week: str) -> Backfilled:
    found = trends.backfilled_nights(connection, calendar.nights_of_week(week)[0])
    return Counter((name, series, calendar.week_of(night)) for name, series, night in found)


def _point(row: Mapping[str, Any], backfilled: Backfilled) -> TrendPoint:
    coverage = row["scored"] / row["sampled"] if row["sampled"] else None
    nights = backfilled.get((row["scorer"], row["scorer_version"], row["week"]), 0)
    return TrendPoint(**{field: row[field] for field in _STORED}, coverage=coverage, backfilled_nights=nights)


def series_of(project: Project, request: TrendsRequest) -> SeriesHistory | None:
    """The series in the weeks of a request, and where another took over; None where no run was ever taken in."""
    with project.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return None
        monday, _ = calendar.nights_of_week(request.oldest_week(span[1]))
        found = series_history(connection, monday, span[1])
    own = tuple(change for change in found.changes if request.scorer in (None, change.scorer))
    return found._replace(changes=own)


def nights_of(project: Project, request: TrendsRequest) -> tuple[date, date] | None:
    """The first and the last night of a request's weeks; None where no run was ever taken in."""
    with project.store.read() as connection:
        span = runs.night_span(connection)
    return None if span is None else (calendar.nights_of_week(request.oldest_week(span[1]))[0], span[1])


def partial_week(project: Project, points: Sequence[TrendPoint], now: datetime) -> PartialWeek | None:
    """The newest week of these points, where not all of its nights are summarised; None where they are.

    Args:
        project: Whose points.
        points: At least one.
        now: The time by the schedule's clock.
    """
    week = max(point.week for point in points)
    monday, sunday = calendar.nights_of_week(week)
    with project.store.read() as connection:
        nights = cells.summarised_nights(connection, monday, sunday)
    return PartialWeek(week, nights, is_over=project.nights.last_over(now) >= sunday) if nights < _WEEK else None


def missing_scores(project: Project, request: TrendsRequest) -> Mapping[tuple[str, str], MissingScoreReason]:
    """Open jobs, unscored and skipped runs in the weeks of a request, by name and version of each scorer with any."""
    with project.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return {}
        since = calendar.nights_of_week(request.oldest_week(span[1]))[0]
        reasons = counts.missing_score_reasons(connection, since=since, task_type=request.task_type)
    return {key: reason for key, reason in reasons.items() if request.scorer in (None, key[0])}
