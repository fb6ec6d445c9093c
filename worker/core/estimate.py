"""Means of the population from samples drawn with unequal probabilities, with intervals that hold at small n.

Works on `Cell` sums of one scorer and criterion. A stratum of a night is (night, task type, flagged); cells of several
agents in it were drawn by one threshold. Whatever the rates were, a scored run stands for N/n runs of its stratum.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.records import Cell, Estimate

Floats = NDArray[np.float64]

_PSEUDO = 2.0
"""Pseudo-observations that shrink a variance toward m(1 − m) (METHODS §2)."""
_LEAST_UNSAMPLED = 0.01
"""Finite population correction of a census: an n_eff of at most a hundred times n, and a width that is never nought."""
_MOST_RATIO = 2.0
"""Of the scores' variance to m(1 − m): one run of large weight beside one of small cannot tell it."""
_MEMORY_NIGHTS = 28
"""Scored nights over which a stratum's usual mean forgets, for nights that lack it."""
_WEEK = 7
_MOST_OF_USUAL = 1.5
"""How far a night's size may exceed its traffic times the usual ratio of the last week: at 1 a tenth of the
information is lost where traffic merely varies, at 2 a tenfold rate still moves a weekend-heavy mean (simulated)."""
_EMPTY = Estimate(None, None, None, 0, 0.0)


class NightlySeries(NamedTuple):
    """One value a calendar night, without gaps: what the drift scan reads."""

    nights: tuple[date, ...]
    n: Floats
    """Kish effective size of the weights, or less on a night sampled far above its traffic; 0 without scores."""
    s: Floats
    """n × the mean of the night's population."""
    ss: Floats
    """n × the mean of the squares."""


class MixShift(NamedTuple):
    """A change of the raw mean, and how much of it is only other traffic."""

    change: float
    """Raw mean after − before."""
    by_mix: float
    """The part that vanishes when the mix is held fixed."""


class StratumWeek(NamedTuple):
    """A week of one task type and flag."""

    n: int
    population: float
    """Runs it stands for, with those of collapsed strata."""
    n_kish: float
    mean: float
    spread: float
    """m(1 − m), the most that the variance of scores 0..1 can be."""
    variance: float
    """Of single scores, on n_kish − 1 degrees of freedom; 0 where there are none."""
    error: float
    """Variance of the mean per unit variance of a score."""


def wilson(mean: float, n_eff: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, for any effective sample size.

    Args:
        mean: 0..1.
        n_eff: Effective sample size, not necessarily whole; 0 or less gives (0, 1), infinity (mean, mean).
        level: Confidence level, between 0 and 1.

    Returns:
        Low and high, 0..1, with low <= mean <= high.

    Example:
        >>> [round(limit, 3) for limit in wilson(0.8, 10)]
        [0.49, 0.943]

    Source: Wilson 1927.
    """
    return _wilson(mean, n_eff, NormalDist().inv_cdf((1 + level) / 2)) if n_eff > 0 else (0.0, 1.0)


def interval(mean: float, n_eff: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval, widened toward 0 and 1 where only a few runs failed or only a few passed.

    Wilson's covers a rare event too seldom: .85 at n = 5 and a rate of .03, .91 at n = 20. There the limit on the
    near side is that of a Poisson count, all of the error allowed on one side, which from a count of about four on
    lies inside Wilson's and changes nothing.

    Args:
        mean: 0..1.
        n_eff: Effective sample size, not necessarily whole.
        level: Confidence level, between 0 and 1.

    Returns:
        Low and high, 0..1, with low <= mean <= high.

    Source: Brown, Cai & DasGupta 2001, §4.1.1; Wilson & Hilferty 1931 for the quantile of the count.
    """
    low, high = wilson(mean, n_eff, level)
    if not 0 < n_eff < math.inf:
        return low, high
    return min(low, _rare(mean, n_eff, level)), max(high, 1 - _rare(1 - mean, n_eff, level))


def weekly(
    cells: Iterable[Cell],
    *,
    shares: Mapping[str, float] | None = None,
    dispersion: float = 1.0,
    level: float = 0.95,
    keep: Callable[[Cell], bool] | None = None,
) -> Estimate:
    """Mean score of a week's population, or of a part of it, with a quasi-Wilson interval.

    Hájek mean with weights N/n of each night's stratum. A night's stratum without a scored run is stood for by the
    other nights of the same stratum, a stratum without any by the rest of its task type; a task type without any is
    left out. The interval is about the runs that ended that week (finite population): Wilson's, stratified by task
    type and flag, each at an effective size that holds the weights, the finite population and the variance of graded
    scores relative to m(1 − m), shrunk toward it. A stratum whose few scored runs all passed keeps its width that
    way. It assumes that unscored runs of a stratum are like the scored ones: show the coverage beside it.

    Args:
        cells: One week, one scorer and criterion; whole strata, even where only a part is wanted.
        shares: Traffic by task type to standardise to; None takes the week's own. Task types absent this week are
            renormalised away, those absent from the shares are left out.
        dispersion: Divides n_eff when runs cluster, r of METHODS §3 (not φ: the scores' own variance is in n_eff
            already). Below 1 counts as 1.
        level: Confidence level, between 0 and 1.
        keep: Which cells make up the part of interest, for example one agent's; None for all.

    Returns:
        Mean, low and high (0..1), scored runs, and effective size. Nothing scored gives n = 0 and None.

    Example:
        >>> monday = Cell(date(2026, 11, 16), "support", False, "bot", "1", 100, 20, 20, 18.0, 18.0)
        >>> estimate = weekly([monday])
        >>> round(estimate.mean, 2), round(estimate.low, 2), round(estimate.high, 2), estimate.n
        (0.9, 0.72, 0.98, 20)

    Source: METHODS §2; Särndal, Swensson & Wretman 1992, §5.7, §10.3; Yan & Su 2010 for the interval.
    """
    return of_strata(week_strata(cells, keep), shares=shares, dispersion=dispersion, level=level)


def of_strata(
    by_task: Mapping[str, Sequence[StratumWeek]],
    *,
    shares: Mapping[str, float] | None = None,
    dispersion: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """What `weekly` says, from strata that are summed up already: several lines of a week share them.

    Args:
        by_task: The week's strata, of all task types or of some, as `week_strata` gives them.
        shares: As in `weekly`.
        dispersion: As in `weekly`.
        level: As in `weekly`.
    """
    wanted = {
        task: sum(stratum.population for stratum in strata) if shares is None else shares.get(task, 0.0)
        for task, strata in by_task.items()
    }
    total = sum(wanted.values())
    parts = [
        _Part(wanted[task] / total * stratum.population / sum(each.population for each in strata), stratum.mean, size)
        for task, strata in by_task.items()
        if wanted[task] > 0
        for stratum, size in zip(strata, _sizes(strata, dispersion), strict=True)
    ]
    if not parts:
        return _EMPTY
    mean = min(1.0, max(0.0, sum(part.share * part.mean for part in parts)))
    n_eff = 1 / sum(part.share**2 / part.n_eff for part in parts)
    low, high = _stratified(parts, mean, n_eff, level)
    scored = sum(stratum.n for task, strata in by_task.items() if wanted[task] > 0 for stratum in strata)
    return Estimate(mean, low, high, scored, n_eff)


def nightly(
    cells: Iterable[Cell], *, shares: Mapping[str, float] | None = None, nights: Sequence[date] | None = None
) -> NightlySeries:
    """The nightly means of a stream, as comparable with one another as the drift scan needs them.

    Each night is the Hájek mean over its strata with weights N/n, so that rates, floors and budget cuts do not move
    it. A stratum that has runs but no scored one that night (a cut that left no flagged run) would move it too;
    there the stratum's own usual mean stands in: of the nights before, the recent counting more, or of those after
    where none was scored before. That pulls toward "no change" in proportion to what was not seen, and `n` counts
    only what was seen. A stratum never scored at all is left out.

    `n` is Kish's size of the weights, cut where it exceeds 1.5 times the night's runs at the usual ratio (median of
    the last 7 nights): windows add nights up by n, so quiet nights sampled up to a floor would weigh as much as busy
    ones until a rate changes, and then the mean would move though quality did not.

    Args:
        cells: One scorer and criterion, any number of nights, in any order.
        shares: Traffic by task type to standardise every night to, for the overall line; None takes each night's own.
            A task type without runs that night is stood for by its usual mean.
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
        own = None if table is None else table.of_task(task)
        lines[task] = _series(own, days, None)
    if len(lines) > 1:
        lines[None] = _series(table, days, shares)
    return lines


def mix_shares(cells: Iterable[Cell], nights: Collection[date] | None = None) -> dict[str, float]:
    """The share of each task type in the traffic, to standardise to.

    Args:
        cells: Of the reference time.
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
    """How much of a change of the overall line is only a change of traffic: "mix explains x of y points".

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


class _Part(NamedTuple):
    """What a stratum adds to the mean of the week."""

    share: float
    mean: float
    n_eff: float


class _Table(NamedTuple):
    """Nightly sums, one row a stratum that was ever scored, one column a night."""

    tasks: NDArray[np.str_]
    runs: Floats
    n: Floats
    s: Floats
    ss: Floats

    def of_task(self, task: str) -> "_Table | None":
        """The rows of one task type; None when there are none."""
        own = self.tasks == task
        return _Table(*(each[own] for each in self)) if own.any() else None


def week_strata(cells: Iterable[Cell], keep: Callable[[Cell], bool] | None = None) -> dict[str, list[StratumWeek]]:
    """A week's strata by task type, for `of_strata`.

    Args:
        cells: One week, one scorer and criterion; whole strata, even where only a part is wanted.
        keep: Which cells make up the part of interest; None for all.

    Returns:
        Task types sorted; strata without a kept scored run are collapsed into the rest of their type, and a type
        without any is absent.
    """
    cells = list(cells)
    runs: dict[tuple[str, bool, date], int] = defaultdict(int)
    scored: dict[tuple[str, bool, date], int] = defaultdict(int)
    for cell in cells:
        place = cell.task_type, cell.flagged, cell.night
        runs[place] += cell.population
        scored[place] += cell.scored
    kept: dict[str, dict[bool, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if keep is None or keep(cell):
            kept[cell.task_type][cell.flagged].append(cell)
    by_task = {}
    for task in sorted(kept):
        population = {flagged: sum(cell.population for cell in part) for flagged, part in kept[task].items()}
        usable = {
            flagged: [(cell, _weight(runs, scored, cell)) for cell in part if cell.scored > 0]
            for flagged, part in sorted(kept[task].items())
        }
        standing = sum(population[flagged] for flagged, part in usable.items() if part)
        grown = sum(population.values()) / standing if standing else 1.0
        found = [_stratum(part, population[flagged] * grown) for flagged, part in usable.items() if part]
        if found:
            by_task[task] = found
    return by_task


def _weight(
    runs: Mapping[tuple[str, bool, date], int], scored: Mapping[tuple[str, bool, date], int], cell: Cell
) -> float:
    """How many runs of its stratum and night a scored run stands for."""
    place = cell.task_type, cell.flagged, cell.night
    return max(1.0, runs[place] / scored[place])


def _stratum(part: Sequence[tuple[Cell, float]], population: float) -> StratumWeek:
    """Weighted moments of one stratum's week, its weights calibrated to the population."""
    count = sum(cell.scored for cell, _ in part)
    population = max(population, count)
    scale = population / sum(weight * cell.scored for cell, weight in part)
    first = second = squares = error = 0.0
    for cell, weight in part:
        calibrated = weight * scale
        first += calibrated * cell.s
        second += calibrated * cell.ss
        squares += calibrated**2 * cell.scored
        # Scored runs miss by (w − 1)·y, the others by y, about a common mean: Valliant, Dorfman & Royall 2000, §2.
        error += (calibrated - 1) ** 2 * cell.scored
    error = max(error + population - count, _LEAST_UNSAMPLED * squares) / population**2
    n_kish = population**2 / squares
    mean = min(1.0, max(0.0, first / population))
    variance = max(0.0, second / population - mean**2) * (n_kish / (n_kish - 1) if n_kish > 1 else 0.0)
    return StratumWeek(count, population, n_kish, mean, mean * (1 - mean), variance, error)


def _sizes(strata: Sequence[StratumWeek], dispersion: float) -> list[float]:
    """The effective size of each stratum of a task type.

    The ratio of the scores' variance to m(1 − m), 1 where they are 0 or 1 and less where they are graded, belongs to
    the scorer and is learned from all strata together: a stratum whose few scored runs all passed knows no variance.
    """
    varied = [stratum for stratum in strata if stratum.n_kish > 1 + 1e-9 and stratum.spread > 1e-9]
    found = sum(stratum.population**2 * stratum.error * stratum.variance for stratum in varied)
    full = sum(stratum.population**2 * stratum.error * stratum.spread for stratum in varied)
    n = sum(stratum.n_kish for stratum in varied)
    ratio = min(_MOST_RATIO, found / full) if varied else 1.0
    shrunk = (n * ratio + _PSEUDO) / (n + _PSEUDO)
    return [1 / (stratum.error * shrunk * max(1.0, dispersion)) for stratum in strata]


def _stratified(parts: Sequence[_Part], mean: float, n_eff: float, level: float) -> tuple[float, float]:
    """Wilson's interval of a weighted sum of means: their own intervals, at a level at which they add up to the wanted.

    A variance m(1 − m) would be nought where a stratum's few runs all passed, however much of the population it is;
    here each stratum keeps the width that its size leaves it. One stratum alone gives `interval`, whose widening for
    rare events fades as more strata share the decision.

    Source: Yan & Su 2010, Stratified Wilson and Newcombe confidence intervals; Laplace's rule for the variances.
    """
    errors = []
    for part in parts:
        level_mean = (part.n_eff * part.mean + 1) / (part.n_eff + 2)
        errors.append(part.share * math.sqrt(level_mean * (1 - level_mean) / part.n_eff))
    concentration = sum(error**2 for error in errors) / sum(errors) ** 2
    quantile = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(concentration)
    limits = [_wilson(part.mean, part.n_eff, quantile) for part in parts]
    low = sum(part.share * limit for part, (limit, _) in zip(parts, limits, strict=True))
    high = sum(part.share * limit for part, (_, limit) in zip(parts, limits, strict=True))
    low += concentration * min(0.0, _rare(mean, n_eff, level) - low)
    high += concentration * max(0.0, 1 - _rare(1 - mean, n_eff, level) - high)
    return min(mean, max(0.0, low)), max(mean, min(1.0, high))


def _wilson(mean: float, n_eff: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval at a quantile of the normal distribution."""
    z2_n = quantile**2 / n_eff
    centre = (mean + z2_n / 2) / (1 + z2_n)
    half = math.sqrt(z2_n * (mean * (1 - mean) + z2_n / 4)) / (1 + z2_n)
    return min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half))


def _rare(mean: float, n_eff: float, level: float) -> float:
    """The lower limit of a rare event's rate: a count's, narrower by the root of 1 − mean where it is not rare."""
    count = mean * n_eff
    if count <= 0:
        return 0.0
    root = 1 - 1 / (9 * count) - NormalDist().inv_cdf(level) * math.sqrt((1 - mean) / count) / 3
    return mean * max(0.0, root) ** 3


def _calendar(nights: Collection[date]) -> tuple[date, ...]:
    """Every night from the first to the last; empty for none."""
    if not nights:
        return ()
    first = min(nights)
    return tuple(first + timedelta(days=day) for day in range((max(nights) - first).days + 1))


def _tabulate(cells: Sequence[Cell], days: Sequence[date]) -> _Table | None:
    """The sums of the nights by stratum; None when nothing was scored."""
    column = {day: index for index, day in enumerate(days)}
    known = sorted({(cell.task_type, cell.flagged) for cell in cells if cell.scored > 0 and cell.night in column})
    if not known:
        return None
    row = {key: index * len(days) for index, key in enumerate(known)}
    kept = [cell for cell in cells if (cell.task_type, cell.flagged) in row and cell.night in column]
    place = [row[cell.task_type, cell.flagged] + column[cell.night] for cell in kept]
    sums = np.array([(cell.population, cell.scored, cell.s, cell.ss) for cell in kept], dtype=np.float64)
    size = len(known) * len(days)
    runs, n, s, ss = np.array([np.bincount(place, each, size) for each in sums.T]).reshape(4, len(known), len(days))
    return _Table(np.array([task for task, _ in known]), np.maximum(runs, n), n, s, ss)


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
        wanted = np.array([shares.get(str(task), 0.0) for task in table.tasks])
        of_task = (table.tasks[:, None] == table.tasks[None, :]).astype(float) @ table.runs
        within = _ratio(table.runs, of_task)
        if (of_task == 0).any():
            within = np.where(of_task > 0, within, _usual(table.runs, of_task))
        target = wanted[:, None] * within
    return _ratio(target, target.sum(axis=0))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Above / below, and 0 where below is 0; below may have the last axes of above only."""
    ratio: Floats = np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
    return ratio


def _informative(table: _Table, target: Floats) -> Floats:
    """The size of each night: Kish's, held near the usual ratio to the night's traffic (see `nightly`)."""
    per_run = _ratio(target, table.n)
    kish = _ratio((per_run * table.n).sum(axis=0) ** 2, (per_run**2 * table.n).sum(axis=0))
    traffic = np.where(target > 0, table.runs, 0.0).sum(axis=0)
    ratio = _ratio(kish, traffic)
    n: Floats = np.where(ratio > 0, np.minimum(kish, _MOST_OF_USUAL * _trailing_median(ratio) * traffic), kish)
    return n


def _trailing_median(values: Floats) -> Floats:
    """At each place the median of those above 0 among it and the six before; only meant where it is above 0 itself."""
    padded = np.concatenate((np.full(_WEEK - 1, np.inf), np.where(values > 0, values, np.inf)))
    place = np.arange(len(values))
    weeks = np.sort(padded[place[:, None] + np.arange(_WEEK)], axis=1)
    last = np.maximum((weeks < np.inf).sum(axis=1) - 1, 0)
    median: Floats = (weeks[place, last // 2] + weeks[place, (last + 1) // 2]) / 2
    return np.where(values > 0, median, 0.0)


def _means(table: _Table, target: Floats) -> Floats:
    """Means of strata by night, and of their squares, with the usual ones where a stratum that counts was not scored.

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
    """What is usual before each night: the ratio of exponentially forgetting sums over the nights with weight.

    Where no night before has weight, that of the nights after. Every row has weight somewhere.
    """
    usual = _forgetting(sums, weights)
    unknown = np.isnan(usual)
    if not unknown.any():
        return usual
    return np.where(unknown, _forgetting(sums[..., ::-1], weights[..., ::-1])[..., ::-1], usual)


def _forgetting(sums: Floats, weights: Floats) -> Floats:
    """The ratio of the sums over earlier columns, each forgotten a little at every later one; NaN where none.

    Instead of fading the past, every column counts more than those before it; the ratio is the same.
    """
    growth = (1 - 1 / _MEMORY_NIGHTS) ** -np.cumsum(weights > 0, axis=-1, dtype=np.float64)
    above, below = np.cumsum(sums * growth, axis=-1), np.cumsum(weights * growth, axis=-1)
    ratio = np.full(sums.shape, np.nan)
    np.divide(above[..., :-1], below[..., :-1], out=ratio[..., 1:], where=below[..., :-1] > 0)
    return ratio
