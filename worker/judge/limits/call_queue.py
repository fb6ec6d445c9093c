"""Where calls to one model wait for their turn: an `AdaptiveLimiter` with a queue before it, in one event loop."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.health import JudgeHealth
from worker.judge.limits.quota import Quota

MAX_QUOTA_SLEEP_S = 0.25
"""Longest sleep before a quota is asked again: others may have given back what they did not use."""
_MIN_TIMER_S = 0.001


class _Waiter:
    """A call that waits for its turn."""

    def __init__(self, tokens: int) -> None:
        self.turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.tokens = tokens


class CallQueue:
    """Lets calls start as the limiter allows, first come, first served; with a quota, each takes its part of it first.

    Keeps what the limiter and the health know from one event loop to the next; those who wait belong to the loop.
    """

    def __init__(
        self, limiter: AdaptiveLimiter, *, quota: Quota | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open a queue.

        Args:
            limiter: Of the model and server that are called.
            quota: What the model may be asked by all workers together; None without such a limit.
            clock: Seconds of a clock that never goes back.
        """
        self.limiter, self.quota, self.clock = limiter, quota, clock
        self.health = JudgeHealth(limiter.max_in_flight, clock=clock)
        """Whether the model answers."""
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._quota_queue = None if quota is None else _QuotaQueue(self, quota, self._waiters)

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiters)

    def free_slots(self) -> int:
        """Calls that may start now, the quota aside."""
        now = self.clock()
        if self.health.state == "closed":
            return self.limiter.free_slots(now)
        is_paused = now < self.limiter.paused_until
        return 1 if not is_paused and self.health.probe(self.limiter.in_flight) else 0

    def resumes_in_s(self) -> float | None:
        """Seconds until a slot may be free without any call ending; None when only an end frees one."""
        now = self.clock()
        rest_s = max(self.health.left_alone_s, self.limiter.paused_until - now)
        if rest_s > 0:
            return rest_s
        return self.limiter.wait_s(now) if self.health.state == "closed" else None

    async def enter(self, tokens: int = 0) -> int:
        """Wait for a turn; whoever has had it says with one of the methods below how the call ended.

        Args:
            tokens: What the call may cost of a quota.

        Returns:
            The number of the limiter's window that the call belongs to.

        Raises:
            asyncio.CancelledError: Whoever waits was sent away by `cancel_waiting`, or cancelled itself.
        """
        if self.quota is None and not self._waiters and self.free_slots() > 0:
            return self._begin()
        waiter = _Waiter(tokens)
        self._waiters.append(waiter)
        self._admit()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.abandoned()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def answered(self, latency_s: float) -> None:
        """The call was answered."""
        self.health.answered()
        self.limiter.answered(self.clock(), latency_s)
        self._admit()

    def refused(self, window: int, wait_s: float | None, *, is_used_up: bool) -> None:
        """The call was refused for now; see `AdaptiveLimiter.refused`."""
        self.health.unanswered()
        self.limiter.refused(self.clock(), window, wait_s, is_used_up=is_used_up)
        self._admit()

    def failed(self) -> None:
        """The call got no usable answer."""
        self.health.unanswered()
        self.limiter.failed(self.clock())
        self._admit()

    def abandoned(self) -> None:
        """The call was ended by us."""
        self.limiter.abandoned()
        self._admit()

    def force_open(self, trouble: str) -> None:
        """The server refuses us, in words that may be shown: nobody else need hear it from the server."""
        self.health.force_open(trouble)
        self.limiter.abandoned(is_ended=True)
        self.cancel_waiting()

    def cancel_waiting(self) -> None:
        """Send away all who wait; their tasks are cancelled."""
        while self._waiters:
            self._waiters.popleft().turn.cancel()

    def detach(self) -> None:
        """The event loop ends: nobody waits any more, and nothing is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._quota_queue is not None:
            self._quota_queue.detach()
        self._waiters.clear()
        self.limiter.in_flight = 0

    def admit_next(self) -> bool:
        """The first who still waits starts; False when nobody does."""
        while self._waiters:
            turn = self._waiters.popleft().turn
            if not turn.done():
                turn.set_result(self._begin())
                return True
        return False

    def _begin(self) -> int:
        self.health.begins()
        return self.limiter.begins(self.clock())

    def _admit(self) -> None:
        """Start those who wait as far as slots are free, and look again when the next one may be."""
        if self._quota_queue is not None:
            self._quota_queue.wake()
            return
        while self._waiters and self.free_slots() > 0:
            self.admit_next()
        if self._waiters and self._timer is None and (wait_s := self.resumes_in_s()) is not None:

            def on_time() -> None:
                self._timer = None
                self._admit()

            self._timer = asyncio.get_running_loop().call_later(max(wait_s, _MIN_TIMER_S), on_time)


class _QuotaQueue:
    """Takes the quota's part for one waiter after the other, while somebody waits.

    Only the first in the queue asks the quota, and only when a slot is free: so nothing is taken long before it is
    used, and of many processes that wait for one request only one waiter each comes back for it.
    """

    def __init__(self, queue: CallQueue, quota: Quota, waiters: deque[_Waiter]) -> None:
        self._queue, self._quota, self._waiters = queue, quota, waiters
        self._task: asyncio.Task[None] | None = None
        self._has_changed = asyncio.Event()

    def wake(self) -> None:
        """Somebody came, or a call ended."""
        self._has_changed.set()
        if self._waiters and (self._task is None or self._task.done()):
            self._has_changed = asyncio.Event()  # of the running loop
            self._task = asyncio.get_running_loop().create_task(self._admit())

    def detach(self) -> None:
        """The event loop ends."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _admit(self) -> None:
        try:
            while self._waiters:
                if self._queue.free_slots() <= 0:
                    await self._wait_for_a_slot()
                    continue
                tokens = self._waiters[0].tokens
                if (wait_s := await self._quota.take(tokens)) > 0:
                    await asyncio.sleep(min(wait_s, MAX_QUOTA_SLEEP_S))  # until the quota has room again
                elif not self._queue.admit_next():
                    await self._quota.settle(-tokens, -1)
        except Exception as error:  # noqa: BLE001 told to those who wait: they would wait for ever
            while self._waiters:
                turn = self._waiters.popleft().turn
                if not turn.done():
                    turn.set_exception(error)

    async def _wait_for_a_slot(self) -> None:
        self._has_changed.clear()
        wait_s = self._queue.resumes_in_s()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wait_s is None else max(wait_s, _MIN_TIMER_S)):
                await self._has_changed.wait()
