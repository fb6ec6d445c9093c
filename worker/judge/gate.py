"""Where calls wait for their turn: a `Pace` with a queue before it, in one event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from worker.judge.pace import Pace


class Gate:
    """Lets calls through at a pace, first come, first served.

    Knows what the pace knows from one event loop to the next; whoever waits belongs to the loop.
    """

    def __init__(self, pace: Pace, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Open a gate.

        Args:
            pace: Of the model and server behind it.
            clock: Monotonic seconds.
        """
        self.pace = pace
        self.clock = clock
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    def appetite(self) -> int:
        """How many more calls should be made ready now; 0 while nothing may start for a while."""
        now = self.clock()
        if now < self.pace.open_until:
            return 0
        return max(0, self.pace.in_hand() - self.pace.in_flight - len(self._waiting))

    async def enter(self) -> int:
        """Wait for a turn; whoever has had it tells how it ended with one of the methods below.

        Returns:
            The look of the pace that the call belongs to.
        """
        now = self.clock()
        if not self._waiting and self.pace.room(now) > 0:
            return self.pace.begins(now)
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_through()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.gave_up()
            elif turn in self._waiting:
                self._waiting.remove(turn)
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
            self._waiting.popleft().cancel()

    def leave_loop(self) -> None:
        """The event loop ends: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self.pace.in_flight = 0

    def _let_through(self) -> None:
        now = self.clock()
        while self._waiting and self.pace.room(now) > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self.pace.begins(now))
        if not self._waiting or self._timer is not None:
            return
        wait_s = self.pace.wait_s(now)
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._timer_ends)

    def _timer_ends(self) -> None:
        self._timer = None
        self._let_through()
