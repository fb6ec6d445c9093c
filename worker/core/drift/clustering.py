"""How much a stream's runs cluster in nights, for the intervals of its weekly means."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from worker.core.drift import scan
from worker.core.stats.nightly import nightly
from worker.records import Cell

WINDOW_NIGHTS = 112
"""Nights that are looked at, 16 weeks."""
_FEWEST = 14


def of_cells(cells: Sequence[Cell], until: date) -> float:
    """How much nights scatter beyond chance, over up to 16 weeks; 1 until two weeks are known.

    The drift scan's raise is taken out again: an alarm wants the cautious value, an interval the likely one.

    Args:
        cells: Of one scorer and criterion, in the order of their nights; none give 1.
        until: The last night to look at.

    Returns:
        1 or more; it divides the effective size.
    """
    since = until - timedelta(days=WINDOW_NIGHTS - 1)
    series = nightly(between(cells, since, until))
    known = int(np.count_nonzero(series.n))
    if known < _FEWEST:
        return 1.0
    raised = 1 + 0.5 * math.sqrt(2 / (known - 1))
    return max(1.0, scan.dispersion(series.n, series.s, series.ss) / raised)


def between(cells: Sequence[Cell], since: date, until: date) -> Sequence[Cell]:
    """The cells of these nights, bounds included; the cells stand in the order of their nights."""
    first = bisect_left(cells, since, key=_night)
    return cells[first : bisect_right(cells, until, lo=first, key=_night)]


def _night(cell: Cell) -> date:
    return cell.night
