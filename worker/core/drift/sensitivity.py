"""The smallest drop that the drift scan would have found in a stream: how much "nothing changed" means."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.core.drift import scan

DROP_NIGHTS = 7
"""Nights that the drop is assumed to have lasted."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScannedStream:
    """A stream as the drift scan sees it."""

    n: Floats
    s: Floats
    ss: Floats
    streams: float
    """As in `core.drift.scan`: 1 / the stream's share of the false alarms."""
    false_alarms_per_year: float


def smallest_drop(watched: ScannedStream, nights: int = DROP_NIGHTS) -> float | None:
    """The smallest additional share of failed runs in the last nights that would have given a finding.

    It is not a formula: the scan itself runs over the stored nights, with more failures in the last of them.

    Args:
        watched: A stream without a finding.
        nights: How many of the last nights are changed.

    Returns:
        A whole number of points as a share 0.01..1; None where the stream is too young, has no score in those nights,
        or would show no drop at all.

    Example:
        >>> n = np.full(60, 50.0)
        >>> s = 43.0 + np.arange(60) % 3 - 1
        >>> smallest_drop(ScannedStream(n, s, s, 1.0, 1.0))
        0.08
    """
    if not watched.n[-nights:].any():
        return None
    highest = int(100 * min(1.0, float(watched.s[-nights:].sum()) / float(watched.n[-nights:].sum())))
    if highest < 1 or not _is_found(watched, nights, highest / 100):
        return None
    low, high = 0, highest
    while high - low > 1:
        middle = (low + high) // 2
        if _is_found(watched, nights, middle / 100):
            high = middle
        else:
            low = middle
    return high / 100


def _is_found(watched: ScannedStream, nights: int, drop: float) -> bool:
    passed = float(watched.s[-nights:].sum())
    kept = np.ones(len(watched.n))
    kept[-nights:] = max(
        0.0, 1 - drop * float(watched.n[-nights:].sum()) / passed
    )  # each passed run fails with this probability
    s, ss = watched.s * kept, watched.ss * kept
    finding = scan.scan(
        watched.n, s, ss, streams=watched.streams, false_alarms_per_year=watched.false_alarms_per_year, direction="down"
    )
    return finding is not None
