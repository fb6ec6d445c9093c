"""Runs that do not arrive any more: by task type, or one alert where none of any type arrive."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from worker.core.calendar import nights_between
from worker.core.drift.silence import Silence, silence
from worker.pipeline.operations.troubles import PipelineTrouble, Recovery, settle
from worker.project.project import Project
from worker.store import meta
from worker.store.results import alerts
from worker.store.results.alerts import TroubleAlert
from worker.store.runs import draws, operational

CHECK = "runs"
_LOOKED_AT, _LAG = "silence_looked_at", "silence_lag_nights"
"""The newest night that was looked at; how many nights late runs have come before."""
_READ_NIGHTS = 400
"""Nights whose counts are read; work that was not seen for longer is not missed."""
_MOST_NIGHTS = 92
"""Nights that are looked at in one go after a long pause; the newest."""
_LONGEST_LAG = 14

Counts = Mapping[str | None, Mapping[date, int]]
"""Ended runs by task type, and under None of all, by night."""


class _Seen(NamedTuple):
    """What was looked at before."""

    looked_at: date | None
    lag: int
    open_now: list[TroubleAlert]


def look_for_silence(project: Project, now: datetime, replayed: tuple[date, date] | None = None) -> None:
    """Tell of task types whose runs do not arrive any more, and of those that arrive again; each night once.

    A night is looked at when it is due. Where runs once came after that for nights that had been told as silent, they
    are on their way every time: then so many nights are waited for them from then on.

    Args:
        project: Whose runs; their figures are summed.
        now: The time.
        replayed: Nights of a replay, first and last, which are looked at one by one; None for those that are new.
    """
    start = project.nights.start()
    if start is None:
        return
    seen = _seen(project)
    last = project.nights.last_due(now) - timedelta(days=seen.lag)
    # the first time, after an upgrade too, what lasts is told, and not what was over before anybody looked
    first = max(start, last) if seen.looked_at is None else seen.looked_at + timedelta(days=1)
    new = list(nights_between(max(first, last - timedelta(days=_MOST_NIGHTS)), last))
    if replayed is not None:
        new = list(nights_between(*replayed))
    if not new and not seen.open_now:
        return
    today = project.nights.of(now)
    counts = _counts(project, (new[0] if new else today) - timedelta(days=_READ_NIGHTS), today)
    for night in new:
        _look(project, counts, night, night, now)
    if replayed is not None:
        return
    if new:
        with project.store.write() as connection:
            meta.set_meta(connection, _LOOKED_AT, last.isoformat())
    _look(project, counts, last, today, now)
    _learn_lag(project, counts, seen)


def _seen(project: Project) -> _Seen:
    with project.store.read() as connection:
        looked_at = meta.get_meta(connection, _LOOKED_AT)
        lag = int(meta.get_meta(connection, _LAG) or 0)
        open_now = alerts.open_troubles(connection, CHECK)
    return _Seen(None if looked_at is None else date.fromisoformat(looked_at), lag, open_now)


def _counts(project: Project, since: date, until: date) -> Counts:
    with project.store.read() as connection:
        by_type = operational.ended_by_night(connection, since, until)
    total = dict(sum((Counter(own) for own in by_type.values()), Counter()))
    return {None: total} | by_type


def _look(project: Project, counts: Counts, night: date, until: date, now: datetime) -> None:
    """What is silent as of a night; runs of later nights, up to another, end a silence too."""
    with project.store.write() as connection:
        draws.lock_night(connection, night)
        told = {one.task_type: _since(one) for one in alerts.open_troubles(connection, CHECK) if one.night <= night}
        outages = _outages(counts, alerts.told_troubles(connection, CHECK), night)
        silences = _silences(counts, night, outages)
        found = {task_type: one.since for task_type, one in silences.items()}
        lasting = told | found
        current = {
            task_type: since
            for task_type, since in lasting.items()
            if not _came(counts.get(task_type, {}), since, until)
        }
        troubles = [_trouble(silences.get(task_type), task_type, since, night) for task_type, since in current.items()]
        over = [
            _recovery(counts[task_type], task_type, since, until)
            for task_type, since in told.items()
            if task_type not in current
        ]
        settle(project, connection, CHECK, troubles, night, now, recovered=over)


def _outages(counts: Counts, told: Sequence[TroubleAlert], night: date) -> dict[str | None, set[date]]:
    """The nights of silences that were told before, by task type; those of all types under None."""
    nights: dict[str | None, set[date]] = defaultdict(set)
    for one in told:
        own, day = counts.get(one.task_type, {}), _since(one)
        while day <= night and not own.get(day):
            nights[one.task_type].add(day)
            day += timedelta(days=1)
    return nights


def _silences(counts: Counts, night: date, outages: Mapping[str | None, set[date]]) -> dict[str | None, Silence]:
    """The silences as of a night; where all task types are silent, that one alone."""
    of_all = outages.get(None, set())
    total = silence(counts[None], night, of_all)
    if total is not None:
        return {None: total}
    found = {
        task_type: silence(own, night, of_all | outages.get(task_type, set()))
        for task_type, own in counts.items()
        if task_type is not None
    }
    return {task_type: one for task_type, one in found.items() if one is not None}


def _came(own: Mapping[date, int], since: date, until: date) -> bool:
    """Whether any run came on a night, bounds included."""
    return any(runs and since <= night <= until for night, runs in own.items())


def _since(one: TroubleAlert) -> date:
    return date.fromisoformat(one.details["since"])


def _trouble(found: Silence | None, task_type: str | None, since: date, night: date) -> PipelineTrouble:
    one = found or Silence(since, (night - since).days + 1, 0.0)
    usual = f", where about {one.usual:,.0f} a night are usual" if one.usual else ""
    who = "no runs of any task type" if task_type is None else f"{task_type}: no runs"
    text = f"{who} since {since:%a %d %b}{usual}; is what sends them still running?"
    return PipelineTrouble(CHECK, since, text, task_type, {"nights": one.nights, "usual": one.usual})


def _recovery(own: Mapping[date, int], task_type: str | None, since: date, until: date) -> Recovery:
    first = min(night for night, runs in own.items() if runs and since <= night <= until)
    who = "runs" if task_type is None else f"{task_type}: runs"
    missed = (first - since).days
    gap = f" after {missed} night{'' if missed == 1 else 's'} without" if missed else ", those of the silent nights too"
    return Recovery(CHECK, f"{who} arrive again: {own[first]:,} on {first:%a %d %b}{gap}", task_type)


def _learn_lag(project: Project, counts: Counts, seen: _Seen) -> None:
    """Runs that came for nights that were told as silent come late every time."""
    late = [
        (one.night - _since(one)).days + 1
        for one in seen.open_now
        if _came(counts.get(one.task_type, {}), _since(one), one.night)
    ]
    lag = min(_LONGEST_LAG, max(late, default=0))
    if lag > seen.lag:
        with project.store.write() as connection:
            meta.set_meta(connection, _LAG, str(lag))
