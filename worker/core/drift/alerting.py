"""What people are told: how the false alarms are shared out, the rules beside the scan, and the words.

METHODS §6: rates, cost and steps by the drift scan; rare and very dear runs by a Poisson tail; a day's spend against
the same weekday of the four weeks before.
"""

import math
import statistics
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from worker.records import Drift

Key = TypeVar("Key", bound=Hashable)

QUALITY_SHARE, NIGHTLY_SHARE, HOURLY_SHARE, RULES_SHARE = 0.5, 0.25, 0.15, 0.1
"""Of the project's false alarms: scores of the sample; figures of all runs by night; the same by hour; single rules."""
RUBRIC_WEIGHT = 2.0
"""A rubric's stream may alarm falsely so many times as often as a heuristic's: it is what Spotcheck is for, and a
heuristic near 1.00 needs no more."""
TAIL_SHARE = 0.005
MIN_RUNS_FOR_TAIL = 400
"""Runs of the past below which its 99.5th percentile means nothing."""
_MOST_LEVEL = 1e-4
SPEND_Z = 4.0
_SPEND_MAD_FLOOR = 0.08
_FEWEST_WEEKS = 3
MIN_CHANGE = 0.1
"""Cost and steps: a change of the mean below a tenth is true where traffic is large, and not worth an alarm."""


def alarm_shares(weights: Mapping[Key, float], share: float) -> dict[Key, float]:
    """Share out a part of the false alarms.

    Args:
        weights: Of each stream, > 0.
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
    """How improbable a night's count of very dear runs must be.

    Args:
        allowed_per_year: False alarms a year for this rule in all task types, >= 0.
        task_types: Task types looked at every night.

    Returns:
        A probability, at most 1e-4.
    """
    return min(_MOST_LEVEL, allowed_per_year / (365 * max(task_types, 1)))


def poisson_tail(count: int, mean: float) -> float:
    """How often chance alone shows so many or more.

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
    # upward from the count: summing 1 - P(X < count) would lose every digit of a small tail
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    total, k = 0.0, count
    while term > total * 1e-17 or k < mean:
        total += term
        k += 1
        term *= mean / k
    return min(1.0, total)


def expected_tail(reference_above: int, reference_runs: int, runs: int) -> float:
    """Very dear runs to expect tonight: the past's share of them, with one more than were seen.

    One more, because the past's percentile is itself uncertain and too low an expectation costs false alarms.

    Args:
        reference_above: Runs of the past at or above the bucket.
        reference_runs: Runs of the past, >= 1.
        runs: Tonight's.
    """
    return (reference_above + 1) / (reference_runs + 1) * runs


def spend_z(today_usd: float, same_weekdays_usd: Sequence[float]) -> float | None:
    """How far a day's spend lies above the same weekday of the four weeks before, in robust standard deviations.

    Args:
        today_usd: Spend of the whole day, US dollars.
        same_weekdays_usd: Of one week before, two, three, four; days without spend count as missing.

    Returns:
        The log ratio to their median over 1.4826 × their median absolute deviation, which is at least .08; None with
        fewer than three days, or when nothing was spent.

    Example:
        >>> round(spend_z(200.0, [98.0, 100.0, 101.0, 105.0]), 1), spend_z(200.0, [100.0])
        (5.8, None)

    Source: METHODS §6.
    """
    known = [math.log(usd) for usd in same_weekdays_usd if usd > 0]
    if len(known) < _FEWEST_WEEKS or today_usd <= 0:
        return None
    middle = statistics.median(known)
    spread = max(statistics.median(abs(value - middle) for value in known), _SPEND_MAD_FLOOR)
    return (math.log(today_usd) - middle) / (1.4826 * spread)


def is_large_enough(kind: str, before: float, after: float) -> bool:
    """Whether a change beyond chance is also large enough to be told; only cost and steps have a least size."""
    return kind not in ("cost", "steps") or before <= 0 or abs(after - before) >= MIN_CHANGE * before


def format_usd(usd: float) -> str:
    """US dollars with the digits that matter.

    Example:
        >>> format_usd(1234.5), format_usd(0.0214), format_usd(0.00031), format_usd(0)
        ('$1,234.50', '$0.0214', '$0.000310', '$0.00')
    """
    if usd == 0 or abs(usd) >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.{2 - math.floor(math.log10(abs(usd)))}f}"


def kind_word(kind: str) -> str:
    """What a kind of finding is called where people read it.

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
    """What a stream is about, in words.

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
    """How often chance shows something, in words.

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


def window_text(one: Drift) -> str:
    """The window of a finding in words: `last 3 nights`, `last 4 hours`."""
    size, unit = (one.window_nights, "night") if one.window_hours is None else (one.window_hours, "hour")
    return f"last {unit}" if size == 1 else f"last {size} {unit}s"


def finding_text(one: Drift) -> str:
    """A finding in one line, for people.

    Example:
        "billing task_completion: 0.85 → 0.76 over the last 3 nights (150 runs); chance alone: once in 40 years".
    """
    where = one.stream.task_type or "all task types, same mix"
    before, after = format_level(one.kind, one.before), format_level(one.kind, one.after)
    return (
        f"{where}, {stream_title(one.stream.scorer)}: {before} → {after} "
        f"over the {window_text(one)} ({one.scored:,} runs); chance alone: {rarity(one.chance_per_year)}"
    )
