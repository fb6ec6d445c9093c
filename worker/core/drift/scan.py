"""The drift scan: whether the level of a stream has changed beyond chance, since when, and how rare that is."""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.core.drift.thresholds import LEARN_NIGHTS, USABLE_NIGHTS

Floats = NDArray[np.float64]
Direction = Literal["down", "up"]


class Grid(NamedTuple):
    """The constants of the scan for steps of a night or of an hour, and its fitted false-alarm rate."""

    windows: NDArray[np.int64]
    """Window lengths tested, in steps, ascending."""
    learn: int
    """Least length of a reference, in steps; with less nothing is tested."""
    first_reference: int
    """The reference first grows to this many steps; only then the `lag` applies."""
    lag: int
    """The newest steps do not belong to the reference, so that a slow decay is not learned as normal."""
    reference: int
    """Greatest length of the reference, in steps."""
    reach: int
    """How far back a reference may begin, counted from the newest step."""
    usable: int
    """Least number of steps with scores from which a dispersion is estimated."""
    even_window: int
    """The window length whose statistic is not adjusted; shorter windows must show more, longer ones less."""
    rate_log: float
    """False alarms a year and stream are exp(rate_log - 0.482 z²), fitted to simulated years without change."""


NIGHTS = Grid(
    # neighbouring windows overlap so much that 19 cause hardly more false alarms than 6, and they detect more
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
"""For rates that cannot wait until the night is over; nothing is tested in the first two weeks.

Fitted to half years without change, with the time of day removed (`core.drift.season`), 40 to 2,000 runs a day,
clustered or not: bench/drift/hours.py. The fit follows the clustered ones; the others alarm a quarter as often.
"""

VARIANCE_FLOOR = 1e-4
"""Least variance of a single score: without it a stream of equal scores would take any other score for a change."""
THRESHOLD_FLOOR = 3.05
"""Least z of a finding, however many false alarms are allowed: below it the fit of `threshold` does not hold."""
RATE_SLOPE = 0.482
TINY = 1e-12
MIN_PER_YEAR, MAX_PER_YEAR = 1 / 50, 364.0
"""Bounds of a stated frequency by chance: once in 50 years (beyond that is extrapolation), and every night."""


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
    """How many times a year chance alone shows this in the whole project, 1/50 to 364."""
    since: int
    """Index of the first night of the window."""


def threshold(streams: float = 1.0, false_alarms_per_year: float = 1.0, grid: Grid = NIGHTS) -> float:
    """The z that a finding must exceed so that all streams together stay within the allowed false alarms.

    Args:
        streams: Streams scanned in this direction, >= 1, that share the false alarms equally; where shares differ, 1 /
            this stream's share.
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
        Times a year, 1/50..364; anything rarer than once in 50 years would be extrapolation.

    Example:
        >>> round(chance_per_year(3.5), 3), chance_per_year(9.0), round(chance_per_year(3.5, streams=8), 2)
        (0.135, 0.02, 1.08)

    Source: METHODS §3.
    """
    once = math.exp(grid.rate_log - RATE_SLOPE * min(max(z, 0.0), 20.0) ** 2)
    return min(max(max(streams, 1) * once, MIN_PER_YEAR), MAX_PER_YEAR)


def reference_span(steps: int, window: int, reference_start: int = 0, grid: Grid = NIGHTS) -> tuple[int, int]:
    """The reference of a window that ends with the newest step.

    Args:
        steps: Length of the series.
        window: Length of the window, in steps.
        reference_start: As in `scan`.
        grid: Nights or hours.

    Returns:
        First index and one past the last, as `scan` uses them for a series with scores from its start on.

    Example:
        >>> reference_span(100, 7), reference_span(40, 7)
        ((0, 72), (0, 28))
    """
    skipped = max(reference_start, steps - grid.reach, 0)
    end = min(steps - skipped - window, max(grid.first_reference, steps - skipped - grid.lag))
    return skipped + max(end - grid.reference, 0), skipped + max(end, 0)


def dispersion(n: ArrayLike, s: ArrayLike, ss: ArrayLike | None = None) -> float:
    """How much more the nights vary than they would with independent scores (the overdispersion).

    Clusters (runs of one customer) and seasons (weekends) raise it; standard errors grow by its square root. The
    estimate is raised by half its own relative standard error, since too low a value causes false alarms.

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
    """Compare the newest nights, in windows of 1 to 56 nights, with the past of the same stream.

    The statistic of a window is the signed root of the binomial likelihood ratio of window and reference, divided by
    the variance of the scores relative to pass/fail scores (below 1 for graded scores) and by the `dispersion` of the
    reference's nights. Two corrections allow one threshold for all windows and all ages of a stream:

    - A short window gives many independent tests a year, a long one few. ln(w/7) is added to z², so that each length
      causes a fair share of the false alarms; without it windows of 1 to 3 nights cause 58 % of them (27 % with it),
      at the expense of small lasting changes.
    - The dispersion is itself estimated from the nights of the reference. z² = ν·ln(1 + L/ν), ν their number less
      one, is the likelihood ratio with an unknown scale; without it a young stream alarms three times as often.

    Weaknesses: the reference moves along, so a slow decay is found late (half a point a week after about 7 weeks at 50
    scores a night); and a weekly pattern counts as dispersion, which costs power in streams that have one.

    Args:
        n: Effective (Kish) number of scores of each night, oldest first, >= 0, shape (nights,); 0 for a gap.
        s: n × mean score, scores 0..1, shape (nights,); ignored where n = 0.
        ss: n × mean of the squared scores, shape (nights,); ignored where n = 0.
        start: Index of the first night that a window may contain, for example the first after a mute.
        streams: As in `threshold`: streams of the project that share the false alarms.
        false_alarms_per_year: False alarms allowed a year for the whole project, > 0.
        direction: `down` finds drops; `up` finds rises (errors, cost), as the drop of 1 - score.
        reference_start: Index of the first night of the reference, for example the first of an accepted new level.
        grid: Nights or hours.

    Returns:
        The finding of the window with the highest z. None when no z exceeds the threshold, for an empty series, and for
        a reference of fewer than 14 nights or fewer than 7 with scores.

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
    """The series from its first night with scores on; nights without (n <= 0 or not a number) become zeros."""
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
    """Squared z of each window that ends with the newest night; 0 where it cannot be tested or is not a drop."""
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
    # the variance is that of window and reference together: for pass/fail scores exactly pooled·(1 - pooled). With the
    # reference's alone, a reference without a failure would take the first failure for a change.
    pooled = share[2]
    scale = variance[2] * _raised(between[1] - s[1] * mean[1], variance[1], freedom) / (pooled * (1 - pooled))
    ratio = 2 * (likelihood[0] + likelihood[1] - likelihood[2]) / scale
    square = freedom * np.log1p(ratio / freedom) + np.log(np.maximum(kept[0], 1.0) / grid.even_window)
    below = (mean[0] < mean[1]) & (kept[0] > 0) & (kept[1] >= grid.usable)
    return _Compared(square * below, mean[1], mean[0], window[0])
