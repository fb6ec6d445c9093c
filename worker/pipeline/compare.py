"""Trend to drift: every stream of a night scanned against its own past; findings stored, held open, or let go."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, RowMapping

from worker.core.drift import alerting, scan
from worker.core.drift.thresholds import MIX_NIGHTS, OPERATIONAL
from worker.core.stats.nightly import NightlySeries, nightly_lines
from worker.pipeline.alert import alert_findings
from worker.pipeline.follow import MUTE_NIGHTS, follow
from worker.project.project import Project
from worker.records import Drift, Stream
from worker.store.queue import enrol
from worker.store.results import cells, findings
from worker.store.runs import draws

_REACH_NIGHTS = scan.NIGHTS.reach


class Scanned(NamedTuple):
    """A stream with its nightly series."""

    stream: Stream
    series: NightlySeries
    weight: float
    """Of its share of the false alarms."""


def compare_night(project: Project, night: date, now: datetime) -> list[Drift]:
    """Look for drift in every stream as of a night, and store what is found.

    Streams are the aggregates of every scorer by task type, and at the fixed mix over all task types where there are
    several; never the raw overall line, which any change of traffic moves. They share half of the project's false
    alarms, rubrics twice as much as heuristics; the other half belongs to `pipeline.operations.watch`.

    Returns:
        New findings.
    """
    allowed = project.settings.alerts.false_alarms_per_year
    with project.store.write() as connection:
        draws.lock_night(connection, night)  # two at once would each find the same
        streams = _streams(connection, night)
        known = findings.by_stream(connection)
        shares = alerting.alarm_shares({one.stream: one.weight for one in streams}, alerting.QUALITY_SHARE)
        found = []
        for one in streams:
            finding = _look(connection, one, known.get(one.stream, []), night, now, 1 / shares[one.stream], allowed)
            if finding is not None:
                key = findings.add(connection, finding, now)
                found.append(finding.model_copy(update={"finding_id": key}))
        alert_findings(project, connection, found, now, quiet=_backfilled(connection, night))
        cells.mark_compared(connection, night, now)
    return found


def _backfilled(connection: Connection, night: date) -> set[tuple[str, str]]:
    """Name and series of the scorers that a backfill brought to a night."""
    pks = sorted(cells.backfilled_scorers(connection, night))
    return {(one.key.name, one.key.series) for one in enrol.registered(connection, pks)} if pks else set()


def _streams(connection: Connection, night: date) -> list[Scanned]:
    pks = enrol.enrolled(connection, [night])[night]
    if not pks:
        return []
    keys = {one.pk: one.key for one in enrol.registered(connection, pks)}
    traffic = cells.reference_traffic(connection, MIX_NIGHTS)
    since = night - timedelta(days=_REACH_NIGHTS - 1)
    found = []
    for each in cells.read_cells(connection, since, night, pks, aggregates_only=True):
        key = keys[each.scorer_pk]
        if key.name in OPERATIONAL:
            continue
        weight = alerting.RUBRIC_WEIGHT if key.kind == "judge" else 1.0
        span = (min(cell.night for cell in each.cells), night)
        lines = nightly_lines(each.cells, shares=traffic, nights=span)
        # a stream without a score has nothing to be wrong about, and takes no share of the false alarms
        scored = {task_type: series for task_type, series in lines.items() if series.n.any()}
        if len(scored) == 2:  # one task type, and an overall line that is the same
            scored.pop(None, None)
        found += [Scanned(Stream(task, key.name, key.series), series, weight) for task, series in scored.items()]
    return found


def _look(
    connection: Connection,
    one: Scanned,
    past: Sequence[RowMapping],
    night: date,
    now: datetime,
    streams: float,
    allowed: float,
) -> Drift | None:
    latest = past[0] if past else None
    if latest is not None and latest["found_night"] >= night:
        return None  # this night was looked at before
    series, start, learn_from = one.series, 0, 0
    if latest is not None:
        if latest["state"] in findings.OPEN_STATES:
            follow(connection, latest, lambda nights: _mean(series, nights), night, now)
            return None
        start = _index(series, latest["found_night"] + timedelta(days=MUTE_NIGHTS + 1))
    accepted = next((row for row in past if row["state"] == "accepted"), None)
    if accepted is not None:
        learn_from = _index(series, accepted["since"])
    finding = scan.scan(
        series.n,
        series.s,
        series.ss,
        start=start,
        streams=streams,
        false_alarms_per_year=allowed,
        reference_start=learn_from,
    )
    if finding is None:
        return None
    return Drift(
        stream=one.stream,
        direction=finding.direction,
        before=finding.before,
        after=finding.after,
        window_nights=finding.window_nights,
        scored=round(finding.scored),
        z=finding.z,
        chance_per_year=finding.chance_per_year,
        since=series.nights[finding.since],
        found_night=night,
    )


def _mean(series: NightlySeries, nights: int) -> float | None:
    n = float(np.sum(series.n[-nights:]))
    return float(np.sum(series.s[-nights:])) / n if n > 0 else None


def _index(series: NightlySeries, night: date) -> int:
    """Where a night stands in a series, bounded by its ends."""
    nights: Sequence[date] = series.nights
    return min(max((night - nights[0]).days, 0), len(nights)) if nights else 0
