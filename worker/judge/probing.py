"""While the form in which a model answers is not known, few questions are under way: each may be paid for nothing."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from worker.errors import JudgeRefusesUs, JudgeUnavailable

PROBES = 3
"""Questions at the same time; as many as `client.SILENCES`, so that a server that is silent is understood by them."""


class Probing:
    """Lets a few questions through at a time, and all of them once one has found the form or got no answer.

    No answer says nothing about the form, so nobody waits for it: whether the judge is down is not decided here. Where
    the server refuses us, those who wait are sent away, as `CallQueue` does.
    """

    def __init__(self) -> None:
        """Begin; nobody is let through yet."""
        self._free = PROBES
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._is_over = False

    def end(self) -> None:
        """Let everybody through from now on."""
        self._is_over = True
        while self._waiters:
            self._admit()

    async def __aenter__(self) -> Self:
        """Wait for a slot, or for the end.

        Raises:
            asyncio.CancelledError: The server refuses us, or whoever waits cancelled itself.
        """
        if self._is_over or self._free > 0:
            self._free -= 1
            return self
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the slot to the next."""
        if isinstance(error, JudgeRefusesUs):
            self._is_over = True
            while self._waiters:
                self._waiters.popleft().cancel()
        elif isinstance(error, JudgeUnavailable):
            self.end()
        self._leave()

    def _leave(self) -> None:
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
                return
