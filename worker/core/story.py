"""What a team lead can repeat in a meeting: one to three sentences, each with its n and how rarely chance shows it."""

from collections.abc import Sequence
from datetime import date

from worker.core.alerting import figure, rarity
from worker.core.report import (
    LEARN_NIGHTS,
    LOW_COVERAGE,
    Change,
    Name,
    Sensitivity,
    Sentence,
    Stream,
    Tally,
    Upkeep,
    Window,
)
from worker.core.words import Unit, amount, counted, day, from_to, percent
from worker.records import Drift

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
    streams: Sequence[Stream],
    changes: Sequence[Change],
    tallies: Sequence[Tally],
    upkeep: Sequence[Upkeep] = (),
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
        upkeep: Cost, errors and tools by week.
        primary: The rubric that decides what is good; None where there is none.
        figures: Operational streams that are tested: cost, errors, steps, tools.
        sensitivity: The smallest drops that would have been found.
        nights: Over how many nights those would have had to last.
    """
    if window is None:
        return (("No runs yet: take some in with spotcheck ingest.",),)
    if not window.runs:
        return ((f"No run ended in {window.label}.",),)
    told = [_moved(change.drift, streams, upkeep, primary, window.until) for change in _top(changes)]
    gaps = _gaps(tallies, primary, window)
    if told:
        rest = _rest(streams, changes, figures, len(told))
    else:
        rest = _calm(window, streams, changes, primary, figures, sensitivity, nights)
    return (*told[: _MOST - 1 - len(gaps[:1])], *gaps[:1], *rest)[:_MOST]


def _top(changes: Sequence[Change]) -> list[Change]:
    """At most two to tell: of quality and of operations one each, where both changed."""
    ranked = sorted((change for change in changes), key=lambda change: _rank(change, changes))
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


def headline(one: Drift, primary: str | None) -> Sentence:
    """What moved, where, from what to what.

    Args:
        one: The finding.
        primary: The rubric that is called quality.

    Returns:
        Pieces of a sentence without its end.
    """
    before, after = from_to(one.before, one.after, unit_of(one.stream.scorer))
    verb = "fell" if one.after < one.before else "rose"
    of_runs = " of runs" if one.stream.scorer in ("error_rate", "abort_rate", "completion_rate") else ""
    return (*_subject(one, primary), f" {verb} from {before} to {after}{of_runs}")


def since(one: Drift, today: date) -> str:
    """The first night of a finding's window, with its year where that is long ago."""
    return day(one.since, year=abs((today - one.since).days) > _FAR_DAYS)


def _moved(
    one: Drift, streams: Sequence[Stream], upkeep: Sequence[Upkeep], primary: str | None, today: date
) -> Sentence:
    chance = f"n {one.scored:,}; chance alone: {rarity(one.chance_per_year)}"
    if one.state == "recovered":
        end = f" and has recovered ({chance})."
    elif one.state == "accepted":
        end = f", accepted as the new level ({chance})."
    else:
        end = f" ({chance}{_now(one, streams) or _now_in_all_runs(one, upkeep)})."
    return (*headline(one, primary), f" since {since(one, today)}{end}")


def _subject(one: Drift, primary: str | None) -> Sentence:
    """What moved, and where."""
    where = Name(one.stream.task_type) if one.stream.task_type is not None else "all task types at the same mix"
    scorer = one.stream.scorer
    kind, _, tool = scorer.partition(":")
    if kind == "tool_failure":
        return "Failures of tool ", Name(tool), " in ", where
    named: tuple[Name | str, ...] | None = {
        "error_rate": ("Errors of ",),
        "abort_rate": ("Aborts of ",),
        "completion_rate": ("Completion of ",),
        "cost_per_run": ("Cost per run of ",),
        "steps_per_run": ("Steps per run of ",),
    }.get(scorer)
    if named is None:
        named = ("Quality of ",) if scorer == primary else (Name(figure(scorer)), " of ")
    return (*(("The judge's view: ",) if one.kind == "judge" else ()), *named, where)


def _now(one: Drift, streams: Sequence[Stream]) -> str:
    """The level of the newest week, where it is not the finding's own."""
    own = next((s for s in streams if (s.task_type, s.scorer) == (one.stream.task_type, one.stream.scorer)), None)
    newest = None if own is None else own.newest
    if newest is None or newest.mean is None or newest.low is None or newest.high is None:
        return ""
    low, high = percent(newest.low, digits=0).removesuffix(" %"), percent(newest.high, digits=0)
    return f"; {newest.week[5:]}: {percent(newest.mean, digits=0)} [{low}–{high}], n {newest.scored:,}"


def _now_in_all_runs(one: Drift, upkeep: Sequence[Upkeep]) -> str:
    """The same for cost, errors, steps and tools."""
    own = next((each for each in upkeep if each.task_type == one.stream.task_type), None)
    if own is None:
        return ""
    kind, _, tool = one.stream.scorer.partition(":")
    weeks = {"error_rate": own.errors, "abort_rate": own.aborts, "cost_per_run": own.cost, "steps_per_run": own.steps}
    figures = dict(own.tools).get(tool, ()) if tool else weeks.get(kind, ())
    newest = next((figure for figure in reversed(figures) if figure.value is not None), None)
    if newest is None or newest.value is None:
        return ""
    return f"; {newest.week[5:]}: {amount(newest.value, unit_of(one.stream.scorer))}, n {newest.n:,}"


def _gaps(tallies: Sequence[Tally], primary: str | None, window: Window) -> list[Sentence]:
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
    why = (", most often: ", Name(most.replace("_", " ")), f" ({count:,})") if count else ()
    if not scored:
        said = f"Nothing is known of the quality in {window.label}: none of {drawn:,} sampled runs has a score"
    else:
        said = f"Only {percent(scored / drawn, digits=0)} of {drawn:,} sampled runs have a score of quality"
    return [(said, *why, ".")]


def _tested(streams: Sequence[Stream], changes: Sequence[Change]) -> tuple[int, int]:
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


def _rest(streams: Sequence[Stream], changes: Sequence[Change], figures: int, told: int) -> list[Sentence]:
    tested, young = _tested(streams, changes)
    operational = sum(change.drift.kind not in _QUALITY and change.drift.state in _LIVING for change in changes)
    count = _count(tested, max(0, figures - operational))
    more = len(changes) - told
    if not count:
        return [(f"{counted(more, 'more finding')} below.",)] if more else []
    start = f"{counted(more, 'more finding')} below; everything" if more else "Everything"
    late = f" {counted(young, 'stream')} {'is' if young == 1 else 'are'} too young to test." if young else ""
    return [(f"{start} else is as it was: {count}, no change beyond chance.{late}",)]


def _calm(
    window: Window,
    streams: Sequence[Stream],
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
        said = f"Too early to tell a change in {window.label}: {why}."
        return [(said,), *([(level,)] if level else [])]
    said = f"Nothing changed beyond chance in {window.label}: {count}."
    if young:
        said += f" {counted(young, 'more stream')} {'is' if young == 1 else 'are'} too young to test."
    return [(said,), *([(level,)] if level else []), *_would_have(sensitivity, nights)]


def _level(streams: Sequence[Stream], primary: str | None) -> str:
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
