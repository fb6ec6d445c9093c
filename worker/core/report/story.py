"""What a team lead can repeat in a meeting: one to three sentences, each with its n and how rarely chance shows it."""

from collections.abc import Sequence
from datetime import date

from worker.core.drift.alerting import rarity, stream_title
from worker.core.report.causes import lead_changes, parts_of
from worker.core.report.formatting import Unit, amount, counted, day, from_to, interval_text, percent
from worker.core.report.model import (
    LEARN_NIGHTS,
    LOW_COVERAGE,
    Change,
    OperationalWeeks,
    OutsideName,
    ScorerCounts,
    Sensitivity,
    Sentence,
    StreamChart,
    Window,
)
from worker.records import Drift, Estimate

_MOST = 3
_QUALITY = ("agent", "judge", "mix")
_LIVING = ("open", "acknowledged", "muted")
_FAR_DAYS = 300
"""From so far away a day is told with its year."""


def unit_of(scorer: str) -> Unit:
    """The unit of a stream's level."""
    return {"cost_per_run": "usd", "steps_per_run": "count"}.get(scorer, "share")  # type: ignore[return-value]


def sentences(
    window: Window | None,
    streams: Sequence[StreamChart],
    changes: Sequence[Change],
    tallies: Sequence[ScorerCounts],
    operations: Sequence[OperationalWeeks] = (),
    *,
    primary: str | None,
    figures: int,
    sensitivity: Sequence[Sensitivity],
    nights: int,
) -> tuple[Sentence, ...]:
    """The report in one to three sentences, the most important first.

    Args:
        window: What the report is about; None for a store without runs.
        streams: Every stream of scores.
        changes: The findings.
        tallies: The counts of the window.
        operations: Cost, errors and tools by week.
        primary: The rubric that decides what is good; None where there is none.
        figures: Operational streams that are tested: cost, errors, steps, tools.
        sensitivity: The smallest drops that would have been found.
        nights: Over how many nights those would have had to last.
    """
    if window is None:
        return (("No runs yet: take some in with spotcheck ingest.",),)
    if not window.runs:
        return ((f"No run ended in {window.label}.",),)
    told = [_moved(change, streams, operations, primary, window) for change in _top(changes)]
    gaps = _gaps(tallies, primary, window)
    if told:
        rest = _rest(streams, changes, figures, len(told))
    else:
        rest = _calm(window, streams, changes, primary, figures, sensitivity, nights)
    return (*told[: _MOST - 1 - len(gaps[:1])], *gaps[:1], *rest)[:_MOST]


def _top(changes: Sequence[Change]) -> list[Change]:
    """At most two to tell: of quality and of operations one each, where both changed."""
    ranked = sorted(lead_changes(changes), key=lambda change: _rank(change, changes))
    quality = [change for change in ranked if change.drift.kind in _QUALITY]
    others = [change for change in ranked if change.drift.kind not in _QUALITY]
    if quality and others:
        return sorted((quality[0], others[0]), key=lambda change: not change.is_new)
    return ranked[:2]


def _rank(change: Change, changes: Sequence[Change]) -> tuple[bool, bool, bool, float]:
    """What a review is for comes first: what is open, what is new."""
    one = change.drift
    is_echo = one.stream.task_type is None and any(  # the overall line, moved by a task type that is told by name
        other.drift.stream.task_type is not None and other.drift.stream.scorer == one.stream.scorer for other in changes
    )
    return one.state not in ("open", "muted") and not change.is_new, not change.is_new, is_echo, -one.z


def headline(change: Change, primary: str | None) -> Sentence:
    """What moved, where, from what to what: to the mean of all nights since, where there are more than the found ones.

    Args:
        change: The finding.
        primary: The rubric that is called quality.

    Returns:
        Pieces of a sentence without its end.
    """
    one, size = change.drift, change.size
    unit = unit_of(one.stream.scorer)
    before, after = from_to(one.before, one.after if size is None or size.mean is None else size.mean, unit)
    verb = "fell" if one.after < one.before else "rose"
    of_runs = " of runs" if one.stream.scorer in ("error_rate", "abort_rate", "completion_rate") else ""
    return (*_subject(one, primary), f" {verb} from {before} to {after}{_between(size, unit)}{of_runs}")


def _between(one: Estimate | None, unit: Unit) -> str:
    return "" if one is None or one.low is None or one.high is None else f" {interval_text(one.low, one.high, unit)}"


def scored_behind(change: Change) -> int:
    """How many runs the size in the headline is made of."""
    return change.drift.scored if change.size is None else change.size.n


def alarm_window(one: Drift) -> str:
    """The window that raised the alarm: `on one night`, `over 3 nights`, `over 4 hours`."""
    if one.window_hours is not None:
        return f"over {counted(one.window_hours, 'hour')}"
    return "on one night" if one.window_nights == 1 else f"over {counted(one.window_nights, 'night')}"


def raised_by(change: Change) -> str:
    """What the alarm was raised by, in small print; empty where the headline tells just that.

    Example:
        "found on one night: 53 %, n 25".
    """
    one = change.drift
    is_all = change.since is not None and not change.since.nights and one.window_hours is None
    if change.size is None or is_all:
        return ""
    level = from_to(one.before, one.after, unit_of(one.stream.scorer))[1]
    return f"found {alarm_window(one)}: {level}, n {one.scored:,}"


def persistence(change: Change, *, is_short: bool = False) -> str:
    """Whether the nights after the alarm show the change by themselves; empty where they are too few to say.

    Args:
        change: The finding.
        is_short: Without the interval where it has stayed: beside a headline that has one.

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
    return f"the {counted(change.since.nights, 'night')} since do not show it: {level}"


def also_seen_in(change: Change, changes: Sequence[Change]) -> Sentence:
    """Where else one cause was seen, each with its number and size; empty where nowhere."""
    found: list[OutsideName | str] = []
    for part in parts_of(change, changes):
        one = part.drift
        where: OutsideName | str = (
            "all task types" if one.stream.task_type is None else OutsideName(one.stream.task_type)
        )
        if one.stream.task_type == change.drift.stream.task_type:
            where = OutsideName(one.stream.criterion or one.stream.scorer)
        size = part.size
        unit = unit_of(one.stream.scorer)
        before, after = from_to(one.before, one.after if size is None or size.mean is None else size.mean, unit)
        state = "" if one.state == "open" else f", {one.state}"
        found += [
            ", " if found else "",
            where,
            f" ({before} to {after}{_between(size, unit)}; finding {one.finding_id}{state})",
        ]
    return tuple(piece for piece in found if piece)


def since_day(one: Drift, today: date) -> str:
    """The first night of a finding's window, with its year where that is long ago."""
    return day(one.since, year=abs((today - one.since).days) > _FAR_DAYS)


def _moved(
    change: Change,
    streams: Sequence[StreamChart],
    operations: Sequence[OperationalWeeks],
    primary: str | None,
    window: Window,
) -> Sentence:
    one = change.drift
    rare, after = f"chance alone: {rarity(one.chance_per_year)}", persistence(change, is_short=True)
    if after:
        rare += f", {'and' if change.has_stayed else 'but'} {after}"
    said = [f"n {scored_behind(change):,}", raised_by(change), rare]
    if one.state in _LIVING:
        now = _now(change, streams) or _now_in_all_runs(change, operations)
        said.append(
            f"{now}, {window.week_so_far}" if window.week_so_far and now.startswith(window.weeks[-1][5:]) else now
        )
    why = "; ".join(part for part in said if part)
    settled = {"recovered": " and has recovered", "accepted": ", accepted as the new level"}.get(one.state, "")
    return (*headline(change, primary), f" since {since_day(one, window.until)}{settled} ({why}).")


def _subject(one: Drift, primary: str | None) -> Sentence:
    """What moved, and where."""
    where = OutsideName(one.stream.task_type) if one.stream.task_type is not None else "all task types at the same mix"
    scorer = one.stream.scorer
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
    return (*(("The judge's view: ",) if one.kind == "judge" else ()), *named, where)


def _now(change: Change, streams: Sequence[StreamChart]) -> str:
    """The level of the newest week, where the sentence does not say as much already."""
    key = change.drift.stream
    own = next((s for s in streams if (s.task_type, s.scorer) == (key.task_type, key.scorer)), None)
    newest = None if own is None else own.newest
    if newest is None or newest.mean is None or newest.low is None or newest.high is None:
        return ""
    if not _is_news(change, newest.low, newest.high):
        return ""
    low, high = percent(newest.low, digits=0).removesuffix(" %"), percent(newest.high, digits=0)
    return f"{newest.week[5:]}: {percent(newest.mean, digits=0)} [{low}–{high}], n {newest.scored:,}"


def _now_in_all_runs(change: Change, operations: Sequence[OperationalWeeks]) -> str:
    """The same for cost, errors, steps and tools."""
    key = change.drift.stream
    own = next((each for each in operations if each.task_type == key.task_type), None)
    if own is None:
        return ""
    kind, _, tool = key.scorer.partition(":")
    weeks = {"error_rate": own.errors, "abort_rate": own.aborts, "cost_per_run": own.cost, "steps_per_run": own.steps}
    figures = dict(own.tools).get(tool, ()) if tool else weeks.get(kind, ())
    newest = next((figure for figure in reversed(figures) if figure.value is not None), None)
    if newest is None or newest.value is None or not _is_news(change, newest.low, newest.high):
        return ""
    return f"{newest.week[5:]}: {amount(newest.value, unit_of(key.scorer))}, n {newest.n:,}"


def _is_news(change: Change, low: float | None, high: float | None) -> bool:
    """Whether the newest week differs from all nights since, or those are not told."""
    mean = None if change.size is None else change.size.mean
    if mean is None:
        return True
    return low is not None and high is not None and not low <= mean <= high


def _gaps(tallies: Sequence[ScorerCounts], primary: str | None, window: Window) -> list[Sentence]:
    """What was not seen, where that is too much to keep quiet about."""
    own = [tally for tally in tallies if tally.scorer == primary] if primary else []
    scored = sum(tally.scored for tally in own)
    drawn = scored + sum(tally.unscored + tally.failed + tally.shed + tally.pending for tally in own)
    if not drawn or scored >= LOW_COVERAGE * drawn:
        return []
    reasons: dict[str, int] = {}
    for tally in own:
        for state, reason, count in tally.reasons:
            reasons[reason or state] = reasons.get(reason or state, 0) + count
        reasons["still waiting"] = reasons.get("still waiting", 0) + tally.pending
    most = max(reasons, key=lambda reason: reasons[reason], default="")
    count = reasons.get(most, 0)
    why = (", most often: ", OutsideName(most.replace("_", " ")), f" ({count:,})") if count else ()
    if not scored:
        said = f"Nothing is known of the quality in {window.title}: none of {drawn:,} sampled runs has a score"
    else:
        said = f"Only {percent(scored / drawn, digits=0)} of {drawn:,} sampled runs have a score of quality"
    return [(said, *why, ".")]


def _tested(streams: Sequence[StreamChart], changes: Sequence[Change]) -> tuple[int, int]:
    """Streams that were tested and show no change; and those too young to be tested."""
    moved = {
        (change.drift.stream.task_type, change.drift.stream.scorer)
        for change in changes
        if change.drift.state in _LIVING
    }
    still = [one for one in streams if (one.task_type, one.scorer) not in moved and one.state == "tested"]
    return len(still), sum(one.state == "young" for one in streams)


def _count(tested: int, figures: int) -> str:
    said = [counted(tested, "stream") + " of scores" if tested else ""]
    said.append(f"{figures:,} of cost, errors, steps and tools" if figures else "")
    return " and ".join(part for part in said if part)


def _rest(streams: Sequence[StreamChart], changes: Sequence[Change], figures: int, told: int) -> list[Sentence]:
    tested, young = _tested(streams, changes)
    operational = sum(change.drift.kind not in _QUALITY and change.drift.state in _LIVING for change in changes)
    count = _count(tested, max(0, figures - operational))
    more = len(lead_changes(changes)) - told
    if not count:
        return [(f"{counted(more, 'more finding')} below.",)] if more else []
    start = f"{counted(more, 'more finding')} below; everything" if more else "Everything"
    late = f" {counted(young, 'stream')} {'is' if young == 1 else 'are'} too young to test." if young else ""
    return [(f"{start} else is as it was: {count}, no change beyond chance.{late}",)]


def _calm(
    window: Window,
    streams: Sequence[StreamChart],
    changes: Sequence[Change],
    primary: str | None,
    figures: int,
    sensitivity: Sequence[Sensitivity],
    nights: int,
) -> list[Sentence]:
    """Nothing happened; and what would have been seen if it had."""
    tested, young = _tested(streams, changes)
    level = _level(streams, primary)
    count = _count(tested, figures)
    if not count:
        known = max((one.nights for one in streams), default=0)
        why = f"{known} of {LEARN_NIGHTS} nights are learned" if known else "nothing has a score yet"
        said = f"Too early to tell a change in {window.title}: {why}."
        return [(said,), *([(level,)] if level else [])]
    said = f"Nothing changed beyond chance in {window.title}: {count}."
    if young:
        said += f" {counted(young, 'more stream')} {'is' if young == 1 else 'are'} too young to test."
    return [(said,), *([(level,)] if level else []), *_would_have(sensitivity, nights)]


def _level(streams: Sequence[StreamChart], primary: str | None) -> str:
    own = [one for one in streams if one.scorer == primary]
    best = next((one for one in own if one.task_type is None), own[0] if len(own) == 1 else None)
    newest = None if best is None else best.newest
    if newest is None or newest.mean is None or newest.low is None or newest.high is None:
        return ""
    low, high = percent(newest.low, digits=0).removesuffix(" %"), percent(newest.high, digits=0)
    return (
        f"Quality was {percent(newest.mean, digits=0)} in {newest.week} "
        f"(95 % interval {low}–{high}, n {newest.scored:,} of {newest.population:,} runs)."
    )


def _would_have(sensitivity: Sequence[Sensitivity], nights: int) -> list[Sentence]:
    overall = next((one.drop for one in sensitivity if one.task_type is None), None)
    single = sorted(one.drop for one in sensitivity if one.task_type is not None and one.drop is not None)
    if overall is None and not single:
        return (
            [(f"It is early: no drop over the last {nights} nights would have been found yet.",)] if sensitivity else []
        )

    def points(drop: float) -> str:
        return counted(round(100 * drop), "point")

    if not single:
        return [(f"A drop of {points(overall or 0.0)} over the last {nights} nights would have been found.",)]
    span = points(single[0])
    if round(100 * single[-1]) > round(100 * single[0]):
        span = f"{100 * single[0]:.0f} to {points(single[-1])}"
    if overall is None:
        return [(f"A drop of {span} over the last {nights} nights would have been found, by task type.",)]
    whole = f"A drop of {points(overall)} over the last {nights} nights would have been found overall"
    return [(f"{whole}, and one of {span} in a single task type.",)]
