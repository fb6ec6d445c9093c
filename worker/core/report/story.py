"""The sentences of the report: what has changed, with n and how rare it is by chance, or that nothing has."""

from collections.abc import Sequence
from datetime import date

from worker.core.drift.alerting import stream_title, strength
from worker.core.report.calm import LIVING, QUALITY, calm, rest
from worker.core.report.causes import lead_changes, parts_of
from worker.core.report.formatting import Unit, amount, counted, day, from_to, interval_text, percent
from worker.core.report.model import (
    LOW_COVERAGE,
    RECOVERED_BELOW,
    Change,
    OutsideName,
    Report,
    ScorerCounts,
    Sensitivity,
    Sentence,
    StreamChart,
    Window,
)
from worker.core.report.operational import OperationalWeeks
from worker.core.report.series import SeriesChange, announcement, learning_note, newest_changes
from worker.records import Drift, Estimate

_MOST = 3
_FAR_DAYS = 300
"""Days further away than this are shown with their year."""


def unit_of(scorer: str) -> Unit:
    """The unit of a stream's level."""
    units: dict[str, Unit] = {"cost_per_run": "usd", "steps_per_run": "count"}
    return units.get(scorer, "share")


def sentences(
    window: Window | None,
    streams: Sequence[StreamChart],
    changes: Sequence[Change],
    tallies: Sequence[ScorerCounts],
    operations: Sequence[OperationalWeeks] = (),
    *,
    primary: str | None,
    primary_series: str | None = None,
    taken_over: SeriesChange | None = None,
    figures: int,
    sensitivity: Sequence[Sensitivity],
    nights: int,
) -> tuple[Sentence, ...]:
    """The report in one to three sentences, the most important first.

    Args:
        window: The nights of the report; None for a store without runs.
        streams: Every stream of scores.
        changes: The findings, grouped by `causes.group_changes`.
        tallies: The counts of the window.
        operations: Cost, errors and tools by week.
        primary: The rubric that decides what a good run is; None where there is none.
        primary_series: The series of it that the figures are of; None where it has one only.
        taken_over: That this series took over from another in the weeks shown; None where none did.
        figures: Number of operational streams that are tested: cost, errors, steps, tools.
        sensitivity: The smallest drops that would have been found.
        nights: How many nights those drops would have lasted.
    """
    if window is None:
        return (("No runs yet: take some in with spotcheck ingest.",),)
    if not window.runs:
        return ((f"No run ended in {window.label}.",),)
    moved = [_moved(change, streams, operations, primary, window) for change in _top(changes)]
    own = [one for one in tallies if one.scorer == primary and primary_series in (None, one.series)]
    is_cut = taken_over is not None and window.since < taken_over.since <= window.until
    gaps = _gaps(own, window, taken_over if is_cut else None, streams)
    if moved:
        others = rest(streams, changes, figures, len(moved))
    else:
        others = calm(window, streams, changes, primary, figures, sensitivity, nights)
    return (*moved[: _MOST - 1 - len(gaps[:1])], *gaps[:1], *others)[:_MOST]


def _top(changes: Sequence[Change]) -> list[Change]:
    """At most two findings for the sentences: one of quality and one of operations where both changed."""
    ranked = sorted(lead_changes(changes), key=lambda change: _rank(change, changes))
    quality = [change for change in ranked if change.drift.kind in QUALITY]
    others = [change for change in ranked if change.drift.kind not in QUALITY]
    if quality and others:
        return sorted((quality[0], others[0]), key=lambda change: not change.is_new)
    return ranked[:2]


def _rank(change: Change, changes: Sequence[Change]) -> tuple[bool, bool, bool, float]:
    """Sort key: open and new findings first, then those that are no echo of another, then higher z."""
    drift = change.drift
    is_echo = (
        drift.stream.task_type is None
        and any(  # the overall line, moved by a task type with a finding of its own
            other.drift.stream.task_type is not None and _is_of_one_series(other.drift, drift) for other in changes
        )
    )
    return drift.state not in ("open", "muted") and not change.is_new, not change.is_new, is_echo, -drift.z


def _is_of_one_series(one: Drift, other: Drift) -> bool:
    first, second = one.stream, other.stream
    return (first.scorer, first.scorer_version) == (second.scorer, second.scorer_version)


def headline(change: Change, primary: str | None) -> Sentence:
    """What moved, where, and from what to what: to the mean since the finding, or else to that of its window.

    Args:
        change: The finding.
        primary: The rubric that is called "quality".

    Returns:
        The pieces of a sentence, without its end.
    """
    drift, size = change.drift, change.size
    unit = unit_of(drift.stream.scorer)
    before, after = from_to(drift.before, drift.after if size is None or size.mean is None else size.mean, unit)
    verb = "fell" if drift.after < drift.before else "rose"
    of_runs = " of runs" if drift.stream.scorer in ("error_rate", "abort_rate", "completion_rate") else ""
    return (*_subject(drift, primary), f" {verb} from {before} to {after}{_between(size, unit)}{of_runs}")


def _between(estimate: Estimate | None, unit: Unit) -> str:
    return (
        ""
        if estimate is None or estimate.low is None or estimate.high is None
        else f" {interval_text(estimate.low, estimate.high, unit)}"
    )


def scored_behind(change: Change) -> int:
    """How many runs the new level in the headline is estimated from."""
    return change.drift.scored if change.size is None else change.size.n


def alarm_window(drift: Drift) -> str:
    """The window that raised the alarm: `on one night`, `over 3 nights`, `over 4 hours`."""
    if drift.window_hours is not None:
        return f"over {counted(drift.window_hours, 'hour')}"
    return "on one night" if drift.window_nights == 1 else f"over {counted(drift.window_nights, 'night')}"


def raised_by(change: Change) -> str:
    """The window and level that raised the alarm; empty where the headline shows just these.

    Example:
        "found on one night: 53 %, n 25".
    """
    drift = change.drift
    is_all = change.since is not None and not change.since.nights and drift.window_hours is None
    if change.size is None or is_all:
        return ""
    level = from_to(drift.before, drift.after, unit_of(drift.stream.scorer))[1]
    return f"found {alarm_window(drift)}: {level}, n {drift.scored:,}"


def persistence(change: Change, *, is_short: bool = False) -> str:
    """Whether the nights after the alarm show the change by themselves; empty where that is not clear.

    Args:
        change: The finding.
        is_short: Whether the interval is left out where the change has stayed, beside a headline that has one.

    Example:
        "it has stayed: 75 % [71–79 %] over the 26 nights since".
    """
    if change.since is None or change.has_stayed is None or change.since.later.mean is None:
        return ""
    unit, later = unit_of(change.drift.stream.scorer), change.since.later
    level = from_to(change.drift.before, change.since.later.mean, unit)[1]
    if not (is_short and change.has_stayed):
        level += _between(later, unit)
    if change.has_stayed:
        return f"it has stayed: {level} over the {counted(change.since.nights, 'night')} since"
    clearly = " clearly" if change.part_left(change.since.later.mean) >= RECOVERED_BELOW else ""
    return f"the {counted(change.since.nights, 'night')} since do not show it{clearly}: {level}"


def ended_note(change: Change) -> str:
    """That the series of a finding has ended, so that nobody takes later weeks for what became of it; else empty."""
    if change.ended is None:
        return ""
    return f"its series ended {day(change.ended)}, and what came after is not compared with it"


def announcements(report: Report) -> list[Sentence]:
    """What another rubric, judge or setting means for the figures: one sentence a change, the newest last.

    Of many only the newest few, after one that says how many were before. A new series that is not tested yet says from
    which night on it is.
    """
    more, shown = newest_changes(report.series_changes)
    said: list[Sentence] = (
        [(f"{counted(more, 'other change')} of what is measured with before these.",)] if more else []
    )
    for change in shown:
        note = learning_note(change, report.window.until) if report.window else ""
        said.append((*announcement(change), f"; {note}." if note else "."))
    return said


def also_seen_in(change: Change, changes: Sequence[Change]) -> Sentence:
    """The findings grouped under one, each with its place, levels and number; empty where there are none."""
    pieces: list[OutsideName | str] = []
    for part in parts_of(change, changes):
        drift = part.drift
        where: OutsideName | str = (
            "all task types" if drift.stream.task_type is None else OutsideName(drift.stream.task_type)
        )
        if drift.stream.task_type == change.drift.stream.task_type:
            where = OutsideName(drift.stream.criterion or drift.stream.scorer)
        size = part.size
        unit = unit_of(drift.stream.scorer)
        before, after = from_to(drift.before, drift.after if size is None or size.mean is None else size.mean, unit)
        state = "" if drift.state == "open" else f", {drift.state}"
        pieces += [
            ", " if pieces else "",
            where,
            f" ({before} to {after}{_between(size, unit)}; finding {drift.finding_id}{state})",
        ]
    return tuple(piece for piece in pieces if piece)


def since_day(drift: Drift, today: date) -> str:
    """The first night of a finding's window, with its year where it is long ago."""
    return day(drift.since, year=abs((today - drift.since).days) > _FAR_DAYS)


def _moved(
    change: Change,
    streams: Sequence[StreamChart],
    operations: Sequence[OperationalWeeks],
    primary: str | None,
    window: Window,
) -> Sentence:
    drift = change.drift
    rare, after = strength(drift.chance_per_year), persistence(change, is_short=True)
    if after:
        rare += f", {'and' if change.has_stayed else 'but'} {after}"
    parts = [f"n {scored_behind(change):,}", raised_by(change), rare, ended_note(change)]
    if drift.state in LIVING and change.ended is None:
        now = _now(change, streams) or _now_in_all_runs(change, operations)
        parts.append(
            f"{now}, {window.week_so_far}" if window.week_so_far and now.startswith(window.weeks[-1][5:]) else now
        )
    why = "; ".join(part for part in parts if part)
    settled = {"recovered": " and has recovered", "accepted": ", accepted as the new level"}.get(drift.state, "")
    return (*headline(change, primary), f" since {since_day(drift, window.until)}{settled} ({why}).")


def _subject(drift: Drift, primary: str | None) -> Sentence:
    """What moved and where, as the beginning of a sentence."""
    where = (
        OutsideName(drift.stream.task_type) if drift.stream.task_type is not None else "all task types at the same mix"
    )
    scorer = drift.stream.scorer
    kind, _, tool = scorer.partition(":")
    if kind == "tool_failure":
        return "Failures of tool ", OutsideName(tool), " in ", where
    named: tuple[OutsideName | str, ...] | None = {
        "error_rate": ("Errors of ",),
        "abort_rate": ("Aborts of ",),
        "completion_rate": ("Completion of ",),
        "cost_per_run": ("Cost per run of ",),
        "steps_per_run": ("Steps per run of ",),
    }.get(scorer)
    if named is None:
        named = ("Quality of ",) if scorer == primary else (OutsideName(stream_title(scorer)), " of ")
    return (*(("The judge's view: ",) if drift.kind == "judge" else ()), *named, where)


def _now(change: Change, streams: Sequence[StreamChart]) -> str:
    """The level of the newest week; empty where the sentence's new level agrees with it."""
    stream_chart = next((stream for stream in streams if stream.has_moved(change.drift)), None)
    newest = None if stream_chart is None else stream_chart.newest
    if newest is None or newest.mean is None or newest.low is None or newest.high is None:
        return ""
    if not _is_news(change, newest.low, newest.high):
        return ""
    low, high = percent(newest.low, digits=0).removesuffix(" %"), percent(newest.high, digits=0)
    return f"{newest.week[5:]}: {percent(newest.mean, digits=0)} [{low}–{high}], n {newest.scored:,}"


def _now_in_all_runs(change: Change, operations: Sequence[OperationalWeeks]) -> str:
    """As `_now`, for cost, errors, steps and tools."""
    key = change.drift.stream
    weeks_of_task = next(
        (task_operations for task_operations in operations if task_operations.task_type == key.task_type), None
    )
    if weeks_of_task is None:
        return ""
    kind, _, tool = key.scorer.partition(":")
    weeks = {
        "error_rate": weeks_of_task.errors,
        "abort_rate": weeks_of_task.aborts,
        "cost_per_run": weeks_of_task.cost,
        "steps_per_run": weeks_of_task.steps,
    }
    figures = dict(weeks_of_task.tools).get(tool, ()) if tool else weeks.get(kind, ())
    newest = next((figure for figure in reversed(figures) if figure.value is not None), None)
    if newest is None or newest.value is None or not _is_news(change, newest.low, newest.high):
        return ""
    return f"{newest.week[5:]}: {amount(newest.value, unit_of(key.scorer))}, n {newest.n:,}"


def _is_news(change: Change, low: float | None, high: float | None) -> bool:
    """Whether the newest week differs from the level since the finding, or there is no such level."""
    mean = None if change.size is None else change.size.mean
    if mean is None:
        return True
    return low is not None and high is not None and not low <= mean <= high


def _gaps(
    primary_counts: Sequence[ScorerCounts],
    window: Window,
    taken_over: SeriesChange | None,
    streams: Sequence[StreamChart],
) -> list[Sentence]:
    """A sentence about low coverage of the primary rubric, with the most frequent reason; empty from 80 % on.

    Args:
        primary_counts: Those of the series that the figures are of.
        window: The nights of the report.
        taken_over: That this series took over within these nights; None where it did not.
        streams: Every stream of scores.
    """
    scored = sum(tally.scored for tally in primary_counts)
    drawn = scored + sum(tally.unscored + tally.failed + tally.shed + tally.pending for tally in primary_counts)
    if not drawn or scored >= LOW_COVERAGE * drawn:
        return []
    reasons: dict[str, int] = {}
    for tally in primary_counts:
        for state, reason, count in tally.reasons:
            reasons[reason or state] = reasons.get(reason or state, 0) + count
        reasons["still waiting"] = reasons.get("still waiting", 0) + tally.pending
    most_frequent = max(reasons, key=lambda reason: reasons[reason], default="")
    count = reasons.get(most_frequent, 0)
    why = (", most often: ", OutsideName(most_frequent.replace("_", " ")), f" ({count:,})") if count else ()
    if scored:
        text = f"Only {percent(scored / drawn, digits=0)} of {drawn:,} sampled runs have a score of quality"
        by = () if taken_over is None else (" by ", OutsideName(taken_over.after.series))
        return [(text, *by, *why, ".")]
    text, none_of = f"Nothing is known of the quality in {window.title}", f"none of {drawn:,} sampled runs has a score"
    if taken_over is None:
        return [(f"{text}: {none_of}", *why, ".")]
    kind = ("series ", " again") if taken_over.is_back else ("new series ", "")
    since = (f"{text} since {day(taken_over.since)} (", kind[0], OutsideName(taken_over.after.series), f"{kind[1]}): ")
    return [(*since, none_of, *why, *_before(taken_over, window, streams), ".")]


def _before(taken_over: SeriesChange, window: Window, streams: Sequence[StreamChart]) -> Sentence:
    """What the series before measured of the week of the report; empty where the report is of other nights."""
    own = [stream for stream in streams if stream.scorer == taken_over.scorer]
    whole = next((stream for stream in own if stream.task_type is None), own[0] if len(own) == 1 else None)
    if whole is None or window.since.weekday() != 0 or (window.until - window.since).days != 6:
        return ()
    for point in whole.points:
        if (point.week, point.series) == (window.weeks[-1], taken_over.before.series) and point.mean is not None:
            level = f"{percent(point.mean, digits=0)}, n {point.scored:,}"
            return (f"; before it {level}, by ", OutsideName(point.series))
    return ()
