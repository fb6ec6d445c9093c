"""The sentences of the report about what has not changed: what was tested, and which drop would have been found."""

from collections.abc import Sequence

from worker.core import calendar
from worker.core.drift.learning import furthest
from worker.core.report.causes import lead_changes
from worker.core.report.formatting import counted, day, percent
from worker.core.report.model import Change, Sensitivity, Sentence, StreamChart, Window

QUALITY = ("agent", "judge", "mix")
LIVING = ("open", "acknowledged", "muted")


def _tested(streams: Sequence[StreamChart], changes: Sequence[Change]) -> tuple[int, int]:
    """How many streams were tested and show no change, and how many are too young to be tested."""
    living = [change.drift for change in changes if change.drift.state in LIVING]
    still = [
        stream for stream in streams if stream.state == "tested" and not any(stream.has_moved(one) for one in living)
    ]
    return len(still), sum(stream.state == "young" for stream in streams)


def _count(tested: int, figures: int) -> str:
    parts = [counted(tested, "stream") + " of scores" if tested else ""]
    parts.append(f"{figures:,} of cost, errors, steps and tools" if figures else "")
    return " and ".join(part for part in parts if part)


def rest(streams: Sequence[StreamChart], changes: Sequence[Change], figures: int, shown_count: int) -> list[Sentence]:
    """The sentence after those about findings: what else there is, and what is as it was; empty where nothing is."""
    tested, young = _tested(streams, changes)
    operational = sum(change.drift.kind not in QUALITY and change.drift.state in LIVING for change in changes)
    count = _count(tested, max(0, figures - operational))
    more = len(lead_changes(changes)) - shown_count
    if not count:
        return [(f"{counted(more, 'more finding')} below.",)] if more else []
    start = f"{counted(more, 'more finding')} below; everything" if more else "Everything"
    late = f" {counted(young, 'stream')} {'is' if young == 1 else 'are'} too young to test." if young else ""
    return [(f"{start} else is as it was: {count}, no change beyond chance.{late}",)]


def calm(
    window: Window,
    streams: Sequence[StreamChart],
    changes: Sequence[Change],
    primary: str | None,
    figures: int,
    sensitivity: Sequence[Sensitivity],
    nights: int,
) -> list[Sentence]:
    """The sentences for a window without a finding: what was tested, and which drop would have been found."""
    tested, young = _tested(streams, changes)
    level = _level(streams, primary)
    count = _count(tested, figures)
    if not count:
        has_past = any(point.scored for stream in streams for point in stream.points)
        none_yet = "no newest series has a score yet" if has_past else "nothing has a score yet"
        learning = [stream.learned for stream in streams if stream.nights and not stream.learned.is_tested]
        why = furthest(learning).said if learning else none_yet
        text = f"Too early to test for a change in {window.title}: {why}."
        return [(text,), *([(level,)] if level else [])]
    text = f"Nothing changed beyond chance in {window.title}: {count}."
    if young:
        text += f" {counted(young, 'more stream')} {'is' if young == 1 else 'are'} too young to test."
    return [(text,), *([(level,)] if level else []), *_would_have(sensitivity, nights)]


def _level(streams: Sequence[StreamChart], primary: str | None) -> str:
    primary_streams = [stream for stream in streams if stream.scorer == primary]
    best = next(
        (stream for stream in primary_streams if stream.task_type is None),
        primary_streams[0] if len(primary_streams) == 1 else None,
    )
    newest = None if best is None else best.newest
    if best is None or newest is None or newest.mean is None or newest.low is None or newest.high is None:
        return ""
    low, high = percent(newest.low, digits=0).removesuffix(" %"), percent(newest.high, digits=0)
    return (
        f"Quality was {percent(newest.mean, digits=0)} in {newest.week}{_part_of(best, newest.week)} "
        f"(95 % interval {low}–{high}, n {newest.scored:,} of {newest.population:,} runs)."
    )


def _part_of(stream: StreamChart, week: str) -> str:
    """Of a week of which another series scored nights that the stream's own did not, which nights the figure is of.

    Empty where the figure is of the whole week, perhaps thanks to a backfill.
    """
    own = [night for night in stream.own_nights if calendar.week_of(night) == week]
    others = [night for night in stream.other_nights if calendar.week_of(night) == week]
    if not own or not others:
        return ""
    if max(others) < own[0]:
        return f" since {day(own[0])}"
    if max(own) < min(others):
        return f" until {day(own[-1])}"
    return f" on {len(own)} of {counted(len(own) + len(others), 'night')}"


def _would_have(sensitivity: Sequence[Sensitivity], nights: int) -> list[Sentence]:
    overall = next((entry.drop for entry in sensitivity if entry.task_type is None), None)
    single = sorted(entry.drop for entry in sensitivity if entry.task_type is not None and entry.drop is not None)
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
