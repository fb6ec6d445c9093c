"""How far a stream's reference is learned: before it is, nothing is tested, and every screen says so in one way."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from worker.core.drift.thresholds import LEARN_NIGHTS, USABLE_NIGHTS


def nights_learned(done: int, needed: int = LEARN_NIGHTS) -> str:
    """The sentence for it.

    Example:
        >>> nights_learned(1), nights_learned(7), nights_learned(20)
        ('1 of 14 nights is learned', '7 of 14 nights are learned', '14 of 14 nights are learned')
    """
    done = max(0, min(done, needed))
    return f"{done} of {needed} nights {'is' if done == 1 else 'are'} learned"


class Learned(NamedTuple):
    """How far the furthest stream of a kind is."""

    share: float = 0.0
    """Of what must be learned; 1 when it is tested."""
    said: str = nights_learned(0)

    @property
    def is_tested(self) -> bool:
        """Whether its newest night was compared with its past."""
        return self.share >= 1


def learned(first: date, last: date, nights: int) -> Learned:
    """How far one stream is.

    Args:
        first: Its first night with a score.
        last: The newest night that was looked at.
        nights: How many of its nights tell something.

    Example:
        >>> first = date(2026, 11, 2)
        >>> learned(first, date(2026, 11, 8), 7).said, learned(first, date(2026, 11, 22), 5).said
        ('7 of 14 nights are learned', '4 of 7 nights are learned')
        >>> learned(date(2026, 11, 2), date(2026, 11, 16), 15).is_tested
        True
    """
    span = (last - first).days + 1
    done, needed = (span, LEARN_NIGHTS) if span <= LEARN_NIGHTS else (nights - 1, USABLE_NIGHTS)
    if span > LEARN_NIGHTS and done >= needed:
        return Learned(1.0, "")
    # the night after the last that is learned is the first to be tested
    return Learned(0.99 * done / needed, nights_learned(done, needed))


def furthest(found: Iterable[Learned]) -> Learned:
    """The one that is nearest to being tested; nothing learned without any."""
    return max(found, key=lambda one: one.share, default=Learned())
