"""Removing the time-of-day pattern from an hourly series, so that a regular afternoon peak is not found as a change."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_DAY = 24
_LEAST = 0.25
"""Least factor of an hour: with few runs a lower one cannot be estimated."""


def profile(n: ArrayLike, s: ArrayLike, hour_of_day: ArrayLike) -> Floats:
    """The usual rate of each hour of the day, relative to the mean of the day.

    Two harmonics (periods of a day and half a day) are fitted by weighted least squares. Each is shrunk toward zero by
    the size it would have by chance alone, so with few failures nothing is removed.

    Args:
        n: Runs of each hour, >= 0, shape (hours,).
        s: Runs with the property (for example errored), shape (hours,); for graded scores their sum.
        hour_of_day: 0..23 of each, shape (hours,).

    Returns:
        24 factors, >= 0.25, about 1 on the average; all 1.0 without runs or without a single failure.

    Example:
        >>> hours = np.arange(24 * 28) % 24
        >>> rate = 0.1 * (1 + 0.5 * np.sin(hours / 24 * 2 * np.pi))
        >>> np.round(profile(np.full(672, 100.0), 100 * rate, hours)[[0, 6, 18]], 1).tolist()
        [1.0, 1.5, 0.5]

    Source: harmonic regression; the shrinkage is James & Stein's.
    """
    hours = np.asarray(hour_of_day, np.int64)
    runs = np.bincount(hours, np.asarray(n, np.float64), minlength=_DAY)
    hits = np.bincount(hours, np.asarray(s, np.float64), minlength=_DAY)
    total, count = float(hits.sum()), float(runs.sum())
    if not total > 0 or not count > 0:
        return np.ones(_DAY)
    mean = total / count
    angle = np.arange(_DAY) / _DAY * 2 * np.pi
    columns = np.stack([np.ones(_DAY), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    root = np.sqrt(runs)
    relative = np.divide(hits, runs * mean, out=np.ones(_DAY), where=runs > 0)
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
    """The runs of each hour times the hour's factor of `profile`, so that all hours have the same expected rate.

    The number of runs is scaled, not the failures among them: one failure in a quiet hour must stay one failure, or
    the scan would alarm on single events.

    Args:
        n: Runs of each hour, >= 0, shape (hours,).
        s: Runs with the property, shape (hours,).
        hour_of_day: 0..23 of each.
        factors: As `profile` gives them.

    Returns:
        Shape (hours,); never below `s`.
    """
    scaled: Floats = np.asarray(n, np.float64) * factors[np.asarray(hour_of_day, np.int64)]
    return np.maximum(scaled, np.asarray(s, np.float64))
