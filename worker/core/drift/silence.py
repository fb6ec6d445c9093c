"""Whether runs have stopped arriving, judged by what arrived on the nights before.

A night without runs may be a Sunday or a holiday. So the first silent night is an alarm only where even the quietest
night of the past eight weeks was far from empty; otherwise it takes several nights on which runs were to be expected.
"""

import statistics
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

LEARNED_NIGHTS = 56
"""Nights before a silence from which is learned what is usual: eight of each weekday."""
_WEEK = timedelta(days=7)
_SAME_WEEKDAYS = 4
"""A weekday's usual count is learned from its last four."""
_SURE_RUNS = 30
"""So many runs that even the quietest nights would have brought. A holiday of a tenth of that still brings three, and
none with a chance of 5 %; measured over 40 projects in `tests/core/test_silence.py`."""
_EXPECTED_RUNS, _EXPECTED_NIGHTS = 8, 3
"""Where nights may be empty: least runs, and nights that usually have some. Two would be a pair of holidays."""
_FEWEST_NIGHTS = 3
"""Nights of working days from which anything can be learned."""
_GAPS, _LONGEST_GAP, _SEEN_NIGHTS, _KNOWN_NIGHTS = 3, 10, 4, 28
"""Of rare work: a silence three times the longest gap, ten nights at least, after some nights in four weeks or more."""
_SATURDAY = 5


class Silence(NamedTuple):
    """Nights in a row without runs where some were to be expected."""

    since: date
    """The first of them."""
    nights: int
    usual: float
    """Median number of runs on the nights of the same weekday as the first, or on all where that is unknown."""


def silence(counts: Mapping[date, int], night: date, outages: Collection[date] = ()) -> Silence | None:
    """Whether a stream of runs is silent as of a night.

    Args:
        counts: Ended runs by night; a night without any may be absent. At least `LEARNED_NIGHTS` before the silence
            are of use; those after `night` are not looked at.
        night: The newest night that is over.
        outages: Nights of silences that were told before: of what is usual they say nothing.

    Returns:
        None while runs arrive, where nothing was learned, or where the silence may be a usual one.

    Example:
        >>> busy = {date(2026, 11, 1) + timedelta(days=day): 120 for day in range(20)}
        >>> silence(busy, date(2026, 11, 20)) is None
        True
        >>> silence(busy, date(2026, 11, 22))
        Silence(since=datetime.date(2026, 11, 21), nights=2, usual=120.0)
        >>> silence({}, date(2026, 11, 22)) is None
        True
    """
    seen = [day for day, count in counts.items() if count > 0 and day <= night]
    if not seen or (since := max(seen) + timedelta(days=1)) > night:
        return None
    first = max(min(seen), since - timedelta(days=LEARNED_NIGHTS))
    past = {day: counts.get(day, 0) for day in _days(first, since) if day not in outages}
    silent = _days(since, night + timedelta(days=1))
    if sum(day.weekday() < _SATURDAY for day in past) < _FEWEST_NIGHTS:
        return None
    least = [_least(past, day) for day in silent]
    quietest = min(past.values()) if len(past) >= _WEEK.days else 0
    expected = [runs for runs in least if runs]
    is_sure = quietest * len(silent) >= _SURE_RUNS
    is_expected = len(expected) >= _EXPECTED_NIGHTS and sum(expected) >= _EXPECTED_RUNS
    if not (is_sure or is_expected or _is_long(list(past.values()), len(silent))):
        return None
    return Silence(since, len(silent), float(statistics.median(_same(past, since) or past.values())))


def _days(first: date, end: date) -> list[date]:
    return [first + timedelta(days=day) for day in range((end - first).days)]


def _same(past: Mapping[date, int], day: date) -> list[int]:
    """Counts of a weekday's last nights."""
    return [count for each, count in past.items() if each.weekday() == day.weekday()][-_SAME_WEEKDAYS:]


def _least(past: Mapping[date, int], day: date) -> int:
    """The fewest runs that a night of this weekday brought; before two of them, of a working day; 0 for a weekend's."""
    same = _same(past, day)
    if len(same) > 1:
        return min(same)
    if day.weekday() >= _SATURDAY:
        return 0
    return min(count for each, count in past.items() if each.weekday() < _SATURDAY)


def _is_long(past: Sequence[int], nights: int) -> bool:
    """Whether a silence is far longer than any gap before, for work that is too rare for anything else."""
    if len(past) < _KNOWN_NIGHTS or sum(count > 0 for count in past) < _SEEN_NIGHTS:
        return False
    longest = gap = 0
    for count in past:
        gap = 0 if count else gap + 1
        longest = max(longest, gap)
    return nights >= max(_LONGEST_GAP, _GAPS * longest)
