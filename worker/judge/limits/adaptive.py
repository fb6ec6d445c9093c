"""How fast one model on one server may be asked: as fast as it answers, and hardly ever faster than it allows.

Nobody says what a server can take: there is a header here and a 429 there. So it is found by trying, in windows: the
calls that began since the last adjustment, 48 of them or as many as may be under way, over a quarter of a second or
more. After each window

    hardly anything refused or failed   the limit of calls under way doubles; after the first trouble it grows 1-25 %
    more than chance failed             limit x 0.7              (5xx, time-outs, hang-ups: too many at once)
    more than chance refused            calls a second bounded   (429: too often; see `rate_bound`)
    more than half refused              bound halved, and a pause for as long as the server asked

A refusal now and then is no limit: a server that refuses one call in ten at any rate is asked on at speed.
Obeying `Retry-After` at a fixed concurrency is not enough: a hundred waiters come back for the one free token.

Pure: time is an argument, and nothing waits here; `CallQueue` does. A server that answers nobody is `JudgeHealth`'s.

Source: Chiu & Jain 1989 (additive increase, multiplicative decrease).
"""

import math
from typing import NamedTuple

from worker.judge.limits.rate_bound import RateBound, chance, step

START_LIMIT = 16
REFUSED_OK, FAILED_OK = 0.04, 0.3
"""Shares of refusals and of failures that are accepted; what chance alone may show comes on top."""
MIN_REFUSED = 5
"""Refusals that show anything at the start: three of sixteen calls may be chance, and would cost ten seconds' work."""
STORM = 0.5
"""Share of refusals that needs no more calls to be believed."""
CUT = 0.7
WINDOW_S, MAX_WINDOW_S, WINDOW_CALLS = 0.25, 20.0, 48
MEMORY_CALLS = 200
"""Calls over which a share of refusals is seen that is too small for one window."""
MAX_PAUSE_S = 60.0
READY_S = 0.4
"""Calls are made ready for so long ahead."""


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


class _CallWindow:
    """What came of the calls that began since the last adjustment."""

    def __init__(self, number: int, since: float | None) -> None:
        self.number = number
        self.since = since
        """When its first call began; None before it."""
        self.begun = self.answered = self.refused = self.failed = 0
        self.wait_s = 0.0
        """The longest that a refusal asked to be left alone."""

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.begun)

    @property
    def has_failed_too_often(self) -> bool:
        ended = max(1, self.answered + self.refused + self.failed)
        return self.failed / ended > FAILED_OK + chance(FAILED_OK, ended)


class _Refusals:
    """Shares of refusals since the last cut, over windows: a small one is seen in many calls only."""

    def __init__(self) -> None:
        self._calls = self._refused = 0.0
        """Since the last cut; the older ones count half."""

    def are_too_many(self, calls: int, refused: int, fewest: int) -> bool:
        """Whether a window, or all since the last cut together, show more than is accepted and more than chance does.

        Args:
            calls: That began in the window.
            refused: Of them.
            fewest: Refusals that show anything.
        """
        if self._calls > MEMORY_CALLS:
            self._calls, self._refused = self._calls / 2, self._refused / 2
        self._calls, self._refused = self._calls + calls, self._refused + refused
        are_too_many = any(
            some >= fewest and some / count > REFUSED_OK + chance(REFUSED_OK, count)
            for count, some in ((calls, refused), (self._calls, self._refused))
            if count
        )
        if are_too_many:
            self._calls = self._refused = 0.0
        return are_too_many


class AdaptiveLimiter:
    """How many calls of one process may be under way, and start, towards one model on one server.

    Times are seconds of any clock that never goes back.

    Example:
        >>> limiter = AdaptiveLimiter(max_in_flight=64)
        >>> limiter.free_slots(0.0)
        16
    """

    def __init__(self, max_in_flight: int, *, rate: float | None = None) -> None:
        """Begin with sixteen calls under way.

        Args:
            max_in_flight: Calls under way that are never exceeded, at least 1.
            rate: Calls a second that are never exceeded; None without such a limit.
        """
        self.max_in_flight = max_in_flight
        self.limit = float(min(START_LIMIT, max_in_flight))
        """Calls that may be under way."""
        self.in_flight = 0
        self.latency_s = 0.0
        """Of an answer, a moving mean; 0 before the first one."""
        self.paused_until = 0.0
        self._bound = RateBound(rate)
        self._is_growing_fast = True
        self._too_many: float | None = None
        """The limit at which too much failed last."""
        self._window = _CallWindow(0, None)
        self._refusals = _Refusals()
        self._answered = self._refused = self._failed = self._others = 0

    @property
    def rate(self) -> float | None:
        """Calls that may start in a second; None while nothing bounds them."""
        return self._bound.per_s

    @property
    def totals(self) -> CallTotals:
        """What was seen since the beginning."""
        calls = self._answered + self._refused + self._failed + self._others
        return CallTotals(calls, self._refused, self._failed, self._answered)

    def free_slots(self, now: float) -> int:
        """Calls that may start now."""
        if now < self.paused_until:
            return 0
        return max(0, int(min(int(self.limit) - self.in_flight, self._bound.free(now))))

    def wait_s(self, now: float) -> float | None:
        """Seconds until a slot may be free without any call ending; None when only an end frees one."""
        if now < self.paused_until:
            return self.paused_until - now
        return None if int(self.limit) <= self.in_flight else self._bound.wait_s(now)

    def held_calls(self) -> int:
        """Calls that should be under way or ready to start, so that no slot stays free, at least 1.

        Without a bound on the rate, those that may be under way, and ready as many as a quick server answers in 0.4
        seconds: a quarter as many at least, as many again at most. With one, half a second's more than are under way.
        """
        limit = int(self.limit)
        if self.rate is None:
            return limit + _ready_calls(limit, self.latency_s)
        return min(limit + 1 + limit // 4, math.ceil(self.rate * (self.latency_s + 0.5)) + 1)

    def min_claim(self) -> int:
        """Calls that one should want before more are fetched, at least 1: each time costs the same."""
        if self.rate is not None:
            return max(1, self.held_calls() // 5)
        return max(1, 2 * _ready_calls(int(self.limit), self.latency_s) // 3)

    def begins(self, now: float) -> int:
        """A call starts.

        Returns:
            The number of its window, to be given back when it is refused.
        """
        self.in_flight += 1
        self._window.begun += 1
        self._bound.begins(now)
        if self._window.since is None:
            self._window.since = now
        return self._window.number

    def answered(self, now: float, latency_s: float) -> None:
        """The server answered: a verdict, or that this question is a bad one."""
        self.latency_s = latency_s if not self.latency_s else 0.9 * self.latency_s + 0.1 * latency_s
        self.in_flight -= 1
        self._answered += 1
        self._window.answered += 1
        self._adjust(now)

    def refused(self, now: float, window: int, wait_s: float | None = None, *, is_used_up: bool = False) -> None:
        """The server said 429.

        Args:
            now: Seconds.
            window: What `begins` gave: a call that began in an earlier window says nothing about this one.
            wait_s: How long it asks to be left alone.
            is_used_up: Whether it says that the allowance of this time is used up: then everybody waits.
        """
        self.in_flight -= 1
        self._refused += 1
        if window == self._window.number:
            self._window.refused += 1
            self._window.wait_s = max(self._window.wait_s, wait_s or 0.0)
        if is_used_up and wait_s:
            self.pause(now, wait_s)
        self._adjust(now)

    def failed(self, now: float) -> None:
        """No usable answer came."""
        self.in_flight -= 1
        self._failed += 1
        self._window.failed += 1
        self._adjust(now)

    def abandoned(self, *, is_ended: bool = False) -> None:
        """A call is over that says nothing about how fast the server may be asked.

        Args:
            is_ended: Whether the server ended it; else we did.
        """
        self.in_flight -= 1
        self._others += is_ended

    def pause(self, now: float, wait_s: float) -> None:
        """Nothing starts for so long, a minute at most."""
        self.paused_until = max(self.paused_until, now + min(wait_s, MAX_PAUSE_S))

    def _adjust(self, now: float) -> None:
        """Change the limits by what came of the window, where that is enough to judge by."""
        window = self._window
        assert window.since is not None
        span_s, share = now - window.since, window.refused_share
        enough = min(WINDOW_CALLS, max(4.0, self.limit if self.rate is None else self.rate))
        is_enough = window.begun >= enough and span_s >= max(WINDOW_S, self.latency_s)
        # refusals come back at once: without a bound the next ones would be there in milliseconds
        is_storm = share > STORM and window.refused >= max(4.0, self.limit / 4)
        if not is_enough and not is_storm and span_s < MAX_WINDOW_S:
            return
        span_s = max(span_s, WINDOW_S, self.latency_s)
        if self._refusals.are_too_many(window.begun, window.refused, MIN_REFUSED if self._is_growing_fast else 0):
            self._is_growing_fast = False
            admitted = (window.begun - window.refused) / span_s
            before = self.rate or self.limit / max(WINDOW_S, self.latency_s)
            if share > STORM:
                self.pause(now, window.wait_s)
                self._bound.halve(before, admitted)
            else:
                self._bound.cut(now, before, admitted, share, window.begun)
        else:
            self._bound.grow(window.begun / span_s)
        if window.has_failed_too_often:
            self._is_growing_fast = False
            self._too_many, self.limit = self.limit, max(1.0, self.limit * CUT)
        else:
            factor = 2.0 if self._is_growing_fast else step(self.limit, self._too_many)
            self.limit = min(float(self.max_in_flight), self.limit * factor)
        self._window = _CallWindow(window.number + 1, max(now, self.paused_until))


def _ready_calls(limit: int, latency_s: float) -> int:
    """Calls to have ready beside those under way: see `held_calls`."""
    soon = int(min(float(limit), READY_S * limit / latency_s)) if latency_s else 0
    return 1 + max(limit // 4, soon)
