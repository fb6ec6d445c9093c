"""A picture of trends: small multiples, one a line, with interval bands; saved as PNG."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.cli.output import inline, plain
from worker.errors import SettingsError
from worker.queries.trends import PartialWeek

_MOST_PANELS = 24
_COLUMNS = 3
_INK, _BAND, _MUTED = "#1f4e79", "#9dc3e6", "#8a8a8a"


def draw(points: Sequence[dict[str, Any]], path: Path, so_far: PartialWeek | None = None) -> None:
    """Draw every line that has scores; low coverage is hatched.

    Args:
        points: As `trends --json` gives them.
        path: Where the PNG goes.
        so_far: The newest week, where it is not whole; its points are hollow.

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
        lines[point["scorer"], point["criterion"] or "", point["scorer_version"], name].append(point)
    shown = [(key, rows) for key, rows in lines.items() if any(row["mean"] is not None for row in rows)]
    if not shown:
        raise SettingsError("nothing to draw: no week has a score yet")
    left_out, shown = max(0, len(shown) - _MOST_PANELS), shown[:_MOST_PANELS]
    columns = 2 if len(shown) == 4 else min(_COLUMNS, len(shown))
    height = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        height, columns, figsize=(4.2 * columns, 2.5 * height + 0.6), squeeze=False, sharey=True
    )
    weeks = sorted({point["week"] for point in points})
    for axis, (key, rows) in zip(axes.flat, shown, strict=False):
        _panel(axis, key, rows, weeks, so_far)
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    more = f"; {left_out} more lines: name one with --scorer" if left_out else ""
    figure.suptitle(f"Weekly mean score with 95 % interval{more}", fontsize=10, x=0.01, ha="left")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from font")  # a name in a script it has not
        figure.tight_layout()
        figure.savefig(path, dpi=130, format="png")  # whatever the file is called
    plt.close(figure)


def _panel(
    axis: Any,  # noqa: ANN401 matplotlib's Axes
    key: tuple[str, ...],
    rows: Sequence[dict[str, Any]],
    weeks: Sequence[str],
    so_far: PartialWeek | None,
) -> None:
    scorer, criterion, _, name = key
    known = sorted((row for row in rows if row["mean"] is not None), key=lambda row: row["week"])
    x = [weeks.index(row["week"]) for row in known]
    axis.fill_between(x, [row["low"] for row in known], [row["high"] for row in known], color=_BAND, alpha=0.6, lw=0)
    axis.plot(x, [row["mean"] for row in known], color=_INK, marker="o", ms=3.5, lw=1.6)
    newest = known[-1]
    for at, row in zip(x, known, strict=True):
        if row["coverage"] is not None and row["coverage"] < 0.8:
            axis.axvspan(at - 0.5, at + 0.5, facecolor="none", edgecolor=_MUTED, hatch="///", lw=0, alpha=0.5)
    said = f"{newest['mean']:.2f} [{newest['low']:.2f}–{newest['high']:.2f}] n {newest['scored']:,}"
    axis.set_title(f"{name} · {scorer} {criterion}".rstrip(), fontsize=9, loc="left")
    label = f"{newest['week'][5:]}  {said}"
    if so_far is not None and so_far.week == newest["week"]:
        axis.plot(x[-1:], [newest["mean"]], color=_INK, marker="o", ms=3.5, mfc="white")
        label = f"{so_far.text}\n{said}"
    axis.text(0.02, 0.05, label, transform=axis.transAxes, fontsize=8, color=_INK)
    axis.set_ylim(0, 1.05)
    axis.set_xlim(-0.5, len(weeks) - 0.5)
    step = max(1, len(weeks) // 6)
    axis.set_xticks(range(0, len(weeks), step), [weeks[at][5:] for at in range(0, len(weeks), step)], fontsize=7)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", color="#e6e6e6", lw=0.7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
