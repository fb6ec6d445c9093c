"""Drift: has the level of a stream changed beyond chance, since when, and how rarely chance alone shows as much."""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.core.drift.thresholds import LEARN_NIGHTS, USABLE_NIGHTS

Floats = NDArray[np.float64]
Direction = Literal["down", "up"]


class Grid(NamedTuple):
    """What the scan looks at, in steps of a night or of an hour, and how often chance alarms there."""

    windows: NDArray[np.int64]
    """Steps looked at, ascending."""
    learn: int
    """A reference shorter than this judges nothing."""
    first_reference: int
    """The reference grows to this many steps before it starts to keep its distance."""
    lag: int
    """The latest steps never belong to the reference, so that a slow decay is not learned as normal."""
    reference: int
    """Longest reference."""
    reach: int
    """How far back a reference may begin, counted from the newest step."""
    usable: int
    """Steps with scores below which no dispersion can be told."""
    even_window: int
    """The window whose statistic is taken as it is; shorter ones must show more, longer ones less."""
    rate_log: float
    """False alarms a stream-year are exp(rate_log - 0.482 z²), fitted to simulated null years."""


NIGHTS = Grid(
    # neighbours overlap so much that 19 cost hardly more false alarms than 6, and they miss less
    windows=np.array([1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 21, 24, 28, 35, 42, 49, 56]),
    learn=LEARN_NIGHTS,
    first_reference=28,
    lag=28,
    reference=112,
    reach=182,
    usable=USABLE_NIGHTS,
    even_window=7,
    rate_log=3.9,
)
"""METHODS §3, bench/drift/README.md."""
HOURS = Grid(
    windows=np.array([1, 2, 3, 4, 6, 8, 12, 18, 24]),
    learn=14 * 24,
    first_reference=14 * 24,
    lag=48,
    reference=28 * 24,
    reach=30 * 24,
    usable=7 * 24 // 4,
    even_window=6,
    rate_log=8.5,
)
"""For rates that must not wait for the night to be over; two weeks are learned before anything is judged.

Fitted to half-year null streams with the time of day taken out (`core.season`), 40 to 2,000 runs a day, clustered or
not: bench/drift/hours.py. The clustered ones decide; plain ones alarm a quarter as often.
"""

VARIANCE_FLOOR = 1e-4
"""Variance of a single score below which a stream of equal scores would take any novelty for a change."""
THRESHOLD_FLOOR = 3.05
"""No finding below this, however many false alarms were allowed: the extrapolation of `threshold` ends here."""
RATE_SLOPE = 0.482
TINY = 1e-12
MIN_PER_YEAR, MAX_PER_YEAR = 1 / 50, 364.0
"""Chances a year are not said rarer than once in 50 years, nor oftener than every night."""


class Finding(NamedTuple):
    """A change of level beyond chance."""

    direction: Direction
    before: float
    """Mean of the reference, 0..1."""
    after: float
    """Mean of the window, 0..1."""
    window_nights: int
    scored: float
    """Effective number of scores in the window."""
    z: float
    """Signed-root statistic, on the scale of `threshold` and `chance_per_year`."""
    chance_per_year: float
    """How often chance alone shows this, for the whole project; at least 1/50."""
    since: int
    """Index of the first night of the window."""


def threshold(streams: float = 1.0, false_alarms_per_year: float = 1.0, grid: Grid = NIGHTS) -> float:
    """The z a finding must exceed so that all streams together keep within the false alarms allowed.

    Args:
        streams: Streams scanned in this direction, >= 1, that share the false alarms equally; where they do not, one
            over this stream's share.
        false_alarms_per_year: False alarms allowed a year for all of them together, > 0; 0 or less allows none.
        grid: Nights or hours.

    Returns:
        z, at least 3.05; infinite when no false alarm is allowed.

    Example:
        >>> round(threshold(8), 2), round(threshold(40, 2), 2)
        (3.52, 3.78)

    Source: METHODS §3; the simulated rates stand in bench/drift/README.md.
    """
    if false_alarms_per_year <= 0:
        return math.inf
    exponent = grid.rate_log + math.log(max(streams, 1) / false_alarms_per_year)
    return max(THRESHOLD_FLOOR, math.sqrt(max(exponent, 0.0) / RATE_SLOPE))


def chance_per_year(z: float, streams: float = 1.0, grid: Grid = NIGHTS) -> float:
    """How many times a year chance alone shows a z this high somewhere in the project.

    Args:
        z: The statistic of a finding; below 0 counts as 0.
        streams: As in `threshold`.
        grid: Nights or hours.

    Returns:
        Times a year, 1/50..364: rarer than once in 50 years would be extrapolation.

    Example:
        >>> round(chance_per_year(3.5), 3), chance_per_year(9.0), round(chance_per_year(3.5, streams=8), 2)
        (0.135, 0.02, 1.08)

    Source: METHODS §3.
    """
    once = math.exp(grid.rate_log - RATE_SLOPE * min(max(z, 0.0), 20.0) ** 2)
    return min(max(max(streams, 1) * once, MIN_PER_YEAR), MAX_PER_YEAR)


def reference_span(steps: int, window: int, reference_start: int = 0, grid: Grid = NIGHTS) -> tuple[int, int]:
    """Which steps a window that ends with the newest is compared with.

    Args:
        steps: Length of the series.
        window: Of the finding.
        reference_start: As in `scan`.
        grid: Nights or hours.

    Returns:
        First and one past the last index, as `scan` takes them where the series has scores from its start on.

    Example:
        >>> reference_span(100, 7), reference_span(40, 7)
        ((0, 72), (0, 28))
    """
    skipped = max(reference_start, steps - grid.reach, 0)
    end = min(steps - skipped - window, max(grid.first_reference, steps - skipped - grid.lag))
    return skipped + max(end - grid.reference, 0), skipped + max(end, 0)


def dispersion(n: ArrayLike, s: ArrayLike, ss: ArrayLike | None = None) -> float:
    """How much more the nights differ from one another than independent scores would make them.

    Clusters (runs of one customer) and seasons (weekends) raise it; every standard error grows by its root. The
    nightly dispersion is raised by half its own relative standard error, since too low a value costs false alarms.

    Args:
        n: Effective scores of each night, >= 0, shape (nights,).
        s: n × mean score of each night, shape (nights,); ignored where n = 0.
        ss: n × mean squared score, shape (nights,): nights are compared with the scores' own variance. None compares
            them with that of pass/fail scores, m(1 - m).

    Returns:
        A factor on the variance, >= 1; 1.0 with fewer than 7 nights that have scores, or when all scores are equal.

    Example:
        >>> round(dispersion([10.0] * 8, [10.0, 6.0] * 4), 2)
        3.62

    Source: Cochran 1954 (variance test for binomial samples); the raise: METHODS §3.
    """
    n_, s_, ss_ = (np.asarray(x, np.float64) for x in (n, s, s if ss is None else ss))
    n_, s_, ss_ = _from_first_score(n_, s_, ss_)
    kept = float(np.count_nonzero(n_))
    if kept < NIGHTS.usable:
        return 1.0
    count, total, squares, between, _ = _running(n_, s_, ss_)[:, -1:]
    mean = total / count
    variance = np.maximum(squares / count - mean * mean, VARIANCE_FLOOR)
    return float(_raised(between - total * mean, variance, np.array([kept - 1]))[0])


def scan(
    n: ArrayLike,
    s: ArrayLike,
    ss: ArrayLike,
    *,
    start: int = 0,
    streams: float = 1.0,
    false_alarms_per_year: float = 1.0,
    direction: Direction = "down",
    reference_start: int = 0,
    grid: Grid = NIGHTS,
) -> Finding | None:
    """Compare the latest nights, in windows of 1 to 56, with the past of the same stream.

    The statistic of a window is the signed root of the binomial likelihood ratio of window and reference, divided by
    the variance of the scores relative to pass/fail scores (below 1 for graded scores) and by the `dispersion` of the
    reference's nights. Two calibrations make one threshold serve all windows and all ages of a stream:

    - A short window has many independent looks a year, a long one few. ln(w/7) is added to z², so that each length
      spends a fair share of the false alarms; without it windows of 1 to 3 nights spend 58 % of them (27 % with it),
      and small lasting changes pay for that.
    - The dispersion is itself estimated from the nights of the reference. z² = ν·ln(1 + L/ν), ν their number less
      one, is the likelihood ratio with an unknown scale; without it a young stream alarms three times as often.

    The weakness: the reference follows, so a slow decay is seen late (half a point a week after some 7 weeks at 50
    scores a night), and a weekly pattern counts as dispersion, which costs power in streams that have one.

    Args:
        n: Effective (Kish) number of scores of each night, oldest first, >= 0, shape (nights,); 0 for a gap.
        s: n × mean score, scores 0..1, shape (nights,); ignored where n = 0.
        ss: n × mean of the squared scores, shape (nights,); ignored where n = 0.
        start: Index of the first night a window may contain: the first after a mute.
        streams: As in `threshold`: streams of the project that share the false alarms.
        false_alarms_per_year: False alarms allowed a year for the whole project, > 0.
        direction: `down` finds drops; `up` finds rises (errors, cost), as the drop of 1 - score.
        reference_start: Index of the first night fit for the reference: the first of a level a person accepted.
        grid: Whether the series are of nights or of hours.

    Returns:
        The finding of the window with the highest z, or None: nothing beyond the threshold, no night at all, or a
        reference of fewer than 14 nights or fewer than 7 with scores.

    Example:
        >>> nights, n = np.arange(60), np.full(60, 50.0)
        >>> passed = np.where(nights < 57, 43.0, 35.0) + nights % 3 - 1
        >>> found = scan(n, passed, passed)
        >>> found.window_nights, found.since, round(found.before, 2), round(found.after, 2), round(found.z, 1)
        (3, 57, 0.86, 0.7, 4.0)

    Source: METHODS §3. Scale calibration: Dümbgen & Spokoiny 2001. Unknown scale: Wallace 1959.
    """
    n_, s_, ss_ = (np.asarray(x, np.float64) for x in (n, s, ss))
    nights = len(n_)
    skipped = max(reference_start, nights - grid.reach, 0)
    n_, s_, ss_ = _from_first_score(n_[skipped:], s_[skipped:], ss_[skipped:])
    skipped = nights - len(n_)
    windows = grid.windows[: grid.windows.searchsorted(nights - max(start, skipped + grid.learn), side="right")]
    if not len(windows):
        return None
    if direction == "up":
        s_, ss_ = n_ - s_, n_ - 2 * s_ + ss_
    compared = _compare(_running(n_, s_, ss_), windows, grid)
    best = int(compared.square.argmax())
    z = math.sqrt(max(0.0, float(compared.square[best])))
    if z <= threshold(streams, false_alarms_per_year, grid):
        return None
    before, after = (min(max(float(mean[best]), 0.0), 1.0) for mean in (compared.before, compared.after))
    if direction == "up":
        before, after = 1 - before, 1 - after
    window = int(windows[best])
    return Finding(
        direction=direction,
        before=before,
        after=after,
        window_nights=window,
        scored=float(compared.scored[best]),
        z=z,
        chance_per_year=chance_per_year(z, streams, grid),
        since=nights - window,
    )


class _Compared(NamedTuple):
    """Windows against their references, each of shape (windows,)."""

    square: Floats
    before: Floats
    after: Floats
    scored: Floats


def _from_first_score(n: Floats, s: Floats, ss: Floats) -> tuple[Floats, Floats, Floats]:
    """The nights from the first with scores on; one without (n = 0, negative or not a number) is all zeros."""
    kept = n > 0
    if kept.all():
        return n, s, ss
    first = int(kept.argmax()) if kept.any() else len(n)
    n, s, ss = np.where(kept, (n, s, ss), 0.0)[:, first:]
    return n, s, ss


def _running(n: Floats, s: Floats, ss: Floats) -> Floats:
    """Running sums of n, s, ss, s²/n and of the nights with scores, shape (5, nights + 1), beginning with 0."""
    sums = np.zeros((5, len(n) + 1))
    nightly = sums[:, 1:]
    nightly[0], nightly[1], nightly[2], nightly[3], nightly[4] = n, s, ss, s * s / np.maximum(n, TINY), n > 0
    np.add.accumulate(sums, axis=1, out=sums)
    return sums


def _raised(between: Floats, variance: Floats, freedom: Floats) -> Floats:
    """Dispersion of nights from their sum of squares, raised by half its relative standard error; at least 1."""
    raised: Floats = np.maximum(between / (variance * freedom) * (1 + np.sqrt(0.5 / freedom)), 1.0)
    return raised


def _compare(sums: Floats, windows: NDArray[np.int64], grid: Grid) -> _Compared:
    """Squared z of each window that ends with the newest night; 0 where none can be told or it is not below."""
    nights = sums.shape[1] - 1
    begin = nights - windows
    end = np.minimum(begin, max(grid.first_reference, nights - grid.lag))
    window = sums[:, -1:] - sums.take(begin, axis=1)
    reference = sums.take(end, axis=1) - sums.take(np.maximum(end - grid.reference, 0), axis=1)
    n, s, ss, between, kept = np.array((window, reference, window + reference)).swapaxes(0, 1)
    n = np.maximum(n, TINY)
    mean = s / n
    variance = np.maximum(ss / n - mean * mean, VARIANCE_FLOOR)
    share = np.minimum(np.maximum(mean, TINY), 1 - TINY)
    likelihood = s * np.log(share) + (n - s) * np.log1p(-share)
    freedom = np.maximum(kept[1] - 1, 1.0)
    # The variance of window and reference together: with pass/fail scores it is pooled·(1 - pooled) exactly, even when
    # the reference had not one failure; the reference alone would then take the first failure for a change.
    pooled = share[2]
    scale = variance[2] * _raised(between[1] - s[1] * mean[1], variance[1], freedom) / (pooled * (1 - pooled))
    ratio = 2 * (likelihood[0] + likelihood[1] - likelihood[2]) / scale
    square = freedom * np.log1p(ratio / freedom) + np.log(np.maximum(kept[0], 1.0) / grid.even_window)
    below = (mean[0] < mean[1]) & (kept[0] > 0) & (kept[1] >= grid.usable)
    return _Compared(square * below, mean[1], mean[0], window[0])
