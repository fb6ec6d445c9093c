"""Which runs are drawn: those whose hashed id is below their stratum's threshold; and the flags of suspicious runs.

Nothing is random: a draw can be repeated, retries agree, and raising a rate only adds runs.
"""

import hashlib
import itertools
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from worker.core.tool_failure import failure
from worker.records import Reference, Run, Why

if TYPE_CHECKING:  # scorers ask this module for a version, `status` builds scorers, and numpy takes 50 ms to import
    import numpy as np
    from numpy.typing import NDArray

KEY_UNIT = 2.0**-53
"""Sample keys are whole multiples of this, so it is the smallest useful threshold."""

_MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal variable per median absolute deviation (Hampel 1974)."""
_OUTLIER_SIGMAS = 5.0
_OUTLIER_RATIO = 2.0
"""A value below twice the median is never an outlier, however narrow the reference."""
_LEAST_LOG_MAD = 0.02
REFERENCE_VERSION = "1"
"""Part of the fingerprint of the heuristics that compare with a reference, where it is not the first. Raise it with
every change of how `reference` computes it or of which runs it is made (`pipeline.draw`)."""
_FEWEST_FOR_REFERENCE = 20
_REPEATS = 3
"""This many identical tool calls anywhere in a run are a repeat; two suffice when they follow one another."""


class Threshold(NamedTuple):
    """The threshold of a stratum: a run is drawn if `sample_key < value`."""

    value: float
    """Inclusion probability, 0 < value <= 1."""
    why: Why
    """`rate`, `floor` or `all`."""


def sample_key(run_id: str) -> float:
    """The number 0 <= key < 1 that decides whether a run is drawn, at any rate and for any scorer.

    It depends on the id only, so the same id from two sources has the same key.

    Args:
        run_id: Any text, lone surrogates included.

    Returns:
        A multiple of 2^-53, uniform over run ids.

    Example:
        >>> sample_key("run-1")
        0.7128868737866525

    Source: METHODS §1.
    """
    digest = hashlib.sha256(b"spotcheck:sample:v1\0" + run_id.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:7], "big") >> 3) * KEY_UNIT


def threshold(smallest: Sequence[float], population: int, rate: float, floor: int) -> Threshold:
    """The threshold of one stratum of one night: its rate, or higher where that would draw fewer than the floor.

    Bottom-k: with the (k+1)-th smallest key as threshold exactly k runs are drawn, and given the other runs' keys each
    was drawn with that probability. Where the k-th and the (k+1)-th key are equal (one run id from two sources) the
    next larger key given decides, or else the tie plus 2^-53, so that the floor holds; at least k are drawn.

    Args:
        smallest: Sample keys of the stratum, in any order: all of them, or at least the floor + 1 smallest.
        population: Runs in the stratum.
        rate: Wanted inclusion probability, 0..1; 0 draws only what the floor asks for.
        floor: Fewest runs to draw, k; 0 for none.

    Returns:
        The threshold and what decided it: `all` (1.0) when the population does not exceed the floor, `floor` when
        bottom-k did, else `rate`. Never 0: rate 0 with floor 0 gives 2^-53, which draws a run once in 9e15.

    Raises:
        ValueError: The rate is outside 0..1, the floor or the population is negative, or too few keys were given.

    Example:
        >>> threshold([0.1, 0.2, 0.4, 0.9], population=4, rate=0.05, floor=2)
        Threshold(value=0.4, why='floor')
        >>> threshold([0.1, 0.2], population=2, rate=0.05, floor=3)
        Threshold(value=1.0, why='all')

    Source: METHODS §1; Cohen & Kaplan 2007, Summarizing data using bottom-k sketches.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"A sampling rate is a probability, 0 to 1; got {rate!r}.")
    if floor < 0 or population < 0:
        raise ValueError(f"Floor and population cannot be negative; got {floor} and {population}.")
    least = max(rate, KEY_UNIT)
    if floor == 0:
        return Threshold(least, "rate")
    if population <= floor:
        return Threshold(1.0, "all")
    if len(smallest) <= floor:
        raise ValueError(f"A floor of {floor} needs the {floor + 1} smallest keys; got {len(smallest)}.")
    ordered = sorted(smallest)
    last = ordered[floor - 1]
    decisive = next((key for key in ordered[floor:] if key > last), None)
    if decisive is None:
        if len(ordered) >= population:
            return Threshold(1.0, "all")
        decisive = last + KEY_UNIT
    return Threshold(decisive, "floor") if decisive > least else Threshold(least, "rate")


def flags(run: Run, reference: Reference | None) -> tuple[str, ...]:
    """The facts that make a run suspicious before it is judged.

    Facts only, known when the run settles: `errored`, `aborted`, `incomplete` (its status), `tool_error` (a tool step
    failed), `repeated_call` (the same tool with the same arguments twice in a row, whatever else stands between the
    two tool calls, or three times in the run; calls whose arguments were not recorded are not compared),
    `cost_outlier` and `steps_outlier` (five robust standard deviations above the median on a log scale, and at least
    twice the median).

    Args:
        run: The settled run.
        reference: Medians of its task type; None, or None in a field, gives no outliers.

    Returns:
        The flags that hold, in the order above; empty for an ordinary run.

    Source: METHODS §1.
    """
    reference = reference or Reference()
    facts = {
        "errored": run.status == "errored",
        "aborted": run.status == "aborted",
        "incomplete": run.status == "incomplete",
        "tool_error": any(step.kind == "tool" and failure(step) is not None for step in run.steps),
        "repeated_call": _repeats_a_call(run),
        "cost_outlier": _is_outlier(run.cost_usd, reference.cost_usd, reference.cost_log_mad),
        "steps_outlier": _is_outlier(len(run.steps), reference.steps, reference.steps_log_mad),
    }
    return tuple(name for name, holds in facts.items() if holds)


def reference(
    costs: Iterable[float | None], step_counts: Iterable[float | None], latencies: Iterable[float | None]
) -> Reference:
    """The reference medians and deviations of a task type, from its recent runs.

    The deviation is the median absolute deviation (MAD) of the logarithms. Where more than half of the values are equal
    it is 0, and every other value would be an outlier; then the mean absolute deviation is used, scaled to agree with
    the MAD for normal values.

    Args:
        costs: US dollars a run; None where unknown.
        step_counts: Steps a run.
        latencies: Milliseconds a run.

    Returns:
        The reference. A kind with fewer than 20 usable values (finite and above 0: the scale is logarithmic) is None.

    Example:
        >>> reference([0.5] * 20, [3] * 20, [None] * 20)
        Reference(cost_usd=0.5, steps=3.0, latency_ms=None, cost_log_mad=0.0, steps_log_mad=0.0, latency_log_mad=None)

    Source: Iglewicz & Hoaglin 1993, How to Detect and Handle Outliers, for the replacement at MAD 0.
    """
    cost, cost_mad = _median_and_log_mad(costs)
    steps, steps_mad = _median_and_log_mad(step_counts, of=_median_of_counts)
    latency, latency_mad = _median_and_log_mad(latencies)
    return Reference(cost, steps, latency, cost_mad, steps_mad, latency_mad)


def _plain_median(values: "NDArray[np.float64]") -> float:
    import numpy as np

    return float(np.median(values))


def _median_of_counts(counts: "NDArray[np.float64]") -> float:
    """The median of whole numbers, each taken as spread evenly over ± 0.5 around itself.

    The plain median of counts jumps where about half of the runs take one step and half take more, and scores relative
    to it jump too though nothing has changed (false alarms in 18 of 40 simulated constant histories).
    """
    return statistics.median_grouped(counts.tolist(), 1)


def _median_and_log_mad(
    values: Iterable[float | None], of: "Callable[[NDArray[np.float64]], float]" = _plain_median
) -> tuple[float, float] | tuple[None, None]:
    """Median and log-scale deviation of the usable values; None and None when they are too few."""
    import numpy as np

    usable = np.array([value for value in values if value is not None and 0 < value < math.inf], dtype=float)
    if usable.size < _FEWEST_FOR_REFERENCE:
        return None, None
    median = of(usable)
    deviations = np.abs(np.log(usable) - math.log(median))
    mad = float(np.median(deviations))
    if mad == 0.0:
        mean_to_sigma = math.sqrt(math.pi / 2)
        mad = float(deviations.mean()) * mean_to_sigma / _MAD_TO_SIGMA
    return median, mad


def _is_outlier(value: float | None, median: float | None, log_mad: float | None) -> bool:
    """Whether a value lies far above the median; False where either is unknown."""
    if value is None or not median or log_mad is None or value < _OUTLIER_RATIO * median:
        return False
    limit = _OUTLIER_SIGMAS * _MAD_TO_SIGMA * max(log_mad, _LEAST_LOG_MAD)
    return math.log(value) - math.log(median) > limit


def _repeats_a_call(run: Run) -> bool:
    """Whether a tool was called twice in a row, or three times in all, with the same arguments."""
    calls = [_call(step.name, step.arguments) for step in run.steps if step.kind == "tool"]
    if any(call is not None and call == following for call, following in itertools.pairwise(calls)):
        return True
    counts = Counter(call for call in calls if call is not None)
    return max(counts.values(), default=0) >= _REPEATS


def _call(name: str, arguments: Any) -> tuple[str, str] | None:  # noqa: ANN401 any JSON value
    """A call in comparable form; None when its arguments are unknown or nested too deeply for JSON."""
    if arguments is None:
        return None
    try:
        return name, json.dumps(arguments, sort_keys=True, default=repr)
    except (RecursionError, TypeError, ValueError):
        return None
