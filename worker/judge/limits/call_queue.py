"""Where calls wait for their turn: a `Pace` with a queue before it, in one event loop."""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.quota import Quota

QUOTA_LOOK_S = 0.25
"""Longest sleep before a quota is asked again: others may have given back what they did not use."""


SELDOM = 1.0
"""Calls a second below which none is made ready before its turn."""


class _Waiter(NamedTuple):
    turn: asyncio.Future[int]
    tokens: int


class CallQueue:
    """Lets calls through at a pace, first come, first served; where there is a quota, each takes its part of it first.

    Only the first in the queue asks the quota, when the pace has room: so nothing is taken long before it is used, and
    of many processes that wait for one request only one waiter each comes back for it.

    Knows what the pace knows from one event loop to the next; whoever waits belongs to the loop.
    """

    def __init__(
        self, pace: AdaptiveLimiter, *, quota: Quota | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open a gate.

        Args:
            pace: Of the model and server behind it.
            quota: What the model may be asked by all workers together; None without such a limit.
            clock: Monotonic seconds.
        """
        self.pace = pace
        self.quota = quota
        self.clock = clock
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._usher: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    def appetite(self) -> int:
        """How many more calls should be made ready now; 0 while nothing may start for a while."""
        now = self.clock()
        if now < self.pace.open_until:
            return 0
        wanted = max(0, self.in_hand() - self.pace.in_flight - len(self._waiting))
        if self.pace.rate is None or self.pace.rate >= SELDOM:
            return wanted
        # what waits here for seconds, another process might ask at once: only what can start now
        return min(wanted, max(0, self.pace.room(now) - len(self._waiting)))

    def in_hand(self) -> int:
        """As the pace has it; where a quota is smaller, half a second's more than are under way at its rate."""
        most = self.pace.in_hand()
        if self.quota is None or self.quota.limits.requests_per_minute is None:
            return most
        per_s = self.quota.limits.requests_per_minute / 60
        return min(most, math.ceil(per_s * (self.pace.latency_s + 0.5)) + 1)

    def worth_it(self) -> int:
        """Calls that one should want before more are fetched, at least 1."""
        most = self.pace.worth_it()
        return most if self.quota is None else min(most, max(1, self.in_hand() // 5))

    async def enter(self, tokens: int = 0) -> int:
        """Wait for a turn; whoever has had it tells how it ended with one of the methods below.

        Args:
            tokens: What the call may cost of a quota.

        Returns:
            The look of the pace that the call belongs to.
        """
        now = self.clock()
        if self.quota is None and not self._waiting and self.pace.room(now) > 0:
            return self.pace.begins(now)
        waiting = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        self._waiting.append(waiting)
        self._let_through()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.gave_up()
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def answered(self, latency_s: float) -> None:
        """The call was answered."""
        self.pace.answered(self.clock(), latency_s)
        self._let_through()

    def refused(self, look: int, wait_s: float | None, *, is_used_up: bool) -> None:
        """The call was refused for now; see `Pace.refused`."""
        self.pace.refused(self.clock(), look, wait_s, is_used_up=is_used_up)
        self._let_through()

    def failed(self) -> None:
        """The call got no usable answer."""
        self.pace.failed(self.clock())
        self._let_through()

    def gave_up(self) -> None:
        """The call was ended by us."""
        self.pace.gave_up()
        self._let_through()

    def shut(self) -> None:
        """The server refuses us altogether: nobody who waits is let through, and later one call alone, to see."""
        self.pace.shut(self.clock())
        self.dismiss()

    def dismiss(self) -> None:
        """Send away whoever waits; their tasks are cancelled."""
        while self._waiting:
            self._waiting.popleft().turn.cancel()

    def leave_loop(self) -> None:
        """The event loop ends: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._usher is not None:
            self._usher.cancel()
            self._usher = None
        self._waiting.clear()
        self.pace.in_flight = 0

    def _let_through(self) -> None:
        if self.quota is not None:
            self._call_usher(self.quota)
            return
        now = self.clock()
        while self._waiting and self.pace.room(now) > 0:
            self._begin_next()
        if not self._waiting or self._timer is not None:
            return
        wait_s = self.pace.wait_s(now)
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._timer_ends)

    def _timer_ends(self) -> None:
        self._timer = None
        self._let_through()

    def _begin_next(self) -> bool:
        """Let the first who still waits through; False when nobody does."""
        while self._waiting:
            turn = self._waiting.popleft().turn
            if not turn.done():
                turn.set_result(self.pace.begins(self.clock()))
                return True
        return False

    def _call_usher(self, quota: Quota) -> None:
        self._news.set()
        if self._waiting and (self._usher is None or self._usher.done()):
            self._news = asyncio.Event()
            self._usher = asyncio.get_running_loop().create_task(self._let_through_by(quota, self._news))

    async def _let_through_by(self, quota: Quota, news: asyncio.Event) -> None:
        """One after the other, each with its part of the quota, while somebody waits."""
        try:
            while self._waiting:
                now = self.clock()
                if self.pace.room(now) <= 0:
                    news.clear()
                    wait_s = self.pace.wait_s(now)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(None if wait_s is None else max(wait_s, 0.001)):
                            await news.wait()
                    continue
                tokens = self._waiting[0].tokens
                if (wait_s := await quota.take(tokens)) > 0:
                    await asyncio.sleep(min(wait_s, QUOTA_LOOK_S))
                elif not self._begin_next():
                    await quota.settle(-tokens, -1)
        except Exception as error:  # noqa: BLE001 told to those who wait: they would wait for ever
            while self._waiting:
                turn = self._waiting.popleft().turn
                if not turn.done():
                    turn.set_exception(error)
