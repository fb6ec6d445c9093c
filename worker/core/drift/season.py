"""The time of day taken out of an hourly series, so that the busy afternoon does not look like a change."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_DAY = 24
_LEAST = 0.25
"""No hour's usual rate counts as less than a quarter of the mean: few runs cannot tell."""


def profile(n: ArrayLike, s: ArrayLike, hour_of_day: ArrayLike) -> Floats:
    """The usual rate of each hour of the day, relative to the mean of the day.

    Two harmonics (a day's wave and a half day's) fitted by weighted least squares, each drawn toward none by what
    chance alone would have made of it: with few failures nothing is taken out.

    Args:
        n: Runs of each hour, >= 0, shape (hours,).
        s: Runs that were so, shape (hours,); for graded scores their sum.
        hour_of_day: 0..23 of each, shape (hours,).

    Returns:
        24 factors, >= 0.25, about 1 on the average; all 1.0 without runs or without a single failure.

    Example:
        >>> hours = np.arange(24 * 28) % 24
        >>> rate = 0.1 * (1 + 0.5 * np.sin(hours / 24 * 2 * np.pi))
        >>> np.round(profile(np.full(672, 100.0), 100 * rate, hours)[[0, 6, 18]], 1).tolist()
        [1.0, 1.5, 0.5]

    Source: harmonic regression; the drawing is James & Stein's.
    """
    hours = np.asarray(hour_of_day, np.int64)
    runs = np.bincount(hours, np.asarray(n, np.float64), minlength=_DAY)
    so = np.bincount(hours, np.asarray(s, np.float64), minlength=_DAY)
    total, count = float(so.sum()), float(runs.sum())
    if not total > 0 or not count > 0:
        return np.ones(_DAY)
    mean = total / count
    angle = np.arange(_DAY) / _DAY * 2 * np.pi
    columns = np.stack([np.ones(_DAY), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    root = np.sqrt(runs)
    relative = np.divide(so, runs * mean, out=np.ones(_DAY), where=runs > 0)
    fitted = np.linalg.lstsq(columns * root[:, None], relative * root, rcond=None)[0]
    by_chance = 4 * max(1 - mean, 0.0) / total
    waves = np.ones(_DAY)
    for first in (1, 3):
        pair = fitted[first : first + 2]
        size = float(pair @ pair)
        if size > by_chance:
            waves = waves + (1 - by_chance / size) * (columns[:, first : first + 2] @ pair)
    factors: Floats = np.maximum(waves, _LEAST)
    return factors


def exposure(n: ArrayLike, s: ArrayLike, hour_of_day: ArrayLike, factors: Floats) -> Floats:
    """The runs of each hour as so many runs of a usual hour, among which as many would be so; see `profile`.

    The runs are scaled, not what is counted among them: one failure in a quiet hour must stay one failure, or it
    would count for several, and the scan would alarm on single events.

    Args:
        n: Runs of each hour, >= 0, shape (hours,).
        s: Runs that were so, shape (hours,).
        hour_of_day: 0..23 of each.
        factors: As `profile` gives them.

    Returns:
        Shape (hours,); never below `s`.
    """
    scaled: Floats = np.asarray(n, np.float64) * factors[np.asarray(hour_of_day, np.int64)]
    return np.maximum(scaled, np.asarray(s, np.float64))
