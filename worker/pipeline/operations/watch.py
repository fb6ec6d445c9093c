"""All ended runs to alarms: rates, tools, cost and steps against their own past, by night and hour; the day's spend.

The sample says how good the answers were; this says what every run shows by itself. One scan serves both, and all
streams together keep within the project's false alarms (`core.alerting` shares them out).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping

from worker.core.drift import alerting, operational, scan, season
from worker.core.drift.scan import HOURS, NIGHTS, Direction, Grid
from worker.core.drift.thresholds import MIN_RUNS
from worker.pipeline.alert import alert_findings
from worker.pipeline.follow import MUTE_NIGHTS, follow
from worker.pipeline.operations import spend
from worker.pipeline.operations.figures import take_pulse
from worker.pipeline.operations.silence import look_for_silence
from worker.project.project import Project
from worker.records import Drift, DriftKind, Stream
from worker.store import meta
from worker.store.results import findings
from worker.store.runs import draws
from worker.store.runs import operational as stored_figures
from worker.store.runs.operational import StoredFigure
from worker.store.runs.runs import tool_failures_since

Floats = NDArray[np.float64]
SERIES = "1"
"""Version of the operational streams: another number when a figure comes to mean something else."""
_WATCHED_HOUR = "watched_hour"


class _What(NamedTuple):
    """How a measure is watched."""

    scorer: str
    kind: DriftKind
    direction: Direction


_WATCHED: Mapping[str, _What] = {
    "errors": _What("error_rate", "errors", "up"),
    "aborts": _What("abort_rate", "errors", "up"),
    "completed": _What("completion_rate", "errors", "down"),
    "tool": _What("tool_failure", "tool", "up"),
    "cost": _What("cost_per_run", "cost", "up"),
    "steps": _What("steps_per_run", "steps", "up"),
}
_EXPLAINED_BY = {"completion_rate": ("error_rate", "abort_rate")}
"""A run that errs or is aborted is not completed; one cause is told once."""


class WatchRound(NamedTuple):
    """What one round did."""

    summed: list[date]
    """Nights whose figures were summed."""
    found: list[Drift]
    """New findings."""


class _WatchedSeries(NamedTuple):
    """One stream, one value a step, counted so that more is worse."""

    stream: Stream
    what: _What
    n: Floats
    s: Floats
    """Runs that went wrong, the sum of failed shares, or of ranks among the past's costs or step counts."""
    ss: Floats
    total: Floats
    """US dollars or steps, of which the mean of a cost or step stream is made."""

    def mean(self, first: int, last: int) -> float | None:
        """The level in its own unit over steps first..last - 1; None without runs."""
        n = float(self.n[first:last].sum())
        if n <= 0:
            return None
        if self.what.kind in ("cost", "steps"):
            return float(self.total[first:last].sum()) / n
        bad = float(self.s[first:last].sum()) / n
        return 1 - bad if self.what.direction == "down" else bad

    def latest(self, steps: int) -> float | None:
        """The level over the newest steps."""
        return self.mean(max(0, len(self.n) - steps), len(self.n))


def watch(project: Project, now: datetime, replayed: tuple[date, date] | None = None) -> WatchRound:
    """Sum what changed, look at each drawn night once, at each hour once, and at the day's spend. Repeating it is free.

    Args:
        project: Whose runs. Before its first tick nothing is watched: imported history is no news.
        now: The time.
        replayed: Nights, first and last, that somebody asked for by name; None for those that are new.
    """
    summed = take_pulse(project, now)
    if project.nights.start() is None:
        return WatchRound(summed, [])
    with project.store.read() as connection:
        nights = stored_figures.unwatched_nights(connection, project.nights.last_over(now))
    found = [one for night in nights for one in _look_at_night(project, night, now)]
    found += _look_at_hour(project, now)
    spend.look_at_today(project, now)
    look_for_silence(project, now, replayed)
    return WatchRound(summed, found)


def _look_at_night(project: Project, night: date, now: datetime) -> list[Drift]:
    with project.store.write() as connection:
        draws.lock_night(connection, night)
        if not stored_figures.mark_watched(connection, night, now):
            return []
        since = night - timedelta(days=NIGHTS.reach - 1)
        rows = _comparable(connection, stored_figures.night_figures(connection, since, night))
        first = min((row.night for row in rows), default=night)
        placed = [((row.night - first).days, row) for row in rows]
        lines = _lines(placed, (night - first).days + 1, NIGHTS)
        found = _scan(project, connection, lines, night, now, NIGHTS)
        spend.look_at_night(project, connection, rows, night, now)
        return found


def _comparable(connection: Connection, rows: Sequence[StoredFigure]) -> list[StoredFigure]:
    """Figures without those of tools from before failures were found as they are now."""
    since = tool_failures_since(connection)
    return [row for row in rows if row.measure != "tool" or row.night >= since]


def _look_at_hour(project: Project, now: datetime) -> list[Drift]:
    """The newest hour that is over, once; hours that nobody looked at lie in its windows."""
    hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    night = project.nights.of(hour)
    with project.store.read() as connection:
        if not _is_new(connection, hour):
            return []
    with project.store.write() as connection:
        draws.lock_night(connection, night)
        if not _is_new(connection, hour):
            return []
        meta.set_meta(connection, _WATCHED_HOUR, hour.isoformat())
        rows = stored_figures.hour_figures(connection, night - timedelta(days=HOURS.reach // 24 + 1), night)
        rows = _comparable(connection, rows)
        earliest = hour - timedelta(hours=HOURS.reach - 1)
        rows = [row for row in rows if earliest <= row.at <= hour]
        first = min((row.at for row in rows), default=hour)
        placed = [(_hours(first, row.at), row) for row in rows]
        lines = _lines(placed, _hours(first, hour) + 1, HOURS)
        return _scan(project, connection, [_evened(line, first) for line in lines], night, now, HOURS)


def _is_new(connection: Connection, hour: datetime) -> bool:
    seen = meta.get_meta(connection, _WATCHED_HOUR)
    return seen is None or seen < hour.isoformat()


def _hours(since: datetime, at: datetime) -> int:
    return round((at - since).total_seconds() / 3600)


def _evened(line: _WatchedSeries, first: datetime) -> _WatchedSeries:
    """The line with the time of day taken out of its runs, learned from what is old enough to be trusted."""
    hours = (first.hour + np.arange(len(line.n))) % 24
    settled = max(0, len(line.n) - HOURS.lag)
    factors = season.profile(line.n[:settled], line.s[:settled], hours[:settled])
    return line._replace(n=season.exposure(line.n, line.s, hours, factors))


def _lines(placed: Iterable[tuple[int, StoredFigure]], steps: int, grid: Grid) -> list[_WatchedSeries]:
    """Streams with enough runs, from figures that stand at their steps."""
    by_stream: dict[tuple[str, str, str], list[tuple[int, StoredFigure]]] = defaultdict(list)
    for step, row in placed:
        by_stream[row.task_type, row.measure, row.subject].append((step, row))
    found = []
    for (task_type, measure, subject), rows in sorted(by_stream.items()):
        what = _WATCHED.get(measure)
        if what is None or sum(row.n for _, row in rows) < MIN_RUNS:
            continue
        scorer = f"{what.scorer}:{subject}" if subject else what.scorer
        found.append(_line(Stream(task_type, scorer, SERIES), what, rows, steps, grid))
    return found


def _line(
    stream: Stream, what: _What, rows: Sequence[tuple[int, StoredFigure]], steps: int, grid: Grid
) -> _WatchedSeries:
    n, s, ss, total = np.zeros((4, steps))
    ranks: Mapping[int, float] = {}
    if what.kind in ("cost", "steps"):
        first, last = scan.reference_span(steps, 1, grid=grid)
        past = [row.histogram for step, row in rows if first <= step < last and row.histogram is not None]
        ranks = operational.ridits(operational.merge_histograms(past))
    for step, row in rows:
        n[step], total[step] = row.n, row.total
        s[step], ss[step] = (row.s, row.ss) if row.histogram is None else operational.rank_sums(row.histogram, ranks)
    if what.direction == "down":
        s = n - s
        ss = s
    return _WatchedSeries(stream, what, n, s, ss, total)


def _scan(
    project: Project, connection: Connection, lines: Sequence[_WatchedSeries], night: date, now: datetime, grid: Grid
) -> list[Drift]:
    known = findings.by_stream(connection)
    share = alerting.NIGHTLY_SHARE if grid is NIGHTS else alerting.HOURLY_SHARE
    found: list[Drift] = []
    for line in lines:
        past = known.get(line.stream, [])
        if past and past[0]["state"] in findings.OPEN_STATES:
            if grid is NIGHTS:
                follow(connection, past[0], line.latest, night, now)
            continue
        if past and past[0]["found_night"] >= night:
            continue
        finding = scan.scan(
            line.n,
            line.s,
            line.ss,
            start=_steps_to(past[0]["found_night"] + timedelta(days=MUTE_NIGHTS + 1), night, line, grid) if past else 0,
            streams=len(lines) / share,
            false_alarms_per_year=project.settings.alerts.false_alarms_per_year,
            direction="up",
            reference_start=_accepted(past, night, line, grid),
            grid=grid,
        )
        if finding is not None:
            found.append(_drift(line, finding, night, _accepted(past, night, line, grid), grid))
    return _store(project, connection, found, known, now)


def _accepted(past: Sequence[RowMapping], night: date, line: _WatchedSeries, grid: Grid) -> int:
    """The first step of the level that a person accepted; 0 where nobody did."""
    accepted = next((row for row in past if row["state"] == "accepted"), None)
    return 0 if accepted is None else _steps_to(accepted["since"], night, line, grid)


def _steps_to(start: date, night: date, line: _WatchedSeries, grid: Grid) -> int:
    """The index of a night's first step in a series that ends with another night."""
    nights = (night - start).days + 1
    return min(max(len(line.n) - nights * (1 if grid is NIGHTS else 24), 0), len(line.n))


def _drift(line: _WatchedSeries, finding: scan.Finding, night: date, learn_from: int, grid: Grid) -> Drift:
    steps, window = len(line.n), finding.window_nights
    first, last = scan.reference_span(steps, window, learn_from, grid)
    before, after = line.mean(first, last), line.mean(steps - window, steps)
    is_nightly = grid is NIGHTS
    return Drift(
        stream=line.stream,
        kind=line.what.kind,
        direction=line.what.direction,
        before=finding.before if before is None else before,
        after=finding.after if after is None else after,
        window_nights=window if is_nightly else 1 + window // 24,
        window_hours=None if is_nightly else window,
        scored=round(float(line.n[-window:].sum())),
        z=finding.z,
        chance_per_year=finding.chance_per_year,
        since=night - timedelta(days=(window if is_nightly else 1 + window // 24) - 1),
        found_night=night,
    )


def _store(
    project: Project,
    connection: Connection,
    found: Sequence[Drift],
    known: Mapping[Stream, Sequence[RowMapping]],
    now: datetime,
) -> list[Drift]:
    alive = {stream for stream, rows in known.items() if rows and rows[0]["state"] in findings.OPEN_STATES}
    alive |= {one.stream for one in found}
    stored = []
    for one in found:
        by = _EXPLAINED_BY.get(one.stream.scorer, ())
        is_explained = any(one.stream._replace(scorer=other) in alive for other in by)
        if is_explained or not alerting.is_large_enough(one.kind, one.before, one.after):
            continue
        stored.append(one.model_copy(update={"finding_id": findings.add(connection, one, now)}))
    alert_findings(project, connection, stored, now)
    return stored
