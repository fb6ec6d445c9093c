"""Alert rules: the split of the allowed false alarms, the rules beside the drift scan, and the texts of findings.

Rates, cost and steps are tested by the drift scan; the number of very costly runs by a Poisson tail; a day's spend
against the same weekday of the four weeks before (METHODS §6).
"""

import math
import statistics
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from worker.records import Drift

Key = TypeVar("Key", bound=Hashable)

QUALITY_SHARE, NIGHTLY_SHARE, HOURLY_SHARE, RULES_SHARE = 0.5, 0.25, 0.15, 0.1
"""Shares of the project's allowed false alarms: scores of the sample; figures of all runs by night; by hour; rules."""
RUBRIC_WEIGHT = 2.0
"""A rubric's stream gets so many times a heuristic's share of the false alarms: rubrics matter most, and a heuristic
near 1.00 needs no larger share."""
TAIL_SHARE = 0.005
MIN_RUNS_FOR_TAIL = 400
"""With fewer runs in the past its 99.5th percentile is unreliable."""
_MOST_LEVEL = 1e-4
BEYOND_DOUBT_PER_YEAR, CLEAR_PER_YEAR = 0.05, 0.5
"""A finding that chance shows at most once in 20 years is called beyond doubt, at most once in 2 years clear."""
SPEND_Z = 4.0
_SPEND_MAD_FLOOR = 0.08
_FEWEST_WEEKS = 3
MIN_CHANGE = 0.1
"""Cost and steps: least relative change of the mean that raises an alert. With much traffic smaller ones are
significant too, but do not matter."""


def alarm_shares(weights: Mapping[Key, float], share: float) -> dict[Key, float]:
    """Split a part of the allowed false alarms among streams, in proportion to their weights.

    Args:
        weights: By stream, > 0.
        share: The part of the project's false alarms for all of them together, 0..1.

    Returns:
        Each stream's share; they sum to `share`. No streams: empty.

    Example:
        >>> alarm_shares({"rubric": 2.0, "heuristic": 1.0, "other": 1.0}, 0.5)
        {'rubric': 0.25, 'heuristic': 0.125, 'other': 0.125}
    """
    total = sum(weights.values())
    return {key: share * weight / total for key, weight in weights.items()}


def tail_level(allowed_per_year: float, task_types: int) -> float:
    """The p value below which a night's count of very costly runs raises an alert.

    Args:
        allowed_per_year: False alarms a year for this rule in all task types, >= 0.
        task_types: Task types tested every night.

    Returns:
        A probability, at most 1e-4.
    """
    return min(_MOST_LEVEL, allowed_per_year / (365 * max(task_types, 1)))


def poisson_tail(count: int, mean: float) -> float:
    """The upper tail probability of a Poisson count.

    Args:
        count: Events seen, >= 0.
        mean: Events expected, >= 0.

    Returns:
        P(X >= count), 0..1; 1.0 for a count of 0.

    Example:
        >>> round(poisson_tail(4, 0.25), 6), poisson_tail(0, 3.0), poisson_tail(2, 0.0)
        (0.000133, 1.0, 0.0)
    """
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    # summed upward from the count: 1 - P(X < count) would lose all digits of a small tail
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    total, k = 0.0, count
    while term > total * 1e-17 or k < mean:
        total += term
        k += 1
        term *= mean / k
    return min(1.0, total)


def expected_tail(reference_above: int, reference_runs: int, runs: int) -> float:
    """Expected number of very costly runs tonight, from their share in the past.

    One is added to the past count, because its percentile is itself uncertain and too low an expectation causes false
    alarms.

    Args:
        reference_above: Runs of the past at or above the bucket.
        reference_runs: Runs of the past, >= 1.
        runs: Runs of tonight.
    """
    return (reference_above + 1) / (reference_runs + 1) * runs


def spend_z(today_usd: float, same_weekdays_usd: Sequence[float]) -> float | None:
    """Robust z score of a day's spend against the same weekday of the four weeks before.

    Args:
        today_usd: Spend of the whole day, US dollars.
        same_weekdays_usd: Spend one, two, three and four weeks before; days without spend count as missing.

    Returns:
        log(spend / median) divided by 1.4826 × the median absolute deviation of the logs, which is at least 0.08; None
        with fewer than three days, or when nothing was spent.

    Example:
        >>> round(spend_z(200.0, [98.0, 100.0, 101.0, 105.0]), 1), spend_z(200.0, [100.0])
        (5.8, None)

    Source: METHODS §6.
    """
    logs = [math.log(usd) for usd in same_weekdays_usd if usd > 0]
    if len(logs) < _FEWEST_WEEKS or today_usd <= 0:
        return None
    middle = statistics.median(logs)
    spread = max(statistics.median(abs(value - middle) for value in logs), _SPEND_MAD_FLOOR)
    return (math.log(today_usd) - middle) / (1.4826 * spread)


def is_large_enough(kind: str, before: float, after: float) -> bool:
    """Whether a significant change is also large enough for an alert; only cost and steps have a least size."""
    return kind not in ("cost", "steps") or before <= 0 or abs(after - before) >= MIN_CHANGE * before


def format_usd(usd: float) -> str:
    """US dollars with two decimals, or three significant digits below $1.

    Example:
        >>> format_usd(1234.5), format_usd(0.0214), format_usd(0.00031), format_usd(0)
        ('$1,234.50', '$0.0214', '$0.000310', '$0.00')
    """
    if usd == 0 or abs(usd) >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.{2 - math.floor(math.log10(abs(usd)))}f}"


def kind_word(kind: str) -> str:
    """The name of a kind of finding in texts for people.

    Example:
        >>> kind_word("agent"), kind_word("tool")
        ('quality', 'tool')
    """
    return {"agent": "quality", "mix": "traffic mix"}.get(kind, kind)


def format_level(kind: str, value: float) -> str:
    """A level in the unit of its kind.

    Example:
        >>> [format_level(*pair) for pair in (("agent", 0.914), ("cost", 0.0214), ("steps", 6.25), ("errors", 0.0312))]
        ['0.91', '$0.0214', '6.2', '3.1 %']
    """
    if kind == "cost":
        return format_usd(value)
    if kind == "steps":
        return f"{value:.1f}"
    return f"{value:.1%}".replace("%", " %") if kind in ("errors", "tool") else f"{value:.2f}"


def stream_title(scorer: str) -> str:
    """The name of a stream in texts for people.

    Example:
        >>> stream_title("tool_failure:issue_refund"), stream_title("error_rate"), stream_title("task_completion")
        ('failures of tool issue_refund', 'error rate', 'task_completion')
    """
    kind, _, subject = scorer.partition(":")
    if kind == "tool_failure":
        return f"failures of tool {subject}"
    return scorer.replace("_", " ") if scorer in _OPERATIONAL else scorer


_OPERATIONAL: Collection[str] = ("error_rate", "abort_rate", "completion_rate", "cost_per_run", "steps_per_run")


def rarity(per_year: float) -> str:
    """A frequency by chance in words.

    Example:
        >>> rarity(0.02), rarity(0.1), rarity(0.8), rarity(3.0)
        ('less than once in 50 years', 'once in 10 years', 'once a year', '3.0 times a year')
    """
    if per_year >= 1:
        return f"{per_year:.1f} times a year"
    years = 1 / per_year
    if years >= 50:
        return "less than once in 50 years"
    return f"once in {years:.0f} years" if years >= 2 else "once a year"


def strength(per_year: float) -> str:
    """How strong a finding is, in words, and how often chance alone shows it.

    Example:
        >>> strength(0.02), strength(0.25)
        ('beyond doubt, chance alone: less than once in 50 years', 'clear, chance alone: once in 4 years')
        >>> strength(1.8)
        'weak evidence, chance alone: 1.8 times a year'
    """
    word = "clear" if per_year <= CLEAR_PER_YEAR else "weak evidence"
    if per_year <= BEYOND_DOUBT_PER_YEAR:
        word = "beyond doubt"
    return f"{word}, chance alone: {rarity(per_year)}"


def window_text(drift: Drift) -> str:
    """The window of a finding in words: `last 3 nights`, `last 4 hours`."""
    size, unit = (drift.window_nights, "night") if drift.window_hours is None else (drift.window_hours, "hour")
    return f"last {unit}" if size == 1 else f"last {size} {unit}s"


def finding_text(drift: Drift) -> str:
    """A finding in one line, for alerts and logs.

    Example:
        "billing task_completion: 0.85 → 0.76 over the last 3 nights (150 runs); chance alone: once in 40 years".
    """
    where = drift.stream.task_type or "all task types, same mix"
    before, after = format_level(drift.kind, drift.before), format_level(drift.kind, drift.after)
    return (
        f"{where}, {stream_title(drift.stream.scorer)}: {before} → {after} "
        f"over the {window_text(drift)} ({drift.scored:,} runs); {strength(drift.chance_per_year)}"
    )
