"""Which series of each scorer measures which nights, and where another one took over."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.core.report.series import SeriesChange, SeriesNight, SeriesSpan, series_changes, series_spans
from worker.project.project import Project
from worker.records import ScorerKey
from worker.store.queue.enrol import registered
from worker.store.results import series as stored
from worker.store.runs import runs

RECENT_WEEKS = 8
"""For which a change is told where no window is asked for."""


class SeriesHistory(NamedTuple):
    """The series of all scorers over some nights."""

    keys: Mapping[int, ScorerKey]
    """Every scorer that was ever stored, by key, oldest first."""
    spans: Mapping[tuple[str | None, str], Sequence[SeriesSpan]]
    """By task type (None: all together) and scorer, for scorers that have more than one series; oldest first. What lies
    before the nights that were asked for is there only as the last night of each series."""
    lasts: Mapping[tuple[str | None, int], date]
    """The last night that each of them scored, by task type (None: all together) and key."""
    until: date
    """The last of these nights."""
    nights: Mapping[tuple[str | None, int], frozenset[date]]
    """Which of these nights each of them scored, in its time or in a backfill; keys as in `lasts`."""
    changes: tuple[SeriesChange, ...]
    """Where a series took over within these nights, all task types together; oldest first."""

    def current(self, scorer: str, task_type: str | None = None) -> int | None:
        """The key of the series that measures the last of these nights; None where there is none."""
        if spans := self.spans.get((task_type, scorer)):
            return spans[-1].scorer_pk
        return max((pk for pk, key in self.keys.items() if key.name == scorer), default=None)

    def ended(self, scorer: str, series: str, task_type: str | None = None) -> date | None:
        """The last scored night of a series that another has taken over from; None for one that goes on, or is unknown.

        Where the other has scored its nights again, in a backfill, that is still the last night that it scored itself.
        """
        own = [pk for pk, key in self.keys.items() if (key.name, key.series) == (scorer, series)]
        if not own or self.current(scorer, task_type) in own:
            return None
        return max((self.lasts[task_type, pk] for pk in own if (task_type, pk) in self.lasts), default=None)

    def scored_nights(self, scorer: str, task_type: str | None = None) -> tuple[frozenset[date], frozenset[date]]:
        """The nights that the current series of a scorer scored, and those that only its other series scored.

        Both are empty for a scorer that has one series only: all nights are its own.
        """
        pks = {pk for (where, pk) in self.nights if where == task_type and self.keys[pk].name == scorer}
        own = self.nights.get((task_type, self.current(scorer, task_type) or 0), frozenset())
        return own, frozenset().union(*(self.nights[task_type, pk] for pk in pks)) - own

    @property
    def over(self) -> frozenset[int]:
        """Keys of the series that another has taken over from, all task types together."""
        several = {name: spans[-1].scorer_pk for (where, name), spans in self.spans.items() if where is None}
        return frozenset(pk for pk, key in self.keys.items() if several.get(key.name, pk) != pk)


def series_history(connection: Connection, since: date, until: date) -> SeriesHistory:
    """The series of some nights, bounds included; two queries, over the scorers that have more than one."""
    keys = {one.pk: one.key for one in registered(connection)}
    names = [key.name for key in keys.values()]
    several = [pk for pk, key in keys.items() if names.count(key.name) > 1]
    nights: _Nights = defaultdict(dict)
    firsts: dict[int, date] = {}
    for past in stored.series_past(connection, several, since):
        firsts[past.scorer_pk] = min(past.first, firsts.get(past.scorer_pk, past.first))
        if past.last is not None:
            _add(nights, past.task_type, keys, SeriesNight(past.last, past.scorer_pk, past.scored, past.scored))
    for task_type, night in stored.series_nights(connection, several, since, until):
        if night.scored:
            firsts[night.scorer_pk] = min(night.night, firsts.get(night.scorer_pk, night.night))
        _add(nights, task_type, keys, night)
    spans = {where: series_spans(own.values()) for where, own in nights.items()}
    lasts: dict[tuple[str | None, int], date] = {}
    for (where, _), own in nights.items():
        for one in own.values():
            if one.scored:
                place = where, one.scorer_pk
                lasts[place] = max(one.night, lasts.get(place, one.night))
    scored: dict[tuple[str | None, int], set[date]] = defaultdict(set)
    for (where, _), own in nights.items():
        for one in own.values():
            if one.scored and one.night >= since:
                scored[where, one.scorer_pk].add(one.night)
    changes = [
        change
        for (task_type, _), own in spans.items()
        if task_type is None
        for change in series_changes(own, keys, firsts)
        if change.since >= since
    ]
    return SeriesHistory(
        keys,
        spans,
        lasts,
        until,
        {place: frozenset(found) for place, found in scored.items()},
        tuple(sorted(changes, key=lambda change: (change.since, change.scorer))),
    )


_Nights = dict[tuple[str | None, str], dict[tuple[date, int], SeriesNight]]


def _add(nights: _Nights, task_type: str, keys: Mapping[int, ScorerKey], one: SeriesNight) -> None:
    """Add a night of a series to its task type's, and to all task types' together."""
    name, place = keys[one.scorer_pk].name, (one.night, one.scorer_pk)
    nights[task_type, name][place] = one
    whole = nights[None, name].get(place, one._replace(sampled=0, scored=0))
    nights[None, name][place] = one._replace(sampled=whole.sampled + one.sampled, scored=whole.scored + one.scored)


def recent_series(project: Project, *, weeks: int = RECENT_WEEKS) -> SeriesHistory | None:
    """The series of the weeks up to the newest night with runs; None where no run was ever taken in."""
    with project.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return None
        return series_history(connection, span[1] - timedelta(weeks=weeks), span[1])
