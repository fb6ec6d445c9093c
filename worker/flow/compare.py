"""Trend to drift: every stream of a night scanned against its own past; findings stored, held open, or let go."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, RowMapping

from worker.core import drift
from worker.core.estimate import NightlySeries, nightly_lines
from worker.flow.project import Project
from worker.flow.summarise import MIX_NIGHTS
from worker.records import Drift, DriftKind, Stream
from worker.store import draws, enrol, findings, summary

MUTE_NIGHTS = 7
_RECOVERY_NIGHTS = 14
_MADE_UP = 0.25
_REACH_NIGHTS = drift.REACH_NIGHTS
_KINDS: Mapping[str, DriftKind] = {
    "completed": "errors",
    "tool_success": "tool",
    "cost_in_range": "cost",
    "steps_in_range": "steps",
}
"""What a heuristic's drop is a change of; everything else is a change of the agent's quality."""


class Scanned(NamedTuple):
    """A stream with its nightly series."""

    stream: Stream
    series: NightlySeries


def compare_night(project: Project, night: date, now: datetime) -> list[Drift]:
    """Look for drift in every stream as of a night, and store what is found.

    Streams are the aggregates of every scorer by task type, and at the fixed mix over all task types where there are
    several; never the raw overall line, which any change of traffic moves. They share the project's false alarms.

    Returns:
        New findings.
    """
    allowed = project.settings.alerts.false_alarms_per_year
    with project.store.write() as connection:
        draws.lock_night(connection, night)  # two at once would each find the same
        streams = _streams(connection, night)
        known = findings.by_stream(connection)
        found = []
        for one in streams:
            finding = _look(connection, one, known.get(one.stream, []), night, now, len(streams), allowed)
            if finding is not None:
                key = findings.add(connection, finding, now)
                found.append(finding.model_copy(update={"finding_id": key}))
        summary.mark_compared(connection, night, now)
    return found


def _streams(connection: Connection, night: date) -> list[Scanned]:
    pks = enrol.enrolled(connection, [night])[night]
    if not pks:
        return []
    keys = {one.pk: one.key for one in enrol.registered(connection, pks)}
    traffic = summary.reference_traffic(connection, MIX_NIGHTS)
    since = night - timedelta(days=_REACH_NIGHTS - 1)
    found = []
    for each in summary.cells(connection, since, night, pks, aggregates_only=True):
        key = keys[each.scorer_pk]
        span = (min(cell.night for cell in each.cells), night)
        for task_type, series in nightly_lines(each.cells, shares=traffic, nights=span).items():
            found.append(Scanned(Stream(task_type, key.name, key.series), series))
    # a stream without a score has nothing to be wrong about, and takes no share of the false alarms
    return [one for one in found if one.series.n.any()]


def _look(
    connection: Connection,
    one: Scanned,
    past: Sequence[RowMapping],
    night: date,
    now: datetime,
    streams: int,
    allowed: float,
) -> Drift | None:
    latest = past[0] if past else None
    if latest is not None and latest["found_night"] >= night:
        return None  # this night was looked at before
    series, start, learn_from = one.series, 0, 0
    if latest is not None:
        if latest["state"] in findings.ALIVE:
            _follow(connection, latest, series, night, now)
            return None
        start = _index(series, latest["found_night"] + timedelta(days=MUTE_NIGHTS + 1))
    accepted = next((row for row in past if row["state"] == "accepted"), None)
    if accepted is not None:
        learn_from = _index(series, accepted["since"])
    finding = drift.scan(
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
        kind=_KINDS.get(one.stream.scorer, "agent"),
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


def _follow(connection: Connection, latest: RowMapping, series: NightlySeries, night: date, now: datetime) -> None:
    """Hold a living finding open until the nights since have made up three quarters of the drop.

    The window that raised the alarm exaggerates the drop (it was the worst of many), so half-way back is not recovered.
    """
    if (night - latest["found_night"]).days < MUTE_NIGHTS:
        return
    if latest["state"] == "muted" and latest["muted_until"] is not None and night <= latest["muted_until"]:
        return
    level = _mean(series, min((night - latest["found_night"]).days, _RECOVERY_NIGHTS))
    drop = latest["before"] - latest["after"]
    if level is not None and (latest["before"] - level) < _MADE_UP * drop:
        findings.set_state(connection, latest["pk"], "recovered", now)
    elif latest["state"] == "muted":
        findings.set_state(connection, latest["pk"], "open", now)


def _mean(series: NightlySeries, nights: int) -> float | None:
    n = float(np.sum(series.n[-nights:]))
    return float(np.sum(series.s[-nights:])) / n if n > 0 else None


def _index(series: NightlySeries, night: date) -> int:
    """Where a night stands in a series, bounded by its ends."""
    nights: Sequence[date] = series.nights
    return min(max((night - nights[0]).days, 0), len(nights)) if nights else 0
