"""Trends as a table that fits its terminal: the newest weeks that there is room for, with interval and n."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from worker.cli.output import counted, inline
from worker.core.report.series import SeriesChange, announcement, newest_changes
from worker.queries.trends import PartialWeek

_BARS = "▁▂▃▄▅▆▇█"
_LOW_COVERAGE = 0.8
_LEAST_TRAFFIC = 0.02
"""Points between a week's own mix and the reference's below which there is nothing to explain."""
_WEEK = 6
_LEAST_WEEKS = 6
_NAME = (14, 30)
_PIPE = 1_000


class _TableLine(NamedTuple):
    """One line of a table: its name, its points by week, and what stands behind them."""

    name: str
    points: Mapping[str, Mapping[str, Any]]
    tail: str
    newest: Mapping[str, Any]


class TableNotes(NamedTuple):
    """What a table says beside its numbers."""

    zone: str
    """The time zone of the weeks."""
    findings_open: int
    """How many findings nobody has decided about."""
    so_far: PartialWeek | None
    """None where the newest week is whole."""
    why: Mapping[tuple[str, str], str]
    """Of a scorer's name and version, why it has no scores."""
    changes: Sequence[SeriesChange] = ()
    """Where another series of a scorer took over in these weeks."""
    waits: str = ""
    """That scores are not summarised yet; empty where all are."""
    unit: Literal["week", "night"] = "week"
    """What a column is."""


def lines(points: Sequence[dict[str, Any]], by: str, width: int | None, beside: TableNotes) -> Iterator[str]:
    """The table, line by line; the first says how far it goes and whether a finding is open.

    Args:
        points: As `trends --json` gives them, in the order of their scorers.
        by: The dimension that names the lines.
        width: Columns; None for any.
        beside: What else there is to say.
    """
    blocks: dict[tuple[str, str, str], list[_TableLine]] = {}
    unscored: dict[tuple[str, str, str], int] = {}
    by_scorer: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        by_scorer[point["scorer"], point["criterion"] or "", point["scorer_version"]].append(point)
    for scorer, of_scorer in by_scorer.items():
        found = list(_scored(of_scorer, by))
        if found:
            blocks[scorer] = found
        else:
            whole = [point for point in of_scorer if point["task_type"] is None and point.get("segment") is None]
            unscored[scorer] = sum(point["unscored"] for point in whole or of_scorer)
    weeks = sorted({point["week"] for point in points})
    shown, name_width = _room([line for block in blocks.values() for line in block], weeks, width or _PIPE)
    is_open = beside.findings_open
    state = f"{counted(is_open, 'finding')} open: spotcheck drift" if is_open else "no finding is open"
    unit = beside.unit
    what = "weekly means" if unit == "week" else "means by night"
    yield f"{what} to {weeks[-1]} ({'ISO weeks, ' if unit == 'week' else ''}{beside.zone}); {state}"
    if beside.so_far is not None:
        yield beside.so_far.text
    if beside.waits:
        yield from textwrap.wrap(beside.waits, width or _PIPE, subsequent_indent="  ")
    yield f"at the end of a line: 95 % interval and n of its newest {unit}; ! coverage < 80 %"
    if len(shown) < len(weeks):
        yield f"the newest {len(shown)} of {len(weeks)} {unit}s fit in {width} columns; --format csv has all"
    has_bars = _fits_bars(blocks, len(shown), name_width, width or _PIPE)
    for scorer, block in blocks.items():
        yield ""
        heads = "".join(f"{week[5:]:>{_WEEK - 1}} " for week in shown)
        title = " ".join(part for part in scorer if part)
        if len(title) > name_width + 2:
            yield title
            title = ""
        yield f"{title:<{name_width + 2}}{heads}".rstrip()
        for line in block:
            yield from _told(line, shown, name_width, has_bars=has_bars)
    yield from _new_series(beside.changes, width or _PIPE)
    yield from _by_backfill(points)
    if unscored:
        yield ""
    for scorer, count in unscored.items():
        reason = beside.why.get((scorer[0], scorer[2])) or f"{count:,} unscored"
        yield f"{' '.join(part for part in scorer if part)}: nothing scored; {reason}"


def _scored(points: Sequence[dict[str, Any]], by: str) -> Iterator[_TableLine]:
    """The lines of a scorer that have a score in any week."""
    own: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for point in points:
        own[_name(point, by)][point["week"]] = point
    for name, known in own.items():
        newest = next((known[week] for week in sorted(known, reverse=True) if known[week]["mean"] is not None), None)
        if newest is not None:
            interval = f"[{_short(newest['low'])}–{_short(newest['high'])}]"
            yield _TableLine(name, known, f"{interval} n {newest['scored']:,} of {newest['population']:,}", newest)


def _new_series(changes: Sequence[SeriesChange], width: int) -> Iterator[str]:
    """Where another series of a scorer took over in the weeks shown, and why."""
    if changes:
        yield ""
    more, shown = newest_changes(changes)
    if more:
        yield f"{counted(more, 'other change')} of what is measured with before these: --format json"
    for change in shown:
        yield from textwrap.wrap(inline("".join(announcement(change))), width, subsequent_indent="  ")


def _by_backfill(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each series of which a backfill brought nights into the weeks shown."""
    nights: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for point in points:
        if count := point.get("backfilled_nights"):
            nights[point["scorer"], point["scorer_version"]][point["week"]] = count
    if nights:
        yield ""
    for (scorer, series), by_week in nights.items():
        first, last = min(by_week), max(by_week)
        weeks = first[5:] if first == last else f"{first[5:]} to {last[5:]}"
        yield f"{inline(scorer)} {series}: {counted(sum(by_week.values()), 'night')} by backfill, {weeks}"


def _name(point: Mapping[str, Any], by: str) -> str:
    if by != "task_type":
        return inline(point["segment"] or "(none)")
    return inline(point["task_type"] or "overall, same mix")


def _short(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _room(found: Sequence[_TableLine], weeks: Sequence[str], width: int) -> tuple[Sequence[str], int]:
    """The newest weeks that fit, and the width of the names; names give way before weeks do."""
    longest = max((len(line.name) for line in found), default=0)
    tail = max((len(line.tail) for line in found), default=0)
    wanted = min(_LEAST_WEEKS, len(weeks))
    room = width - 3 - tail - wanted * _WEEK
    name_width = max(_NAME[0], min(_NAME[1], longest, room))
    fit = max(1, min(len(weeks), (width - 3 - tail - name_width) // _WEEK))
    return weeks[-fit:], name_width


def _fits_bars(blocks: Mapping[Any, Sequence[_TableLine]], weeks: int, name_width: int, width: int) -> bool:
    tail = max((len(line.tail) for block in blocks.values() for line in block), default=0)
    return 3 + name_width + weeks * (_WEEK + 1) + 1 + tail <= width


def _told(line: _TableLine, weeks: Sequence[str], name_width: int, *, has_bars: bool) -> Iterator[str]:
    cells, bars = "", ""
    for week in weeks:
        point = line.points.get(week)
        mean = None if point is None else point["mean"]
        is_low = point is not None and point["coverage"] is not None and point["coverage"] < _LOW_COVERAGE
        cells += "    · " if mean is None else f" {mean:4.2f}" + ("!" if is_low else " ")
        bars += " " if mean is None else _BARS[min(7, int(mean * 8))]
    name = line.name if len(line.name) <= name_width else line.name[: name_width - 1] + "…"
    yield f"  {name:<{name_width}}{cells} {bars + ' ' if has_bars else ''}{line.tail}"
    raw, mean = line.newest["raw_mean"], line.newest["mean"]
    half_width = (line.newest["high"] - line.newest["low"]) / 2
    if raw is not None and abs(raw - mean) >= max(_LEAST_TRAFFIC, half_width):  # else chance may have made it
        yield f"  {'':<{name_width}} this week's own mix: {raw:.2f}; the difference is traffic, not quality"
