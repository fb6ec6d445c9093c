"""How much of a change of the overall mean is only a change of the traffic mix."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date
from typing import NamedTuple

from worker.records import Cell


class MixShift(NamedTuple):
    """A change of the raw mean, and the part of it that comes from the traffic mix."""

    change: float
    """Raw mean after − before."""
    by_mix: float
    """The part that disappears when the mix is held fixed."""


def mix_shares(cells: Iterable[Cell], nights: Collection[date] | None = None) -> dict[str, float]:
    """The share of each task type in the traffic, for standardising to a fixed mix.

    Args:
        cells: Cells of the reference period.
        nights: Only these nights; None for all.

    Returns:
        Shares that sum to 1, by task type, sorted; empty when there were no runs.
    """
    runs: dict[str, int] = defaultdict(int)
    for cell in cells:
        if nights is None or cell.night in nights:
            runs[cell.task_type] += cell.population
    total = sum(runs.values())
    return {task: runs[task] / total for task in sorted(runs) if runs[task] > 0}


def mix_explains(
    raw_before: float | None, raw_after: float | None, fixed_before: float | None, fixed_after: float | None
) -> MixShift | None:
    """Split a change of the overall line into a change of the mix and the rest: "mix explains x of y points".

    Args:
        raw_before: Mean of the earlier week's own mix, 0..1.
        raw_after: The same of the later week.
        fixed_before: Mean of the earlier week standardised to the reference mix.
        fixed_after: The same of the later week.

    Returns:
        The change and the mix's part in it; None where a mean is missing.

    Example:
        >>> mix_explains(0.875, 0.75, 0.875, 0.8125)
        MixShift(change=-0.125, by_mix=-0.0625)
    """
    if raw_before is None or raw_after is None or fixed_before is None or fixed_after is None:
        return None
    change = raw_after - raw_before
    return MixShift(change, change - (fixed_after - fixed_before))
