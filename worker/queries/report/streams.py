"""The streams of a report: weekly points by task type and scorer, with what happened on their nights."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import Connection

from worker.core import calendar
from worker.core.drift.learning import furthest, learned
from worker.core.drift.thresholds import OPERATIONAL
from worker.core.report.model import Change, Mark, StreamChart, StreamState, WeekPoint, Window
from worker.core.report.series import what_changed
from worker.queries.report.series import SeriesHistory
from worker.store.results import report as stored

_MOST_MARKS = 6
"""Version marks of one stream, the newest: with a version a day there is nothing to see in them."""


class Scorers(NamedTuple):
    """The scorers that were ever used, and those that matter here."""

    names: dict[int, tuple[str, str, str]]
    """Name, series and kind by key."""
    primary: str | None
    history: SeriesHistory

    @property
    def primary_pk(self) -> int | None:
        """The series of the primary rubric that measures the newest nights; None where it has none."""
        return None if self.primary is None else self.history.current(self.primary)

    @property
    def primary_pks(self) -> list[int]:
        """The same as a list: every figure of quality is of this one series, or of none."""
        return [] if self.primary_pk is None else [self.primary_pk]

    @property
    def primary_since(self) -> date | None:
        """The first night of that series, where another one was before it; None where none was."""
        spans = self.history.spans.get((None, self.primary or ""), ())
        return spans[-1].first if len(spans) > 1 else None

    def is_measured(self, night: date) -> bool:
        """Whether a night is one of that series: since it took over, or scored by it in a backfill."""
        if self.primary is None or self.primary_since is None:
            return True
        return night >= self.primary_since or night in self.history.scored_nights(self.primary)[0]

    @property
    def heuristics(self) -> dict[int, str]:
        """Names of the heuristics by the key of the series that measures the newest nights."""
        over = self.history.over
        return {pk: name for pk, (name, _, kind) in self.names.items() if kind == "heuristic" and pk not in over}

    def is_rubric(self, name: str) -> bool:
        """Whether a judge is behind it."""
        return any(kind == "judge" for other, _, kind in self.names.values() if other == name)


def streams_of(
    connection: Connection,
    window: Window,
    task_type: str | None,
    scorers: Scorers,
    known: Sequence[stored.ScoredSpan],
    changes: Sequence[Change],
) -> tuple[StreamChart, ...]:
    """Every stream with points in the weeks shown: rubrics first, then those with findings, overall, most runs."""
    points: dict[tuple[str | None, str], list[WeekPoint]] = defaultdict(list)
    for row in stored.week_points(connection, window.weeks[0], window.weeks[-1], task_type):
        name, series, _ = scorers.names[row.scorer_pk]
        points[row.task_type, name].append(
            WeekPoint(
                row.week, series, row.population, row.sampled, row.scored, row.unscored, row.mean, row.low, row.high
            )._replace(raw_mean=row.raw_mean)
        )
    tasks = defaultdict(set)
    for where, name in points:
        if where is not None:
            tasks[name].add(where)
    by_name: dict[str, list[stored.ScoredSpan]] = defaultdict(list)
    for span in known:
        by_name[scorers.names[span.scorer_pk][0]].append(span)
    marks = _Marks(window, stored.agent_versions(connection, window.until), scorers, changes)
    found = [
        _stream(window, where, name, line, marks, scorers, by_name[name])
        for (where, name), line in points.items()
        if where is not None or len(tasks[name]) > 1
    ]

    def order(chart: StreamChart) -> tuple[object, ...]:
        runs_of = chart.points[-1].population if chart.points else 0
        is_first = chart.scorer == scorers.primary
        has_moved = any(chart.has_moved(change.drift) for change in changes)
        is_part = chart.task_type is not None
        return not chart.is_rubric, not is_first, chart.scorer, is_part, not has_moved, -runs_of, chart.task_type or ""

    return tuple(sorted(found, key=order))


def _stream(
    window: Window,
    where: str | None,
    name: str,
    points: Sequence[WeekPoint],
    marks: "_Marks",
    scorers: Scorers,
    known: Sequence[stored.ScoredSpan],
) -> StreamChart:
    own = [stream for stream in known if where in (None, stream.task_type)]
    newest = scorers.history.current(name, where)
    current = [stream for stream in own if stream.scorer_pk == newest]  # a new series learns anew
    nights = max((stream.nights for stream in current), default=0)
    how_far = furthest(learned(stream.first, window.until, stream.nights) for stream in current)
    state: StreamState = "tested" if how_far.is_tested else "young"
    if not nights:
        state = "unscored"
    elif name in OPERATIONAL:
        state = "elsewhere"
    series = None if newest is None else scorers.names[newest][1]
    is_rubric = scorers.is_rubric(name)
    by_it, by_others = (tuple(sorted(found)) for found in scorers.history.scored_nights(name, where))
    return StreamChart(
        where, name, is_rubric, tuple(points), marks.of(where, name), nights, state, series, by_it, by_others, how_far
    )


class _Marks:
    """What happened on the nights shown: new versions, new series, findings."""

    def __init__(
        self,
        window: Window,
        versions: Sequence[stored.AgentVersion],
        scorers: Scorers,
        changes: Sequence[Change],
    ) -> None:
        self._first = calendar.nights_of_week(window.weeks[0])[0]
        self._scorers, self._changes = scorers, changes
        self._versions: dict[str | None, list[stored.AgentVersion]] = defaultdict(list, {None: list(versions)})
        for version in versions:
            self._versions[version.task_type].append(version)

    def of(self, where: str | None, name: str) -> tuple[Mark, ...]:
        found = [*self._new_versions(where), *self._new_series(where, name)]
        for change in self._changes:
            stream = change.drift.stream
            if (stream.task_type, stream.scorer) == (where, name):
                found.append(Mark(change.drift.since, "finding", str(change.drift.finding_id or "")))
        return tuple(sorted(mark for mark in found if mark.night >= self._first))

    def _new_versions(self, where: str | None) -> list[Mark]:
        """Versions first seen while another of the same agent was known already; the newest few."""
        known: set[str] = set()
        marks: dict[str, Mark] = {}
        for version in self._versions[where]:
            if version.agent_version:
                night = version.first if version.agent in known else date.min  # an agent's first version is no change
                marks.setdefault(version.agent_version, Mark(night, "version", version.agent_version))
                known.add(version.agent)
        return [mark for mark in marks.values() if mark.night > date.min][-_MOST_MARKS:]

    def _new_series(self, where: str | None, name: str) -> Iterable[Mark]:
        keys = self._scorers.history.keys
        for before, after in pairwise(self._scorers.history.spans.get((where, name), ())):
            one, other = keys[before.scorer_pk], keys[after.scorer_pk]
            yield Mark(after.first, "series", other.series, "".join(what_changed(one, other)))
