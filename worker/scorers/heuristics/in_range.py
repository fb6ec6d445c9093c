"""Whether a run took about as many steps, dollars and seconds as its task type usually does."""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from worker.records import Outcome, Reference, Run, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic
from worker.scorers.protocol import Context
from worker.scorers.rules import changed_rules

USUAL = 3.0
"""Up to this many medians the value is 1."""
ABSURD = 10.0
"""From this many medians on the value is 0; between the two it falls linearly in the logarithm of the ratio."""
_LEAST_WRITTEN_OUT, _MOST_WRITTEN_OUT = 1e-15, 1e15


class InRange(Heuristic):
    """1 up to three times the task type's median, falling to 0 at ten times; unscored until there is a reference.

    Only the high side counts: shorter, cheaper and faster than usual is no defect, and in real runs the short ones are
    the solved ones. But a run without any step, where there usually are some, is worth 0.

    Cannot see: quality. A hard task rightly takes longer, and a run that skips its work looks lean. A change that comes
    slowly moves the median along with it. Where a task type is spread wider than that, many good runs lie outside.
    """

    version = "1"

    def __init__(
        self,
        name: str,
        field: str,
        measure: Callable[[Run], float | None],
        usual: Callable[[Reference], float | None],
        *,
        least: float = 0.0,
    ) -> None:
        self.name = name
        self._field = field
        self._measure = measure
        self._usual = usual
        self._least = least

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The bounds, what is measured, and how the reference is made where that has changed."""
        own = {"field": self._field, "usual": USUAL, "absurd": ABSURD, "least": self._least}
        return own | changed_rules("reference")

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Compare the run with its task type's median."""
        measured = self._measure(run)
        if measured is None:
            return unscored(f"missing:run.{self._field}")
        median = self._usual(context.reference) if context.reference else None
        if median is None or not 0 < median < math.inf:
            return unscored("no_reference")
        value = thrift(measured / median) if measured >= self._least else 0.0
        return scored(value, rationale=f"{self._field} {figure(measured)}, usually {figure(median)}")


def figure(value: float) -> str:
    """A number as people write it: four digits that count; an exponent only where nobody could count the digits.

    Args:
        value: At least 0, and finite or infinity.

    Example:
        >>> figure(30_000.4), figure(1234.5), figure(2.0), figure(0.031415926), figure(0.00000123), figure(0.0)
        ('30,000', '1,234', '2', '0.03142', '0.00000123', '0')
        >>> figure(1e178), figure(4e-300)
        ('1e+178', '4e-300')
    """
    if not _LEAST_WRITTEN_OUT < value < _MOST_WRITTEN_OUT:
        return f"{value:.4g}"
    shown = f"{value:,.{max(0, 3 - math.floor(math.log10(value)))}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def thrift(ratio: float) -> float:
    """How far a measurement is from being absurdly high, 0..1.

    Args:
        ratio: Measurement ÷ median, at least 0; infinity is allowed.

    Returns:
        1 up to `USUAL`, 0 from `ABSURD` on.

    Example:
        >>> thrift(0.1), thrift(3.0), round(thrift(5.0), 3), thrift(10.0)
        (1.0, 1.0, 0.576, 0.0)
    """
    if ratio <= USUAL:
        return 1.0
    return max(0.0, math.log(ABSURD / ratio) / math.log(ABSURD / USUAL)) if ratio < ABSURD else 0.0


def _latency_ms(run: Run) -> float | None:
    if run.latency_ms is not None or run.started_at is None or run.started_at > run.ended_at:
        return run.latency_ms
    return (run.ended_at - run.started_at) / timedelta(milliseconds=1)


def steps_in_range() -> InRange:
    """Steps; a run without any is worth 0."""
    return InRange("steps_in_range", "steps", lambda run: len(run.steps), lambda usual: usual.steps, least=1)


def cost_in_range() -> InRange:
    """The agent's cost, US dollars."""
    return InRange("cost_in_range", "cost_usd", lambda run: run.cost_usd, lambda usual: usual.cost_usd)


def latency_in_range() -> InRange:
    """Wall time, milliseconds."""
    return InRange("latency_in_range", "latency_ms", _latency_ms, lambda usual: usual.latency_ms)
