"""Confidence intervals of a proportion that keep their coverage at small n."""

import math
from statistics import NormalDist


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
    """Wilson's interval, widened toward 0 or 1 where only a few runs failed or only a few passed.

    For rare events Wilson's 95 % interval covers too seldom: .85 at n = 5 and a rate of .03, .91 at n = 20. There the
    limit nearer to 0 or 1 is that of a Poisson count with the whole error on one side. From a count of about four on
    that limit lies inside Wilson's interval and changes nothing.

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


def _wilson(mean: float, n_eff: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval at a quantile of the normal distribution."""
    z2_n = quantile**2 / n_eff
    centre = (mean + z2_n / 2) / (1 + z2_n)
    half = math.sqrt(z2_n * (mean * (1 - mean) + z2_n / 4)) / (1 + z2_n)
    return min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half))


def _rare(mean: float, n_eff: float, level: float) -> float:
    """The lower limit of a rare event's rate: that of a Poisson count, scaled by the root of 1 − mean."""
    count = mean * n_eff
    if count <= 0:
        return 0.0
    root = 1 - 1 / (9 * count) - NormalDist().inv_cdf(level) * math.sqrt((1 - mean) / count) / 3
    return mean * max(0.0, root) ** 3
