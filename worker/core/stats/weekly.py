"""Weekly means of the population with confidence intervals, from samples drawn with unequal probabilities."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from statistics import NormalDist
from typing import NamedTuple

from worker.core.stats.intervals import _rare, _wilson
from worker.records import Cell, Estimate

_PSEUDO = 2.0
"""Pseudo-observations that shrink a variance toward m(1 − m) (METHODS §2)."""
_LEAST_UNSAMPLED = 0.01
"""Least unsampled share in the finite population correction: n_eff is at most 100 n, and no interval has width 0."""
_MOST_RATIO = 2.0
"""Largest ratio of the scores' variance to m(1 − m); with few runs of unequal weight the estimate is unreliable."""
_EMPTY = Estimate(None, None, None, 0, 0.0)


class StratumWeek(NamedTuple):
    """One week of one stratum (task type and flag)."""

    n: int
    """Scored runs."""
    population: float
    """Runs it represents, those of collapsed strata included."""
    n_kish: float
    """Kish's effective size of the weights."""
    mean: float
    spread: float
    """m(1 − m): the largest possible variance of scores 0..1."""
    variance: float
    """Variance of single scores, on n_kish − 1 degrees of freedom; 0 without degrees of freedom."""
    error: float
    """Variance of the mean per unit variance of a score."""


def weekly(
    cells: Iterable[Cell],
    *,
    shares: Mapping[str, float] | None = None,
    dispersion: float = 1.0,
    level: float = 0.95,
    keep: Callable[[Cell], bool] | None = None,
) -> Estimate:
    """Mean score of a week's population, or of a part of it, with a quasi-Wilson interval.

    Hájek mean with weights N/n of each night's stratum. A night's stratum without a scored run is represented by the
    other nights of the same stratum, a stratum without any by the rest of its task type; a task type without any is
    left out. The interval is about the runs that ended that week (finite population): Wilson's, stratified by task type
    and flag, each at an effective size that includes the weights, the finite population and the variance of graded
    scores relative to m(1 − m), shrunk toward it. So a stratum whose few scored runs all passed keeps a width. It
    assumes that unscored runs of a stratum are like the scored ones: show the coverage beside it.

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
    """As `weekly`, from strata that are summed already, since several lines of a week share them.

    Args:
        by_task: The week's strata, of all task types or of some, as `week_strata` gives them.
        shares: As in `weekly`.
        dispersion: As in `weekly`.
        level: As in `weekly`.
    """
    task_weights = {
        task: sum(stratum.population for stratum in strata) if shares is None else shares.get(task, 0.0)
        for task, strata in by_task.items()
    }
    total = sum(task_weights.values())
    parts = [
        _Part(
            task_weights[task] / total * stratum.population / sum(other.population for other in strata),
            stratum.mean,
            size,
        )
        for task, strata in by_task.items()
        if task_weights[task] > 0
        for stratum, size in zip(strata, _sizes(strata, dispersion), strict=True)
    ]
    if not parts:
        return _EMPTY
    mean = min(1.0, max(0.0, sum(part.share * part.mean for part in parts)))
    n_eff = 1 / sum(part.share**2 / part.n_eff for part in parts)
    low, high = _stratified(parts, mean, n_eff, level)
    scored = sum(stratum.n for task, strata in by_task.items() if task_weights[task] > 0 for stratum in strata)
    return Estimate(mean, low, high, scored, n_eff)


class _Part(NamedTuple):
    """The contribution of a stratum to the mean of the week."""

    share: float
    mean: float
    n_eff: float


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
        strata = [_stratum(part, population[flagged] * grown) for flagged, part in usable.items() if part]
        if strata:
            by_task[task] = strata
    return by_task


def _weight(
    runs: Mapping[tuple[str, bool, date], int], scored: Mapping[tuple[str, bool, date], int], cell: Cell
) -> float:
    """How many runs of its stratum and night a scored run represents, at least 1."""
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
        # prediction error: (w − 1)·y for scored runs, y for the others, about a common mean (Valliant et al. 2000, §2)
        error += (calibrated - 1) ** 2 * cell.scored
    error = max(error + population - count, _LEAST_UNSAMPLED * squares) / population**2
    n_kish = population**2 / squares
    mean = min(1.0, max(0.0, first / population))
    variance = max(0.0, second / population - mean**2) * (n_kish / (n_kish - 1) if n_kish > 1 else 0.0)
    return StratumWeek(count, population, n_kish, mean, mean * (1 - mean), variance, error)


def _sizes(strata: Sequence[StratumWeek], dispersion: float) -> list[float]:
    """The effective size of each stratum of a task type.

    The ratio of the scores' variance to m(1 − m) (1 for scores of 0 and 1, less for graded scores) is a property of the
    scorer. It is estimated from all strata together, since a stratum whose few scored runs all passed has no variance.
    """
    varied = [stratum for stratum in strata if stratum.n_kish > 1 + 1e-9 and stratum.spread > 1e-9]
    observed = sum(stratum.population**2 * stratum.error * stratum.variance for stratum in varied)
    full = sum(stratum.population**2 * stratum.error * stratum.spread for stratum in varied)
    n = sum(stratum.n_kish for stratum in varied)
    ratio = min(_MOST_RATIO, observed / full) if varied else 1.0
    shrunk = (n * ratio + _PSEUDO) / (n + _PSEUDO)
    return [1 / (stratum.error * shrunk * max(1.0, dispersion)) for stratum in strata]


def _stratified(parts: Sequence[_Part], mean: float, n_eff: float, level: float) -> tuple[float, float]:
    """Wilson's interval of a weighted sum of means: the strata's own intervals, at a level that gives the wanted one.

    With the variance m(1 − m) a stratum whose few runs all passed would have width 0, however large its population;
    here each stratum keeps the width of its size. One stratum alone gives `interval`, whose widening for rare events
    shrinks as more strata contribute.

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
