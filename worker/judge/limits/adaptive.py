"""How fast one model on one server may be asked: as fast as it answers, and hardly ever faster than it allows.

Nobody says what a server can take, and what it says is a header here and a 429 there. So the pace is found by trying:
calls under way double with every look until something is refused, fails, or the setting's limit is reached. Then

- what is refused (429) bounds the *rate*. A few refusals in a hundred are the price of knowing where the limit is;
  when there are more, calls start 3 % less often than they were admitted, and from there on a little more often with
  every look: slowly around what was admitted, faster away from it;
- what fails (5xx, time-outs, hang-ups) bounds the *calls under way*: x 0.7, and up again in the same way;
- a storm (more than half refused) halves the rate and pauses everything for as long as the server asked; so does a
  header that says that the allowance is used up.

A refusal now and then is no limit: a server that refuses one call in twenty at any rate is asked on at full speed, and
cuts that do not help are taken back. Obeying `Retry-After` at a fixed concurrency is not enough: a hundred waiters come
back for the one free token.

Pure: time is an argument, and nothing waits here (`gate.Gate` does).

Source: Chiu & Jain 1989 (additive increase, multiplicative decrease); Nygard, "Release It!" (circuit breaker);
ENGINE D and F.
"""

import math
from typing import NamedTuple

START_LIMIT = 16
TOLERATED, FAILURES_TOLERATED = 0.04, 0.3
"""Shares of refusals and of failures that are accepted; what chance alone may show comes on top."""
FEWEST = 5
"""Refusals that show anything at the start: three of sixteen calls may be chance, and would cost ten seconds' pace."""
STORM = 0.5
LOOK_S = 0.25
"""Shortest time between two looks at what the server said."""
LOOK_CALLS = 48
"""Calls that a look wants to judge by; fewer where few are under way."""
MEMORY_CALLS = 200
CUT = 0.7
FAR, NEAR = 1.25, 1.01
"""Growth with every look: far below what was too much, and close to it."""
READY_S = 0.4
LEAST_RATE = 0.05
"""Calls a second that are always tried."""
USELESS = 0.67
"""Cuts by half that leave more than this part of the refusals were useless: those do not depend on the rate."""
SAME, MORE = 1.2, 1.5
"""So many times the refusals, after cuts or after growing, and it is the rate: that of all processes together."""
USELESS_S = 30.0
PAUSE_MOST_S = 60.0
SILENT_CALLS = 8
OPEN_S, OPEN_MOST_S = 5.0, 60.0
_LOOK_MOST_S = 20.0
_BURST_S = 0.1
_NOISE, _NOISE_REFUSED = 0.03, 0.16
"""Variance of one call's outcome where nothing is wrong, and where every fifth is refused."""


class CallTotals(NamedTuple):
    """What was seen of a server since the beginning."""

    calls: int
    """Requests that ended."""
    refused: int
    """With 429."""
    failed: int
    """Without an answer: 5xx, time-outs, hang-ups."""
    answered: int
    """With a verdict, or that the question is a bad one. What is left are refusals of the key or the account."""


class _Anchor(NamedTuple):
    """Where a row of cuts began."""

    admitted: float
    refused: float


class AdaptiveLimiter:
    """The pace of one process towards one model on one server.

    Example:
        >>> pace = AdaptiveLimiter(most=64)
        >>> pace.room(0.0)
        16
    """

    def __init__(self, most: int, *, rate: float | None = None) -> None:
        """Begin with sixteen calls under way.

        Args:
            most: Calls under way that are never exceeded, at least 1.
            rate: Calls a second that are never exceeded; None without such a limit.
        """
        self.most = most
        self.limit = float(min(START_LIMIT, most))
        """Calls that may be under way."""
        self.rate = rate
        """Calls that may start in a second; None while nothing bounds it."""
        self.in_flight = 0
        self.latency_s = 0.0
        """Of an answer, a moving mean."""
        self.paused_until = 0.0
        self.open_until = 0.0
        self._rate_most = rate
        self._is_growing_fast = True
        self._credit, self._credited_at = 1.0, 0.0
        self._calls = self._refused = self._failed = self._answered = 0
        self._begun_here = self._answered_here = self._refused_here = self._failed_here = 0
        self._looked_at: float | None = None
        self._looks = 0
        self._memory = (0.0, 0.0)
        """Calls, and those refused, since the last cut; the older count half."""
        self._wait_s = 0.0
        self._anchor: _Anchor | None = None
        self._limit_was: float | None = None
        self._rate_was: float | None = None
        self._useless_until = self._useless_share = 0.0
        self._openings = 0
        self._unanswered = 0
        self._is_half_open = False

    @property
    def seen(self) -> CallTotals:
        """What was seen since the beginning."""
        return CallTotals(self._calls, self._refused, self._failed, self._answered)

    @property
    def is_tripped(self) -> bool:
        """Whether the judge answered nobody when it was last asked."""
        return self._is_half_open

    @property
    def is_silent(self) -> bool:
        """Whether so many calls in a row got no answer that the next would get none either."""
        return self._unanswered > max(SILENT_CALLS, int(self.limit))

    def room(self, now: float) -> int:
        """Calls that may start now."""
        if now < max(self.paused_until, self.open_until):
            return 0
        if self._is_half_open:
            return max(0, 1 - self.in_flight)
        free = int(self.limit) - self.in_flight
        if self.rate is not None:
            self._earn(now)
            free = min(free, int(self._credit))
        return max(0, free)

    def wait_s(self, now: float) -> float | None:
        """Seconds until there may be room without any call ending; None when only an end makes room."""
        until = max(self.paused_until, self.open_until)
        if now < until:
            return until - now
        if self._is_half_open or self.rate is None or int(self.limit) <= self.in_flight:
            return None
        self._earn(now)
        return max(0.0, (1.0 - self._credit) / self.rate)

    def in_hand(self) -> int:
        """Calls that should be under way or ready to start, so that none waits: those that may be under way, and more.

        Ready are as many as a quick server answers in 0.4 seconds, at most as many again as may be under way, and a
        quarter of them where it is slow. At a bounded rate, half a second's more than are under way at that rate.
        """
        if self._is_half_open:
            return 1
        limit = int(self.limit)
        if self.rate is None:
            return limit + self._ready()
        return min(limit + 1 + limit // 4, math.ceil(self.rate * (self.latency_s + 0.5)) + 1)

    def worth_it(self) -> int:
        """Calls that one should want before more are fetched, at least 1: each time costs the same."""
        if self.rate is None and not self._is_half_open:
            return max(1, 2 * self._ready() // 3)
        return max(1, self.in_hand() // 5)

    def _ready(self) -> int:
        limit = int(self.limit)
        soon = 0 if not self.latency_s else min(limit, int(READY_S * limit / self.latency_s))
        return 1 + max(limit // 4, soon)

    def begins(self, now: float) -> int:
        """A call starts.

        Returns:
            The look it belongs to, to be given back when it is refused.
        """
        self.in_flight += 1
        self._begun_here += 1
        if self.rate is not None:
            self._earn(now)
            self._credit -= 1.0
        if self._looked_at is None:
            self._looked_at = now
        return self._looks

    def answered(self, now: float, latency_s: float) -> None:
        """The server answered: a verdict, or that this question is a bad one."""
        self._ends()
        self.latency_s = latency_s if not self.latency_s else 0.9 * self.latency_s + 0.1 * latency_s
        self._answered_here += 1
        self._answered += 1
        self._is_half_open, self._openings, self._unanswered = False, 0, 0
        self._look(now)

    def refused(self, now: float, look: int, wait_s: float | None = None, *, is_used_up: bool = False) -> None:
        """The server said 429.

        Args:
            now: Seconds, of any monotonic clock.
            look: What `begins` gave: a call that started at an earlier pace says nothing about this one.
            wait_s: How long it asks to be left alone.
            is_used_up: Whether it says that the allowance of this time is used up: then everybody waits.
        """
        self._ends()
        self._refused += 1
        self._unanswered += 1
        if look == self._looks:
            self._refused_here += 1
            self._wait_s = max(self._wait_s, wait_s or 0.0)
        if is_used_up and wait_s:
            self.pause(now, wait_s)
        self._look(now)

    def failed(self, now: float) -> None:
        """No usable answer came."""
        self._ends()
        self._failed += 1
        self._unanswered += 1
        self._failed_here += 1
        self._look(now)

    def gave_up(self) -> None:
        """A call was ended by us; it says nothing about the server."""
        self.in_flight -= 1

    def pause(self, now: float, wait_s: float) -> None:
        """Nothing starts for so long, a minute at most."""
        self.paused_until = max(self.paused_until, now + min(wait_s, PAUSE_MOST_S))

    def trip(self, now: float) -> float:
        """The judge answers nobody: nothing starts for a while, and then one call alone until one is answered.

        Returns:
            Seconds of rest: 5, 10, 20, 40, 60 when it happens again and again.
        """
        rest_s = min(OPEN_MOST_S, OPEN_S * 2**self._openings)
        if now >= self.open_until:
            self._openings += 1
            self.open_until = now + rest_s
        self._is_half_open = True
        return self.open_until - now

    def shut(self, now: float) -> None:
        """The server refuses us: the key, the model, the account. Nothing starts for five seconds, then one call."""
        self._ends()
        self.open_until = max(self.open_until, now + OPEN_S)
        self._is_half_open = True

    def _ends(self) -> None:
        self.in_flight -= 1
        self._calls += 1

    def _earn(self, now: float) -> None:
        """Credit for the time that passed; a tenth of a second's, or one call, can be saved up."""
        assert self.rate is not None
        most = max(1.0, self.rate * _BURST_S)
        self._credit = min(most, self._credit + self.rate * max(0.0, now - self._credited_at))
        self._credited_at = now

    def _look(self, now: float) -> None:
        """Judge by what came since the last look, where that is enough."""
        assert self._looked_at is not None
        span_s = now - self._looked_at
        calls, ended = max(1, self._begun_here), self._answered_here + self._refused_here + self._failed_here
        refused, failed = self._refused_here / calls, self._failed_here / max(1, ended)
        is_enough = calls >= self._enough() and span_s >= max(LOOK_S, self.latency_s)
        # refusals come back at once: without a rate the next ones would be there in milliseconds
        is_storm = refused > STORM and self._refused_here >= max(4.0, self.limit / 4)
        if not is_enough and not is_storm and span_s < _LOOK_MOST_S:
            return
        noise = 3 * math.sqrt(_NOISE / calls)
        if self._is_too_much(calls, refused):
            span_s = max(span_s, LOOK_S, self.latency_s)
            self._slow_down(now, refused, (self._begun_here - self._refused_here) / span_s)
        elif self.rate is not None:
            self._speed_up(self._begun_here / span_s)
        if failed > FAILURES_TOLERATED + noise:
            self._is_growing_fast = False
            self._limit_was, self.limit = self.limit, max(1.0, self.limit * CUT)
        else:
            step = 2.0 if self._is_growing_fast else _step(self.limit, self._limit_was)
            self.limit = min(float(self.most), self.limit * step)
        self._begun_here = self._answered_here = self._refused_here = self._failed_here = 0
        self._wait_s, self._looked_at = 0.0, max(now, self.paused_until)
        self._looks += 1

    def _is_too_much(self, calls: int, refused: float) -> bool:
        """Whether this look, or those since the last cut together, show more refusals than are accepted."""
        if self._memory[0] > MEMORY_CALLS:
            self._memory = (self._memory[0] / 2, self._memory[1] / 2)
        begun, gone = self._memory = (self._memory[0] + calls, self._memory[1] + refused * calls)
        shares = ((calls, refused), (begun, gone / begun))
        least = FEWEST - 0.5 if self._is_growing_fast else 0.0
        is_too_much = any(
            share * count > least and share > TOLERATED + 3 * math.sqrt(_NOISE / count) for count, share in shares
        )
        if is_too_much:
            self._memory = (0.0, 0.0)
        return is_too_much

    def _enough(self) -> float:
        """Calls that make a look worth it: all that may be under way, or a second's."""
        return min(LOOK_CALLS, max(4.0, self.limit if self.rate is None else self.rate))

    def _slow_down(self, now: float, refused: float, admitted: float) -> None:
        """Start only as many as were admitted; in all at most half fewer, while that does not help."""
        self._is_growing_fast = False
        before = self.rate or self.limit / max(LOOK_S, self.latency_s)
        if refused > STORM:
            if self._wait_s:
                self.pause(now, self._wait_s)
            self._anchor = None
            self.rate = max(LEAST_RATE, before / 2, min(admitted, before))
            return
        if now < self._useless_until and refused <= self._as_before():
            if self.rate is not None:
                self.rate = min(self.rate * FAR, self._rate_most or math.inf)
            return
        self._useless_until = 0.0
        self._rate_was = min(admitted, before)
        if self._anchor is None:
            self._anchor = _Anchor(admitted, refused)
        rate = 0.97 * self._rate_was
        if rate < self._anchor.admitted / 2:
            rate = self._anchor.admitted / 2
            if USELESS * self._anchor.refused < refused < SAME * self._anchor.refused:
                self._useless_until, self._useless_share = now + USELESS_S, self._anchor.refused
        self.rate = max(LEAST_RATE, rate)

    def _as_before(self) -> float:
        """The share of refusals up to which growing has changed nothing, chance included."""
        share = self._useless_share
        return max(MORE * share, share + 3 * math.sqrt(_NOISE_REFUSED / max(1, self._begun_here)))

    def _speed_up(self, begun: float) -> None:
        assert self.rate is not None
        self._anchor = None
        if begun > 0.7 * self.rate:  # else the rate is not what holds it
            self.rate = min(self.rate * _step(self.rate, self._rate_was), self._rate_most or math.inf)


def _step(value: float, was_too_much: float | None) -> float:
    """How much to grow: fast far from what was too much, slowly close to it, and faster again beyond.

    Source: the shape of CUBIC (RFC 9438).
    """
    if was_too_much is None:
        return FAR
    distance = abs(value / was_too_much - 1)
    return NEAR + (FAR - NEAR) * min(1.0, max(0.0, distance - 0.05) / 0.25)
