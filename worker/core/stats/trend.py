"""The weekly points of a trend from a week's cells: by task type, overall at a fixed mix, by agent and by version."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from worker.core.stats.weekly import of_strata, week_strata, weekly
from worker.records import Cell, Estimate

Dimension = Literal["task_type", "agent", "agent_version"]
DIMENSIONS: tuple[Dimension, ...] = ("task_type", "agent", "agent_version")


class Point(NamedTuple):
    """One week of one line of a stream."""

    dimension: Dimension
    task_type: str | None
    """None on the overall line and on lines of agents and versions."""
    segment: str | None
    """The agent or the version; None on lines by task type."""
    population: int
    sampled: int
    estimate: Estimate
    raw_mean: float | None = None
    """Overall line: the mean at this week's own mix, where the estimate is at the reference mix."""


def points(cells: Sequence[Cell], *, shares: Mapping[str, float], dispersion: float = 1.0) -> list[Point]:
    """All points of one week of one scorer and criterion.

    Args:
        cells: The week's cells.
        shares: Reference traffic by task type, for the overall line; empty takes the week's own mix.
        dispersion: How much runs cluster in nights, 1 or more; divides the effective size.

    Returns:
        The overall line first, then one a task type, one an agent, one a version. No cells: no points.
    """
    if not cells:
        return []
    by_task = week_strata(cells)
    raw = of_strata(by_task, dispersion=dispersion)
    fixed = of_strata(by_task, shares=shares, dispersion=dispersion) if shares else raw
    result = [_point("task_type", None, None, cells, fixed if fixed.n else raw, raw.mean)]
    for task_type, group in _grouped(cells, lambda cell: cell.task_type):
        strata = {task_type: by_task[task_type]} if task_type in by_task else {}
        result.append(_point("task_type", task_type, None, group, of_strata(strata, dispersion=dispersion)))
    result += _segments("agent", cells, lambda cell: cell.agent, raw, dispersion)
    return result + _segments("agent_version", cells, lambda cell: cell.agent_version, raw, dispersion)


def _segments(
    dimension: Dimension, cells: Sequence[Cell], of: Callable[[Cell], str], whole: Estimate, dispersion: float
) -> list[Point]:
    """One point a segment; where there is but one, its estimate is that of the whole."""
    groups = _grouped(cells, of)
    result = []
    for segment, group in groups:

        def keep(cell: Cell, segment: str = segment) -> bool:
            return of(cell) == segment

        estimate = whole if len(groups) == 1 else weekly(cells, dispersion=dispersion, keep=keep)
        result.append(_point(dimension, None, segment, group, estimate))
    return result


def _grouped(cells: Iterable[Cell], of: Callable[[Cell], str]) -> list[tuple[str, list[Cell]]]:
    """Cells by what they have in common, sorted by it."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[of(cell)].append(cell)
    return sorted(groups.items())


def _point(
    dimension: Dimension,
    task_type: str | None,
    segment: str | None,
    group: Sequence[Cell],
    estimate: Estimate,
    raw_mean: float | None = None,
) -> Point:
    population, sampled = sum(cell.population for cell in group), sum(cell.sampled for cell in group)
    return Point(dimension, task_type, segment, population, sampled, estimate, raw_mean)
