"""Calls a second that may start at one server: unbounded until too much is refused, then found by small steps.

A refusal (429) says that calls start too often. So the bound is what was admitted, and a little less; while little is
refused it grows again, slowly around what was too much and faster away from it. Servers also refuse for reasons that no
rate changes (one call in ten, always): where slowing down to two fifths has not helped, the bound grows again, and such
a share of refusals is accepted for half a minute.

Source: Chiu & Jain 1989 (additive increase, multiplicative decrease); the shape of the growth is CUBIC's (RFC 9438).
"""

import math
from typing import NamedTuple

MIN_RATE = 0.05
"""Calls a second that are always tried."""
CUT = 0.97
"""The bound after too much was refused, of the rate that was admitted."""
SLOWEST = 0.4
"""Cuts go down to this part of the rate at which they began."""
ALIKE = 1.5
"""Shares of refusals are alike up to this factor. Cuts down to the slowest were useless where the share is still like
that before them: the refusals do not depend on the rate."""
SLOWEST_CUTS = 4
"""Cuts at the slowest that leave another share than before: the limit is lower than that, and cuts begin anew."""
ACCEPT_S = 30.0
"""Seconds for which a share like it is then accepted; more, and it is the rate after all: of all processes together."""
FAST_STEP, SLOW_STEP = 1.25, 1.01
"""Growth with every window: far from what was too much, and close to it."""
BURST_S = 0.1
"""What was not started can be made up for: a tenth of a second's calls, at least one."""


def step(value: float, too_much: float | None) -> float:
    """How much to grow: slowly close to what was too much last, faster away from it on either side.

    Args:
        value: The bound as it is.
        too_much: The bound that was too much last; None while none was.

    Returns:
        A factor from SLOW_STEP to FAST_STEP.

    Example:
        >>> step(100, None), step(100, 100), step(70, 100)
        (1.25, 1.01, 1.25)
    """
    if too_much is None:
        return FAST_STEP
    distance = abs(value / too_much - 1)
    return SLOW_STEP + (FAST_STEP - SLOW_STEP) * min(1.0, max(0.0, distance - 0.05) / 0.25)


def chance(share: float, calls: float) -> float:
    """How far chance alone moves a share seen in so many calls, in 99 of 100 cases: 2.6 standard deviations."""
    return 2.6 * math.sqrt(share * (1 - share) / max(1.0, calls))


class _Cuts(NamedTuple):
    """Where cuts began: the bound has not been back there since."""

    admitted: float
    """Calls a second that were admitted then."""
    refused: float
    """Share of calls that were refused then."""


class RateBound:
    """The bound and the credit under it; times are seconds of any clock that never goes back."""

    def __init__(self, max_per_s: float | None) -> None:
        """Begin without a bound, or with the one that is never exceeded."""
        self.per_s = max_per_s
        """Calls a second that may start; None while nothing bounds them."""
        self._max_per_s = math.inf if max_per_s is None else max_per_s
        self._credit, self._credited_at = 1.0, 0.0
        self._too_much: float | None = None
        self._cuts: _Cuts | None = None
        self._cuts_at_slowest = 0
        self._accept_until, self._accepted = 0.0, 0.0

    def free(self, now: float) -> float:
        """Calls that may start now; infinite without a bound."""
        if self.per_s is None:
            return math.inf
        most = max(1.0, self.per_s * BURST_S)
        self._credit = min(most, self._credit + self.per_s * max(0.0, now - self._credited_at))
        self._credited_at = now
        return self._credit

    def wait_s(self, now: float) -> float:
        """Seconds until a call may start."""
        return 0.0 if self.per_s is None else max(0.0, (1.0 - self.free(now)) / self.per_s)

    def begins(self, now: float) -> None:
        """A call starts."""
        if self.per_s is not None:
            self._credit = self.free(now) - 1.0

    def halve(self, before: float, admitted: float) -> None:
        """Most calls were refused: start only what was admitted, at least half of before.

        Args:
            before: Calls a second that were tried.
            admitted: Calls a second that were not refused.
        """
        self._cuts, self._cuts_at_slowest = None, 0
        self.per_s = max(MIN_RATE, before / 2, min(admitted, before))

    def cut(self, now: float, before: float, admitted: float, refused: float, calls: int) -> None:
        """Too many calls were refused: start a little less than was admitted.

        Args:
            now: Seconds.
            before: Calls a second that were tried.
            admitted: Calls a second that were not refused.
            refused: Share of calls that were refused.
            calls: Of how many.
        """
        if now < self._accept_until and refused <= self._acceptable(calls):
            if self.per_s is not None:
                self.per_s = min(self.per_s * FAST_STEP, self._max_per_s)
            return
        self._accept_until = 0.0
        self._too_much = min(admitted, before)
        if self._cuts is None:
            self._cuts = _Cuts(admitted, refused)
        slowest = SLOWEST * self._cuts.admitted
        self.per_s = max(MIN_RATE, slowest, CUT * self._too_much)
        if self.per_s > slowest:
            self._cuts_at_slowest = 0
        elif self._cuts.refused / ALIKE < refused < self._cuts.refused * ALIKE:
            self._accept_until, self._accepted, self._cuts_at_slowest = now + ACCEPT_S, self._cuts.refused, 0
        else:
            self._cuts_at_slowest += 1
        if self._cuts_at_slowest == SLOWEST_CUTS:
            self._cuts, self._cuts_at_slowest = None, 0

    def _acceptable(self, calls: int) -> float:
        """The share of refusals up to which growing has changed nothing, chance included."""
        return max(ALIKE * self._accepted, self._accepted + chance(self._accepted, calls))

    def grow(self, started: float) -> None:
        """Few calls were refused: a little more may start, if the bound is what holds them.

        Args:
            started: Calls a second that were started.
        """
        if self.per_s is None:
            return
        if self._cuts is not None and self.per_s >= self._cuts.admitted:
            self._cuts = None  # not sooner: chance has quiet windows too, and each would make the slowest slower
        if started > 0.7 * self.per_s:
            self.per_s = min(self.per_s * step(self.per_s, self._too_much), self._max_per_s)
