"""Findings for a report: what may explain each, which runs to read, and what could have been found where none was."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from statistics import median
from typing import NamedTuple

from sqlalchemy import Connection

from worker.core.drift import alerting, scan
from worker.core.drift.sensitivity import ScannedStream, smallest_drop
from worker.core.report.causes import group_changes
from worker.core.report.model import GOOD_FROM, Change, RunRef, Sensitivity, StreamChart, UntestedStream, Window
from worker.core.stats.contrast import NO_CONTRASTS, Contrasts, RunTraits, contrasts
from worker.core.stats.mix import mix_shares
from worker.core.stats.nightly import nightly_lines
from worker.queries.report.series import SeriesHistory
from worker.queries.report.since import with_levels
from worker.records import Drift
from worker.store.results import cells, findings
from worker.store.results import report as stored
from worker.store.results.report import RunFacts

MOST_CHANGES, MOST_EXPLAINED = 50, 8
"""Findings shown, and those of them that are looked into; the newest."""
BEFORE_NIGHTS, REACH_NIGHTS = 28, 56
"""How far before a finding's window, and how far from its start on, runs are compared."""
MOST_RUNS = 5_000
"""Runs compared on each side of a change that was seen in all ended runs."""
WORST = 3
Names = Mapping[int, tuple[str, str, str]]
"""Name, series and kind of a scorer by key."""


class _Bad(NamedTuple):
    """What makes a run bad for an operational stream."""

    means: str
    figure: str | None
    """The column that is compared; None where facts decide."""
    ignore: tuple[str, ...]
    """Facts that say nothing but the same."""


_ITSELF = ("flag", "status", "input")
"""What a dear or a long run is by another name: flags of outliers, how it ended, the tokens that were paid for."""


def changes_of(
    connection: Connection, window: Window, task_type: str | None, names: Names, history: SeriesHistory
) -> tuple[Change, ...]:
    """The findings of the window, and older ones that nobody has settled; newest first."""
    found = [
        finding
        for finding in findings.list_findings(connection, everything=True)
        if finding.found_night <= window.until
        and (finding.found_night >= window.since or finding.state in findings.OPEN_STATES)
        and task_type in (None, finding.stream.task_type)
    ][:MOST_CHANGES]
    changes = [
        _change(connection, finding, window, names, is_explained=place < MOST_EXPLAINED)
        for place, finding in enumerate(found)
    ]
    series = {(name, version): pk for pk, (name, version, _) in names.items()}
    changes = [change._replace(ended=_ended(history, change.drift)) for change in changes]
    return group_changes(with_levels(connection, changes, window.until, series))


def _ended(history: SeriesHistory, finding: Drift) -> date | None:
    return history.ended(finding.stream.scorer, finding.stream.scorer_version, finding.stream.task_type)


def _change(connection: Connection, finding: Drift, window: Window, names: Names, *, is_explained: bool) -> Change:
    is_new = finding.found_night >= window.since
    until = min(window.until, finding.since + timedelta(days=REACH_NIGHTS))
    bad = _bad(finding.stream.scorer)
    if not is_explained:
        return Change(finding, is_new, NO_CONTRASTS, "", ())
    if bad is None:
        return Change(finding, is_new, *_of_scores(connection, finding, until, names))
    return Change(finding, is_new, *_of_all_runs(connection, finding, until, bad))


def _bad(scorer: str) -> _Bad | None:
    """None for a stream of scores."""
    kind, _, tool = scorer.partition(":")
    return {
        "error_rate": _Bad("errored", None, ("status",)),
        "abort_rate": _Bad("aborted", None, ("status",)),
        "completion_rate": _Bad("did not complete", None, ("status",)),
        "tool_failure": _Bad(f"had a failed call of {tool}", None, ("status", "flag", "tool failed")),
        "cost_per_run": _Bad("cost more than the median run before", "cost_usd", _ITSELF),
        "steps_per_run": _Bad("took more steps than the median run before", "steps", _ITSELF),
    }.get(kind)


def _of_scores(
    connection: Connection, finding: Drift, until: date, names: Names
) -> tuple[Contrasts, str, tuple[RunRef, ...]]:
    stream = finding.stream
    pks = [pk for pk, (name, series, _) in names.items() if (name, series) == (stream.scorer, stream.scorer_version)]
    is_judge = any(names[pk][2] == "judge" for pk in pks)
    limit, means = (GOOD_FROM, f"scored below {GOOD_FROM:g}") if is_judge else (1.0, "scored below 1")
    since = finding.since - timedelta(days=BEFORE_NIGHTS)
    rows = stored.scored_facts(connection, since, until, pks, stream.task_type, limit=4 * MOST_RUNS)
    found = contrasts(seen(row, is_bad=row.figure is not None and row.figure < limit) for row in rows)
    lowest = stored.lowest_scored(connection, finding.since, until, pks, stream.task_type, WORST)
    return found, means, _refs(connection, lowest)


def _of_all_runs(
    connection: Connection, finding: Drift, until: date, bad: _Bad
) -> tuple[Contrasts, str, tuple[RunRef, ...]]:
    task_type, tool = finding.stream.task_type, finding.stream.scorer.partition(":")[2]
    since = finding.since - timedelta(days=BEFORE_NIGHTS)
    before = stored.run_facts(connection, since, finding.since - timedelta(days=1), task_type, bad.figure, MOST_RUNS)
    after = stored.run_facts(connection, finding.since, until, task_type, bad.figure, MOST_RUNS)
    is_bad, counts = _judge_of(finding.stream.scorer, tool, before)
    rows = [row for row in (*before, *after) if counts(row)]
    found = contrasts((seen(row, is_bad=is_bad(row)) for row in rows), ignore=bad.ignore)
    if bad.figure is not None:
        worst = stored.highest(connection, finding.since, until, task_type, bad.figure, WORST)
        return found, bad.means, _refs(connection, worst)
    chosen: list[tuple[int, float | None]] = [(row.pk, None) for row in after if counts(row) and is_bad(row)]
    return found, bad.means, _refs(connection, chosen[:WORST])


_Decides = Callable[[RunFacts], bool]


def _judge_of(scorer: str, tool: str, before: Collection[RunFacts]) -> tuple[_Decides, _Decides]:
    """Whether a run is bad, and whether it counts at all."""
    if scorer in ("cost_per_run", "steps_per_run"):
        usual = median([row.figure for row in before if row.figure is not None] or [0.0])
        return lambda row: (row.figure or 0.0) > usual, lambda row: row.figure is not None
    if tool:
        return lambda row: row.tools[tool][1] > 0, lambda row: tool in row.tools
    status = {"error_rate": "errored", "abort_rate": "aborted"}.get(scorer)
    if status is None:
        return lambda row: row.status != "completed", lambda row: True
    return lambda row: row.status == status, lambda row: True


def _refs(connection: Connection, chosen: Sequence[tuple[int, float | None]]) -> tuple[RunRef, ...]:
    known = stored.identities(connection, [pk for pk, _ in chosen])
    return tuple(RunRef(*known[pk], figure) for pk, figure in chosen)


def seen(row: RunFacts, *, is_bad: bool) -> RunTraits:
    """A stored run as `core.contrast` looks at it."""
    return RunTraits(
        is_bad,
        row.task_type,
        row.agent,
        row.agent_version,
        row.status,
        row.flags,
        {name: failed > 0 for name, (_, failed) in row.tools.items()},
        row.input_tokens,
    )


def sensitivity_of(
    connection: Connection,
    window: Window,
    streams: Sequence[StreamChart],
    changes: Sequence[Change],
    primary_pks: Sequence[int],
    allowed: float,
) -> tuple[Sensitivity, ...]:
    """The smallest drop that would have been found, for each tested stream of the primary rubric without a finding."""
    primary = next((stream.scorer for stream in streams if stream.is_rubric), None)
    tested = [stream for stream in streams if stream.state == "tested"]
    if primary is None or not primary_pks or not tested:
        return ()
    weights = {
        (stream.task_type, stream.scorer): alerting.RUBRIC_WEIGHT if stream.is_rubric else 1.0
        for stream in streams
        if stream.state in ("tested", "young")
    }
    shares = alerting.alarm_shares(weights, alerting.QUALITY_SHARE)
    charts = [stream for stream in streams if stream.scorer == primary]
    moved = {stream.task_type for stream in charts for change in changes if stream.has_moved(change.drift)}
    if moved:
        moved.add(None)  # the overall line has fallen with it: from there a hair's breadth would be found
    wanted = [stream.task_type for stream in tested if stream.scorer == primary and stream.task_type not in moved]
    since = window.until - timedelta(days=scan.NIGHTS.reach - 1)
    own = cells.read_cells(connection, since, window.until, primary_pks, aggregates_only=True)
    if not own or not wanted:
        return ()
    first = min(cell.night for cell in own[0].cells)
    last = max(cell.night for cell in own[0].cells)
    lines = nightly_lines(own[0].cells, shares=mix_shares(own[0].cells), nights=(first, last))
    found = []
    for task_type in wanted:
        if task_type in lines:
            n, s, ss = lines[task_type][1:]
            watched = ScannedStream(n, s, ss, 1 / shares[task_type, primary], allowed)
            found.append(Sensitivity(task_type, smallest_drop(watched)))
    return tuple(found)


def untold(
    primary: str | None, streams: Sequence[StreamChart], changes: Sequence[Change], told: Collection[Sensitivity]
) -> tuple[UntestedStream, ...]:
    """The streams of the primary rubric that `sensitivity_of` says nothing of, each with the reason."""
    known = {one.task_type for one in told}
    numbers: dict[str | None, int | None] = {}
    own = [stream for stream in streams if stream.scorer == primary]
    for change in changes:  # newest first
        if any(stream.has_moved(change.drift) for stream in own):
            numbers.setdefault(change.drift.stream.task_type, change.drift.finding_id)
    found = []
    for stream in own:
        if stream.task_type in known:
            continue
        reason = {"young": "too young to test", "unscored": "nothing scored"}.get(stream.state, "too few scores")
        if stream.task_type in numbers:
            reason = f"finding {numbers[stream.task_type]}"
        elif stream.task_type is None and numbers:
            reason = "moved by a finding"
        found.append(UntestedStream(stream.task_type, reason))
    return tuple(found)
