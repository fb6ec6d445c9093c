"""Weekly cost, errors, steps and tool failures, from the operational figures of all ended runs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from worker.core.drift.operational import ZERO_BUCKET, Histogram
from worker.core.drift.operational import OperationalFigure as Nightly
from worker.core.stats.intervals import interval

_WIDTH = math.log(1.05)
"""Width of a bucket of `core.drift.operational` on the log scale."""
_FEWEST = 10
"""With fewer runs a mean of dollars or steps is shown without an interval."""
_Z95 = 1.959964
_WINDOW = "window"
"""Stands beside the weeks for the nights that the report is about."""


class WeekFigure(NamedTuple):
    """One operational figure of one week over all ended runs; value, low and high are None without runs."""

    week: str
    n: int
    value: float | None
    """A share 0..1, or US dollars or steps a run."""
    low: float | None
    high: float | None
    total: float = 0.0
    """Sum, in US dollars or steps."""


class WindowFigures(NamedTuple):
    """Figures of one task type over all nights that a report is about; a figure without runs has n = 0 and None."""

    runs: int
    cost: WeekFigure
    errors: WeekFigure
    aborts: WeekFigure
    steps: WeekFigure


class OperationalWeeks(NamedTuple):
    """Cost, errors, aborts, steps and tool failures of one task type, by week, oldest first."""

    task_type: str
    runs: int
    """Ended runs of the newest week shown."""
    within: WindowFigures
    """Of the nights that the report is about, which may be more or less than a week."""
    cost: tuple[WeekFigure, ...]
    errors: tuple[WeekFigure, ...]
    aborts: tuple[WeekFigure, ...]
    steps: tuple[WeekFigure, ...]
    tools: tuple[tuple[str, tuple[WeekFigure, ...]], ...]
    """By tool: the failed share of its calls, 0..1, averaged over the runs that used it."""


class NightFigure(NamedTuple):
    """A figure and where its night belongs."""

    week: str
    is_within: bool
    """Whether the night is one of those that the report is about."""
    figure: Nightly


def weekly_operations(figures: Iterable[NightFigure], weeks: Sequence[str]) -> tuple[OperationalWeeks, ...]:
    """Sum nightly figures by week, and those that the report is about together.

    They count all ended runs, not a sample; the interval is of the underlying rate, of which one week is an
    observation.

    Args:
        figures: In any order.
        weeks: The weeks to return, oldest first.

    Returns:
        One for each task type, those with most runs in the newest week first; empty without figures. A week without
        runs has n = 0 and None.
    """
    sums: dict[str, dict[tuple[str, str], dict[str, list[Nightly]]]] = defaultdict(lambda: defaultdict(dict))
    for week, is_within, figure in figures:
        by_week = sums[figure.task_type][figure.measure, figure.subject]
        by_week.setdefault(week, []).append(figure)
        if is_within:
            by_week.setdefault(_WINDOW, []).append(figure)
    result = [_of_task(task_type, measures, weeks) for task_type, measures in sums.items()]
    return tuple(sorted(result, key=lambda weeks_of_task: (-weeks_of_task.runs, weeks_of_task.task_type)))


def _of_task(
    task_type: str, measures: dict[tuple[str, str], dict[str, list[Nightly]]], weeks: Sequence[str]
) -> OperationalWeeks:
    def rates(measure: str, subject: str = "") -> tuple[WeekFigure, ...]:
        by_week = measures.get((measure, subject), {})
        return tuple(_rate(week, by_week.get(week, ())) for week in weeks)

    def means(measure: str) -> tuple[WeekFigure, ...]:
        by_week = measures.get((measure, ""), {})
        return tuple(_mean(week, by_week.get(week, ())) for week in weeks)

    errors = rates("errors")
    tools = sorted(subject for measure, subject in measures if measure == "tool")
    by_tool = [(tool, rates("tool", tool)) for tool in tools]
    by_tool.sort(key=lambda item: -item[1][-1].n if item[1] else 0)
    runs = errors[-1].n if errors else 0
    own = {
        measure: measures.get((measure, ""), {}).get(_WINDOW, ()) for measure in ("cost", "errors", "aborts", "steps")
    }
    within = WindowFigures(
        sum(figure.n for figure in own["errors"]),
        _mean(_WINDOW, own["cost"]),
        _rate(_WINDOW, own["errors"]),
        _rate(_WINDOW, own["aborts"]),
        _mean(_WINDOW, own["steps"]),
    )
    return OperationalWeeks(
        task_type, runs, within, means("cost"), errors, rates("aborts"), means("steps"), tuple(by_tool)
    )


def _rate(week: str, nights: Sequence[Nightly]) -> WeekFigure:
    n, hits = sum(night.n for night in nights), sum(night.s for night in nights)
    if not n:
        return WeekFigure(week, 0, None, None, None)
    share = min(1.0, hits / n)
    return WeekFigure(week, n, share, *interval(share, n), total=hits)


def _mean(week: str, nights: Sequence[Nightly]) -> WeekFigure:
    n, total = sum(night.n for night in nights), sum(night.total for night in nights)
    if not n:
        return WeekFigure(week, 0, None, None, None)
    mean = total / n
    if n < _FEWEST:
        return WeekFigure(week, n, mean, None, None, total)
    squares = sum(_squares(night.histogram) for night in nights if night.histogram is not None)
    margin = _Z95 * math.sqrt(max(0.0, squares / n - mean * mean) / n)
    return WeekFigure(week, n, mean, max(0.0, mean - margin), mean + margin, total)


def _squares(histogram: Histogram) -> float:
    """Sum of the squares of a histogram's values, each taken at the middle of its bucket: within 5 %."""
    return sum(count * bucket_middle(key) ** 2 for key, count in histogram.items())


def bucket_middle(bucket: int) -> float:
    """The middle of a bucket of `core.drift.operational`, on the log scale.

    Example:
        >>> bucket_middle(ZERO_BUCKET), round(bucket_middle(22), 2)
        (0.0, 3.0)
    """
    return 0.0 if bucket == ZERO_BUCKET else math.exp((bucket + 0.5) * _WIDTH)
