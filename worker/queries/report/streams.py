"""The streams of a report: weekly points by task type and scorer, with what happened on their nights."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection

from worker.core import calendar
from worker.core.drift.thresholds import OPERATIONAL
from worker.core.report.model import LEARN_NIGHTS, Change, Mark, StreamChart, StreamState, WeekPoint, Window
from worker.store.results import report as stored

_MOST_MARKS = 6
"""Version marks of one stream, the newest: with a version a day there is nothing to see in them."""


class Scorers(NamedTuple):
    """The scorers that were ever used, and those that matter here."""

    names: dict[int, tuple[str, str, str]]
    """Name, series and kind by key."""
    primary: str | None

    @property
    def primary_pks(self) -> list[int]:
        """Every series of the primary rubric, oldest first."""
        return [pk for pk, (name, _, _) in self.names.items() if name == self.primary]

    def is_rubric(self, name: str) -> bool:
        """Whether a judge is behind it."""
        return any(kind == "judge" for each, _, kind in self.names.values() if each == name)


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
    for one in known:
        by_name[scorers.names[one.scorer_pk][0]].append(one)
    marks = _Marks(window, stored.agent_versions(connection, window.until), by_name, scorers, changes)
    found = [
        _stream(window, where, name, own, marks, scorers.is_rubric(name), by_name[name])
        for (where, name), own in points.items()
        if where is not None or len(tasks[name]) > 1
    ]
    moved = {(one.drift.stream.task_type, one.drift.stream.scorer) for one in changes}

    def order(one: StreamChart) -> tuple[object, ...]:
        runs_of = one.points[-1].population if one.points else 0
        is_first = one.scorer == scorers.primary
        has_moved = (one.task_type, one.scorer) in moved
        is_part = one.task_type is not None
        return not one.is_rubric, not is_first, one.scorer, is_part, not has_moved, -runs_of, one.task_type or ""

    return tuple(sorted(found, key=order))


def _stream(
    window: Window,
    where: str | None,
    name: str,
    points: Sequence[WeekPoint],
    marks: "_Marks",
    is_rubric: bool,
    known: Sequence[stored.ScoredSpan],
) -> StreamChart:
    own = [one for one in known if where in (None, one.task_type)]
    newest = max((one.scorer_pk for one in own), default=None)
    current = [one for one in own if one.scorer_pk == newest]  # a new series learns anew
    nights = max((one.nights for one in current), default=0)
    age = max(((window.until - one.first).days for one in current), default=0)
    state: StreamState = "tested" if age >= LEARN_NIGHTS and nights > LEARN_NIGHTS // 2 else "young"
    if not nights:
        state = "unscored"
    elif name in OPERATIONAL:
        state = "elsewhere"
    return StreamChart(where, name, is_rubric, tuple(points), marks.of(where, name), nights, state)


class _Marks:
    """What happened on the nights shown: new versions, new series, findings."""

    def __init__(
        self,
        window: Window,
        versions: Sequence[stored.AgentVersion],
        known: Mapping[str, Sequence[stored.ScoredSpan]],
        scorers: Scorers,
        changes: Sequence[Change],
    ) -> None:
        self._first = calendar.nights_of_week(window.weeks[0])[0]
        self._known, self._scorers, self._changes = known, scorers, changes
        self._versions: dict[str | None, list[stored.AgentVersion]] = defaultdict(list, {None: list(versions)})
        for one in versions:
            self._versions[one.task_type].append(one)

    def of(self, where: str | None, name: str) -> tuple[Mark, ...]:
        found = [*self._new_versions(where), *self._new_series(where, name)]
        for change in self._changes:
            stream = change.drift.stream
            if (stream.task_type, stream.scorer) == (where, name):
                found.append(Mark(change.drift.since, "finding", str(change.drift.finding_id or "")))
        return tuple(sorted(one for one in found if one.night >= self._first))

    def _new_versions(self, where: str | None) -> list[Mark]:
        """Versions first seen while another of the same agent was known already; the newest few."""
        known: set[str] = set()
        marks: dict[str, Mark] = {}
        for one in self._versions[where]:
            if one.agent_version:
                night = one.first if one.agent in known else date.min  # an agent's first version is no change
                marks.setdefault(one.agent_version, Mark(night, "version", one.agent_version))
                known.add(one.agent)
        return [mark for mark in marks.values() if mark.night > date.min][-_MOST_MARKS:]

    def _new_series(self, where: str | None, name: str) -> Iterable[Mark]:
        firsts: dict[int, date] = {}
        for one in self._known[name]:
            if where in (None, one.task_type):
                firsts[one.scorer_pk] = min(one.first, firsts.get(one.scorer_pk, one.first))
        for pk in sorted(firsts)[1:]:
            yield Mark(firsts[pk], "series", self._scorers.names[pk][1])
