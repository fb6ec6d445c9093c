"""Nightly means of the population from samples drawn with unequal probabilities: the input of the drift scan.

Works on `Cell` sums of one scorer and criterion. A stratum of a night is (night, task type, flagged); cells of several
agents in it share one threshold. Whatever the rates were, a scored run represents N/n runs of its stratum.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.records import Cell

Floats = NDArray[np.float64]
_MEMORY_NIGHTS = 28
"""Memory, in scored nights, of the exponential mean that replaces a stratum on nights without its scores."""
_WEEK = 7
_MOST_OF_USUAL = 1.5
"""Limit of a night's size relative to its traffic times the median ratio of the last week. At 1 a tenth of the
information is lost where traffic merely varies; at 2 a tenfold rate still moves a weekend-heavy mean (simulated)."""


class NightlySeries(NamedTuple):
    """One value for each calendar night, without gaps; arrays of shape (nights,)."""

    nights: tuple[date, ...]
    n: Floats
    """Kish effective size of the weights, or less on a night sampled far above its traffic; 0 without scores."""
    s: Floats
    """n × the mean of the night's population."""
    ss: Floats
    """n × the mean of the squares."""


def nightly(
    cells: Iterable[Cell], *, shares: Mapping[str, float] | None = None, nights: Sequence[date] | None = None
) -> NightlySeries:
    """The nightly means of a stream, as comparable with one another as the drift scan needs them.

    Each night is the Hájek mean over its strata with weights N/n, so that rates, floors and budget cuts do not move it.
    A stratum that has runs but no scored one that night (for example after a cut that left no flagged run) would move
    it too; it is replaced by the stratum's own mean of earlier nights, recent ones weighted more, or of later nights
    where none was scored before. That pulls toward "no change" in proportion to what was not scored, and `n` counts
    only what was scored. A stratum that was never scored is left out.

    `n` is Kish's effective size of the weights, limited to 1.5 times the night's runs at the median ratio of the last 7
    nights. Windows add nights up by n, so without the limit quiet nights sampled up to a floor would weigh as much as
    busy ones until a rate changes, and then the mean would move though quality did not.

    Args:
        cells: One scorer and criterion, any number of nights, in any order.
        shares: Traffic by task type to standardise every night to, for the overall line; None takes each night's own.
            A task type without runs that night is replaced by its usual mean.
        nights: First and last night of the series (a sequence; its extremes count); None for those of the cells.

    Returns:
        One entry a calendar night, oldest first; n = s = ss = 0 on a night without scores. No cells: empty arrays.

    Source: METHODS §3; Kish 1965, §11.7, for the effective size.
    """
    rows = list(cells)
    days = _calendar(nights if nights is not None else [cell.night for cell in rows])
    return _series(_tabulate(rows, days), days, shares)


def nightly_lines(
    cells: Iterable[Cell], *, shares: Mapping[str, float], nights: Sequence[date] | None = None
) -> dict[str | None, NightlySeries]:
    """The nightly series of every task type and of the overall line, from one pass over the cells; see `nightly`.

    Args:
        cells: One scorer and criterion, any number of nights, in any order.
        shares: Traffic by task type, for the overall line.
        nights: First and last night of all series; None for those of the cells.

    Returns:
        By task type, sorted; where there are several, the overall line comes last, under None.
    """
    rows = list(cells)
    days = _calendar(nights if nights is not None else [cell.night for cell in rows])
    table = _tabulate(rows, days)
    lines: dict[str | None, NightlySeries] = {}
    for task in sorted({cell.task_type for cell in rows}):
        task_table = None if table is None else table.of_task(task)
        lines[task] = _series(task_table, days, None)
    if len(lines) > 1:
        lines[None] = _series(table, days, shares)
    return lines


class _Table(NamedTuple):
    """Nightly sums, one row a stratum that was ever scored, one column a night."""

    tasks: NDArray[np.str_]
    runs: Floats
    n: Floats
    s: Floats
    ss: Floats

    def of_task(self, task: str) -> "_Table | None":
        """The rows of one task type; None when there are none."""
        rows = self.tasks == task
        return _Table(*(column[rows] for column in self)) if rows.any() else None


def _calendar(nights: Collection[date]) -> tuple[date, ...]:
    """Every night from the first to the last; empty for none."""
    if not nights:
        return ()
    first = min(nights)
    return tuple(first + timedelta(days=day) for day in range((max(nights) - first).days + 1))


def _tabulate(cells: Sequence[Cell], days: Sequence[date]) -> _Table | None:
    """The sums of the nights by stratum; None when nothing was scored."""
    column = {day: index for index, day in enumerate(days)}
    strata = sorted({(cell.task_type, cell.flagged) for cell in cells if cell.scored > 0 and cell.night in column})
    if not strata:
        return None
    row = {key: index * len(days) for index, key in enumerate(strata)}
    kept = [cell for cell in cells if (cell.task_type, cell.flagged) in row and cell.night in column]
    place = [row[cell.task_type, cell.flagged] + column[cell.night] for cell in kept]
    sums = np.array([(cell.population, cell.scored, cell.s, cell.ss) for cell in kept], dtype=np.float64)
    size = len(strata) * len(days)
    runs, n, s, ss = np.array([np.bincount(place, column_values, size) for column_values in sums.T]).reshape(
        4, len(strata), len(days)
    )
    return _Table(np.array([task for task, _ in strata]), np.maximum(runs, n), n, s, ss)


def _series(table: _Table | None, days: tuple[date, ...], shares: Mapping[str, float] | None) -> NightlySeries:
    """The series of a table; zeros where nothing was scored."""
    if table is None:
        return NightlySeries(days, np.zeros(len(days)), np.zeros(len(days)), np.zeros(len(days)))
    target = _targets(table, shares)
    n = _informative(table, target)
    mean, square = np.clip((target * _means(table, target)).sum(axis=1), 0, 1)
    return NightlySeries(days, n, n * mean, n * square)


def _targets(table: _Table, shares: Mapping[str, float] | None) -> Floats:
    """The share of each stratum in each night's mean; a night's sum to 1, or to 0 where it has no runs."""
    target = table.runs
    if shares is not None:
        task_shares = np.array([shares.get(str(task), 0.0) for task in table.tasks])
        of_task = (table.tasks[:, None] == table.tasks[None, :]).astype(float) @ table.runs
        within = _ratio(table.runs, of_task)
        if (of_task == 0).any():
            within = np.where(of_task > 0, within, _usual(table.runs, of_task))
        target = task_shares[:, None] * within
    return _ratio(target, target.sum(axis=0))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Above / below, and 0 where below is 0; `below` is broadcast over the leading axes of `above`."""
    ratio: Floats = np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
    return ratio


def _informative(table: _Table, target: Floats) -> Floats:
    """The effective size of each night: Kish's, limited by the night's traffic (see `nightly`)."""
    per_run = _ratio(target, table.n)
    kish = _ratio((per_run * table.n).sum(axis=0) ** 2, (per_run**2 * table.n).sum(axis=0))
    traffic = np.where(target > 0, table.runs, 0.0).sum(axis=0)
    ratio = _ratio(kish, traffic)
    n: Floats = np.where(ratio > 0, np.minimum(kish, _MOST_OF_USUAL * _trailing_median(ratio) * traffic), kish)
    return n


def _trailing_median(values: Floats) -> Floats:
    """At each night the median of the positive values of it and the six nights before; 0 where its own value is 0."""
    padded = np.concatenate((np.full(_WEEK - 1, np.inf), np.where(values > 0, values, np.inf)))
    place = np.arange(len(values))
    weeks = np.sort(padded[place[:, None] + np.arange(_WEEK)], axis=1)
    last = np.maximum((weeks < np.inf).sum(axis=1) - 1, 0)
    median: Floats = (weeks[place, last // 2] + weeks[place, (last + 1) // 2]) / 2
    return np.where(values > 0, median, 0.0)


def _means(table: _Table, target: Floats) -> Floats:
    """Nightly means of strata and of their squares; usual means replace those of strata with weight but no scores.

    Shape (2, strata, nights).
    """
    sums = np.array((table.s, table.ss))
    means = _ratio(sums, table.n)
    if not ((table.n == 0) & (target > 0)).any():
        return means
    weights = np.where(table.n > 0, table.runs, 0.0)
    filled: Floats = np.where(table.n > 0, means, _usual(means * weights, weights))
    return filled


def _usual(sums: Floats, weights: Floats) -> Floats:
    """The usual mean before each night: an exponentially weighted mean over the earlier nights with weight.

    Where no earlier night has weight, over the later ones. Every row has weight somewhere.
    """
    usual = _exponential_mean(sums, weights)
    unknown = np.isnan(usual)
    if not unknown.any():
        return usual
    return np.where(unknown, _exponential_mean(sums[..., ::-1], weights[..., ::-1])[..., ::-1], usual)


def _exponential_mean(sums: Floats, weights: Floats) -> Floats:
    """The exponentially weighted ratio of the sums over earlier columns; NaN where none has weight.

    Instead of reducing the weight of the past, every column counts more than those before it; the ratio is the same.
    """
    growth = (1 - 1 / _MEMORY_NIGHTS) ** -np.cumsum(weights > 0, axis=-1, dtype=np.float64)
    above, below = np.cumsum(sums * growth, axis=-1), np.cumsum(weights * growth, axis=-1)
    ratio = np.full(sums.shape, np.nan)
    np.divide(above[..., :-1], below[..., :-1], out=ratio[..., 1:], where=below[..., :-1] > 0)
    return ratio
