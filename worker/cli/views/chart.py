"""A picture of trends: small multiples, one a line, with interval bands; saved as PNG."""

import math
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from worker.cli.output import inline, plain
from worker.core import calendar
from worker.core.report.series import SeriesChange, announcement
from worker.errors import SettingsError
from worker.queries.trends import PartialWeek
from worker.records import Drift

_MOST_PANELS = 24
_COLUMNS = 3
_INK, _BAND, _MUTED, _OVER = "#1f4e79", "#9dc3e6", "#8a8a8a", "#d0d0d0"
_RED = "#b3261e"
_LEAST_TOP = 0.7
"""The axis of scores begins here at the highest: a tenth of a point must not fill a picture."""
_FIELDS = ("low", "mean", "high")
_MOST_ANNOUNCED = 4
_LINE_CHARS = 70
"""Characters of small print that one column of panels has room for."""


def draw(
    points: Sequence[dict[str, Any]],
    path: Path,
    so_far: PartialWeek | None = None,
    changes: Sequence[SeriesChange] = (),
    *,
    first: Sequence[str] = (),
    findings: Sequence[Drift] = (),
) -> None:
    """Draw every line that has scores; low coverage is hatched, a finding is a red mark at its night.

    Rubrics come first, then the overall lines of other scorers, then task types, those with most runs first.

    All series of a scorer share a panel, each with a line of its own: where another takes over there is a vertical
    line, and nothing joins the two. The figure in words is of the newest alone.

    Args:
        points: As `trends --json` gives them.
        path: Where the PNG goes.
        so_far: The newest week, where it is not whole; its points are hollow. Weeks with nights that a backfill had
            scored are squares.
        changes: Where another series of a scorer took over, oldest first.
        first: Names of the rubrics, in their order.
        findings: Those to be marked.

    Raises:
        SettingsError: matplotlib is not installed, or nothing was scored.
    """
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        mpl.rcParams["text.parse_math"] = False  # a name with dollar signs is no formula
        from matplotlib import pyplot as plt
    except ImportError:
        raise SettingsError("pictures need matplotlib: pip install 'spotcheck-worker[png]'") from None
    lines: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        name = inline(plain(point["segment"] or point["task_type"] or "overall, same mix"))
        lines[point["scorer"], point["criterion"] or "", name].append(point)
    shown = [(key, rows) for key, rows in lines.items() if any(row["mean"] is not None for row in rows)]
    if not shown:
        raise SettingsError("nothing to draw: no week has a score yet")
    shown.sort(key=lambda item: _rank(item[0], item[1], first))
    left_out, shown = max(0, len(shown) - _MOST_PANELS), shown[:_MOST_PANELS]
    columns = 2 if len(shown) == 4 else min(_COLUMNS, len(shown))
    height = -(-len(shown) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(4.2 * columns, 2.5 * height + 0.6), squeeze=False)
    weeks = sorted({point["week"] for point in points})
    for axis, (key, rows) in zip(axes.flat, shown, strict=False):
        own = [change for change in changes if change.scorer == key[0]]
        _panel(axis, key, rows, weeks, so_far, own)
        _marks(axis, key, findings, weeks)
        axis.set_ylim(*_span([row for other, rows in shown if other[0] == key[0] for row in rows]))
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    more = f"; {left_out} more lines: name one with --scorer" if left_out else ""
    if any(row["backfilled_nights"] for _, rows in shown for row in rows):
        more = f"; squares: with nights by backfill{more}"
    figure.suptitle(f"Weekly mean score with 95 % interval{more}", fontsize=10, x=0.01, ha="left")
    said = _announced([change for change in changes if change.scorer in {key[0] for key, _ in shown}], columns)
    room = 0.17 * len(said) / figure.get_figheight()
    figure.text(0.01, 0.005, "\n".join(said), fontsize=7.5, va="bottom", color=_INK)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from font")  # a name in a script it has not
        figure.tight_layout(rect=(0, room, 1, 1 - 0.3 / figure.get_figheight()))
        figure.savefig(path, dpi=130, format="png")  # whatever the file is called
    plt.close(figure)


def _announced(changes: Sequence[SeriesChange], columns: int) -> list[str]:
    """What each vertical line means, in words that fit the picture's width; the newest few."""
    said = ["".join(announcement(change)) for change in changes[-_MOST_ANNOUNCED:]]
    return [line for each in said for line in textwrap.wrap(inline(plain(each)), _LINE_CHARS * columns)]


def _panel(
    axis: Any,  # noqa: ANN401 matplotlib's Axes
    key: tuple[str, ...],
    rows: Sequence[dict[str, Any]],
    weeks: Sequence[str],
    so_far: PartialWeek | None,
    changes: Sequence[SeriesChange],
) -> None:
    scorer, criterion, name = key
    by_series: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["week"]):
        if row["mean"] is not None:
            by_series[row["scorer_version"]].append(row)
    newest_series = _newest(by_series, changes)
    for series, known in by_series.items():
        middles = [_middle(week, series, weeks, changes) for week in weeks]
        _line(axis, known, weeks, middles, is_over=series != newest_series)
    for change in changes:
        axis.axvline(_place(change.since, weeks), color=_MUTED, lw=1.2, ls="--")
    axis.set_title(f"{name} · {scorer} {criterion}".rstrip(), fontsize=9, loc="left")
    newest = by_series[newest_series][-1]
    said = f"{newest['mean']:.2f} [{newest['low']:.2f}–{newest['high']:.2f}] n {newest['scored']:,}"
    label = f"{newest['week'][5:]}  {said}"
    if so_far is not None and so_far.week == newest["week"]:
        at = _middle(newest["week"], newest_series, weeks, changes)
        axis.plot([at], [newest["mean"]], color=_INK, marker="o", ms=3.5, mfc="white")
        label = f"{so_far.text}\n{said}"
    if len(by_series) > 1:
        label += f"\nonly of {inline(plain(newest_series))}"
    axis.text(0.02, 0.05, label, transform=axis.transAxes, fontsize=8, color=_INK)
    axis.set_xlim(-0.5, len(weeks) - 0.5)
    step = max(1, len(weeks) // 6)
    axis.set_xticks(range(0, len(weeks), step), [_dated(weeks[at]) for at in range(0, len(weeks), step)], fontsize=7)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", color="#e6e6e6", lw=0.7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _rank(key: tuple[str, ...], rows: Sequence[Mapping[str, Any]], first: Sequence[str]) -> tuple[Any, ...]:
    """Where a panel stands."""
    scorer, criterion, name = key
    is_rubric = scorer in first
    is_overall = rows[0]["task_type"] is None and not rows[0]["segment"]
    runs = max(row["population"] for row in rows)
    place = first.index(scorer) if is_rubric else 0
    return (not is_rubric, place, bool(criterion) and is_rubric, not is_overall, -runs, scorer, criterion, name)


def _span(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The ends of the axis of scores, the same for all panels of a scorer: what is shown, and a third at least."""
    low = min(row["low"] for row in rows if row["low"] is not None)
    return max(0.0, min(_LEAST_TOP, math.floor(10 * low - 0.5) / 10)), 1.03


def _marks(axis: Any, key: tuple[str, ...], findings: Sequence[Drift], weeks: Sequence[str]) -> None:  # noqa: ANN401 matplotlib's
    """A red mark at the night of each finding of this line."""
    scorer, criterion, name = key
    for finding in findings:
        own = inline(plain(finding.stream.task_type or "overall, same mix"))
        at = _place(finding.found_night, weeks)
        if (finding.stream.scorer, own) == (scorer, name) and not criterion and at >= -0.5:
            axis.axvline(at, color=_RED, lw=1.0, ls=":")
            text = f" {finding.before:.2f} → {finding.after:.2f}, {finding.found_night:%d %b}"
            axis.annotate(text, (at, 0.98), xycoords=("data", "axes fraction"), fontsize=7, color=_RED, va="top")


def _dated(week: str) -> str:
    """A week with the date of its Monday below it."""
    return f"{week[5:]}\n{calendar.nights_of_week(week)[0]:%d %b}"


def _newest(by_series: Mapping[str, Sequence[dict[str, Any]]], changes: Sequence[SeriesChange]) -> str:
    """The series that the figure in words is of: the one that took over last, or else that of the newest week."""
    taken_over = [change.after.series for change in changes if change.after.series in by_series]
    return taken_over[-1] if taken_over else max(by_series, key=lambda series: by_series[series][-1]["week"])


def _line(
    axis: Any,  # noqa: ANN401 matplotlib's Axes
    known: Sequence[dict[str, Any]],
    weeks: Sequence[str],
    x: Sequence[float],
    *,
    is_over: bool,
) -> None:
    """One series, grey where another took over from it; a gap breaks it.

    Weeks of low coverage are hatched, those with nights by backfill are squares.
    """
    ink, band = (_MUTED, _OVER) if is_over else (_INK, _BAND)
    by_week = {row["week"]: row for row in known}
    low, mean, high = ([by_week[week][field] if week in by_week else math.nan for week in weeks] for field in _FIELDS)
    axis.fill_between(x, low, high, color=band, alpha=0.6, lw=0)
    axis.plot(x, mean, color=ink, marker="o", ms=3.5, lw=1.6)
    for at, week in enumerate(weeks):
        is_alone = not {at - 1, at + 1} & {weeks.index(other) for other in by_week}
        if week in by_week and is_alone:  # a band needs two weeks
            axis.vlines(x[at], low[at], high[at], color=band, lw=5, alpha=0.6)
        if week in by_week and by_week[week]["backfilled_nights"]:
            axis.plot([x[at]], [mean[at]], color=ink, marker="s", ms=6)
        coverage = by_week[week]["coverage"] if week in by_week else None
        if coverage is not None and coverage < 0.8:
            axis.axvspan(at - 0.5, at + 0.5, facecolor="none", edgecolor=_MUTED, hatch="///", lw=0, alpha=0.5)


def _middle(week: str, series: str, weeks: Sequence[str], changes: Sequence[SeriesChange]) -> float:
    """Where the point of a week stands: in the middle of the nights that its series measures."""
    at = weeks.index(week)
    start, end = at - 0.5, at + 0.5
    for change in changes:
        if calendar.week_of(change.since) == week:
            start = _place(change.since, weeks) if series == change.after.series else start
            end = _place(change.since, weeks) if series == change.before.series else end
    return (start + end) / 2 if start < end else float(at)


def _place(night: date, weeks: Sequence[str]) -> float:
    """Where a night begins on the axis of weeks, whose points stand in the middle of theirs."""
    week = calendar.week_of(night)
    return weeks.index(week) - 0.5 + night.weekday() / 7 if week in weeks else -1.0
