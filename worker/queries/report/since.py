"""Where each finding's stream has been since: the mean of all its nights, not of the window that raised the alarm."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from sqlalchemy import Connection

from worker.core.drift import scan
from worker.core.drift.operational import Measure
from worker.core.drift.operational import OperationalFigure as Nightly
from worker.core.drift.thresholds import MIX_NIGHTS
from worker.core.report.model import Change, LevelSince
from worker.core.report.operational import NightFigure, weekly_operations
from worker.core.stats.intervals import interval
from worker.core.stats.nightly import nightly
from worker.core.stats.weekly import weekly
from worker.records import Cell, Drift, Estimate
from worker.store.results import cells as summary
from worker.store.runs import operational
from worker.store.runs.operational import StoredFigure

MEASURES: Mapping[str, Measure] = {
    "error_rate": "errors",
    "abort_rate": "aborts",
    "completion_rate": "completed",
    "tool_failure": "tool",
    "cost_per_run": "cost",
    "steps_per_run": "steps",
}
"""Scorer names of the streams that `pipeline.operations.watch` tests over all ended runs."""
_BEFORE_NIGHTS = 112
"""Nights before a finding that tell how much the stream's nights scatter."""
Series = Mapping[tuple[str, str], int]
"""The newest key of each scorer's name and series."""


def with_levels(connection: Connection, changes: Sequence[Change], until: date, series: Series) -> tuple[Change, ...]:
    """The changes, each with the level of its stream since; those that have recovered stay as they were found.

    Args:
        connection: A read transaction.
        changes: Findings in any order.
        until: The report's last night.
        series: The scorers that were ever used.
    """
    open_ = [change for change in changes if change.drift.state != "recovered"]
    of_runs = [change for change in open_ if _measure(change.drift)]
    found = _of_scores(connection, [change.drift for change in open_ if not _measure(change.drift)], until, series)
    if of_runs:
        first = min(change.drift.since for change in of_runs)
        rows = operational.night_figures(connection, first, until)
        found |= {change.drift.finding_id: _of_all_runs(rows, change.drift) for change in of_runs}
    return tuple(change._replace(since=found.get(change.drift.finding_id)) for change in changes)


def _measure(finding: Drift) -> Measure | None:
    """None for a stream of scores."""
    return MEASURES.get(finding.stream.scorer.partition(":")[0])


def _of_scores(
    connection: Connection, found: Sequence[Drift], until: date, series: Series
) -> dict[int | None, LevelSince | None]:
    by_series: dict[int, list[Drift]] = defaultdict(list)
    for finding in found:
        key = (finding.stream.scorer, finding.stream.scorer_version)
        if key in series:
            by_series[series[key]].append(finding)
    is_overall = any(finding.stream.task_type is None for finding in found)
    traffic = summary.reference_traffic(connection, MIX_NIGHTS) if is_overall else {}
    levels: dict[int | None, LevelSince | None] = {}
    for pk, of_series in by_series.items():
        first = min(finding.since for finding in of_series) - timedelta(days=_BEFORE_NIGHTS)
        for stream in summary.read_cells(connection, first, until, [pk]):
            for finding in of_series:
                if finding.stream.criterion == stream.criterion:
                    levels[finding.finding_id] = _level(stream.cells, finding, traffic)
    return levels


def _level(cells: Sequence[Cell], finding: Drift, traffic: Mapping[str, float]) -> LevelSince | None:
    """By the estimator of the weekly points, over all the nights as if they were one week."""
    task_type = finding.stream.task_type
    shares = traffic if task_type is None else None
    own = [cell for cell in cells if task_type in (None, cell.task_type)]
    past = finding.since - timedelta(days=_BEFORE_NIGHTS)
    before = nightly((cell for cell in own if past <= cell.night < finding.since), shares=shares)
    # the scan's cautious value: a size that was chosen for being large should not look surer than it is
    scatter = scan.dispersion(before.n, before.s, before.ss)
    whole = [cell for cell in own if cell.night >= finding.since]
    later = [cell for cell in whole if cell.night > finding.found_night]
    nights = len({cell.night for cell in later if cell.scored})
    return LevelSince(weekly(whole, shares=shares, dispersion=scatter), _later(later, shares, scatter), nights)


def _later(cells: Sequence[Cell], shares: Mapping[str, float] | None, scatter: float) -> Estimate:
    """The level of the nights after, with the interval of what lies behind those runs.

    That of the runs themselves is as narrow as one likes where nearly all are scored, and would exclude any old level.
    """
    found, n = weekly(cells, shares=shares), float(nightly(cells, shares=shares).n.sum())
    if found.mean is None:
        return found
    return Estimate(found.mean, *interval(found.mean, n / scatter), found.n, n / scatter)


def _of_all_runs(rows: Sequence[StoredFigure], finding: Drift) -> LevelSince:
    tool = finding.stream.scorer.partition(":")[2]
    key = (finding.stream.task_type, _measure(finding), tool)
    whole = [row for row in rows if (row.task_type, row.measure, row.subject) == key and row.night >= finding.since]
    later = [row for row in whole if row.night > finding.found_night]
    return LevelSince(_figure(whole), _figure(later), len({row.night for row in later if row.n}))


def _figure(rows: Sequence[StoredFigure]) -> Estimate:
    """By the estimators of the weekly figures, over all the nights as if they were one week."""
    measure = rows[0].measure if rows else "errors"
    # every rate is estimated alike
    name: Measure = "cost" if measure == "cost" else "steps" if measure == "steps" else "errors"
    nights = [
        NightFigure("", False, Nightly(row.task_type, name, "", row.n, row.s, row.ss, row.total, row.histogram))
        for row in rows
    ]
    for week in weekly_operations(nights, ("",)):
        (figure,) = {"cost": week.cost, "steps": week.steps}.get(name, week.errors)
        return Estimate(figure.value, figure.low, figure.high, figure.n, float(figure.n))
    return Estimate(None, None, None, 0, 0.0)
