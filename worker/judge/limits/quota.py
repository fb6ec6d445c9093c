"""A hard quota, known beforehand: what all workers together may ask of one model on one server in a minute.

`AdaptiveLimiter` finds by trying what a server can take; a quota is never exceeded to find it. It is a token bucket
that holds half a second's worth, or one call's. A call takes one request and the tokens that it may cost at most; what
its answer says it did cost is settled afterwards. Tokens may go into debt by one call, so that a large call waits no
longer than a small one; requests may not.

Source: Turner 1986 (leaky bucket as a meter).
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from worker.errors import SpotcheckError

BURST_S = 0.5
"""Seconds of the quota that can be saved up; one call's at least."""
USED = 0.98
"""Part of the quota that is used: requests take unequal times to arrive, and the server's minute is not ours."""
SHARE_S = 5.0
"""Seconds between two counts of the processes that share a quota."""


class Limits(NamedTuple):
    """A quota; None without such a limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def over(self, processes: int) -> "Limits":
        """The equal share of one of so many processes."""
        return Limits(*(None if limit is None else limit / processes for limit in self))


class Fill(NamedTuple):
    """How one of a bucket's two sides fills."""

    per_s: float
    capacity: float
    """What can be saved up; of tokens, what the last call took if that is more."""


NO_LIMIT = Fill(math.inf, math.inf)


def fills(limits: Limits) -> tuple[Fill, Fill]:
    """How a bucket for these limits fills, with requests and with tokens.

    No minute, wherever it begins, holds more requests than the quota: what can be saved up is taken off the rate.

    Example:
        >>> fills(Limits(requests_per_minute=600))[0]
        Fill(per_s=9.734666666666667, capacity=5.0)
    """
    return _fill(limits.requests_per_minute), _fill(limits.tokens_per_minute)


def _fill(per_minute: float | None) -> Fill:
    if per_minute is None:
        return NO_LIMIT
    capacity = max(1.0, BURST_S * per_minute / 60)
    return Fill(USED * max(per_minute - (capacity - 1), per_minute / 2) / 60, capacity)


def tokens_of(body: bytes) -> int:
    """About how many tokens a request reads: bytes / 4, as everywhere; what it did read is settled.

    Example:
        >>> tokens_of(b'{"model": "m"}')
        4
    """
    return -(-len(body) // 4)


class Quota(Protocol):
    """What every call to one model takes from first. Never raises: out of reach, it falls back on an equal share."""

    limits: Limits

    async def take(self, tokens: int) -> float:
        """Take one request and so many tokens, or nothing.

        Returns:
            Seconds after which to try again; 0 when they were taken.
        """

    async def settle(self, tokens: int, requests: int = 0) -> None:
        """Take what was used beyond what was taken; negative gives back."""

    async def close(self) -> None:
        """Close connections, in the loop that opened them; the quota may then be used in another loop."""


class Bucket:
    """What is left of a quota, in one process; time is an argument.

    Example:
        >>> bucket = Bucket(Limits(requests_per_minute=60))
        >>> bucket.take(0.0, 100), round(bucket.take(0.0, 100), 2)
        (0.0, 1.02)
    """

    def __init__(self, limits: Limits) -> None:
        """Begin with one request, and the tokens that can be saved up."""
        self._requests_fill, self._tokens_fill = fills(limits)
        self._requests, self._tokens = 1.0, self._tokens_fill.capacity
        self._call = 0
        """Tokens that the last call took."""
        self._at = -math.inf

    def refit(self, now: float, limits: Limits) -> None:
        """Go on with other limits."""
        self._earn(now)
        self._requests_fill, self._tokens_fill = fills(limits)
        self._keep(self._requests, self._tokens)

    def take(self, now: float, tokens: int) -> float:
        """As `Quota.take`."""
        self._earn(now)
        wait_s = 0.0
        if self._requests < 1 - 1e-9:
            wait_s = (1 - self._requests) / self._requests_fill.per_s
        if self._tokens <= 0:
            wait_s = max(wait_s, (1 - self._tokens) / self._tokens_fill.per_s)
        if not wait_s:
            self._call = tokens
            self._keep(self._requests - 1, self._tokens - tokens)
        return wait_s

    def settle(self, now: float, tokens: int, requests: int) -> None:
        """As `Quota.settle`."""
        self._earn(now)
        self._keep(self._requests - requests, self._tokens - tokens)

    def _earn(self, now: float) -> None:
        passed_s = max(0.0, now - self._at) if self._at > -math.inf else 0.0
        self._at = max(self._at, now)
        if passed_s:
            earned = (passed_s * self._requests_fill.per_s, passed_s * self._tokens_fill.per_s)
            self._keep(self._requests + earned[0], self._tokens + earned[1])

    def _keep(self, requests: float, tokens: float) -> None:
        self._requests = min(self._requests_fill.capacity, requests)
        self._tokens = min(max(self._tokens_fill.capacity, self._call), tokens)


class OwnShare:
    """This process's equal share of a quota, where workers have nothing in common but the store."""

    def __init__(
        self, limits: Limits, processes: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep to a share.

        Args:
            limits: Of all processes together.
            processes: Counts the processes that share, this one included; called every few seconds in a thread.
            clock: Monotonic seconds.
        """
        self.limits = limits
        self.processes, self._clock = processes, clock
        self._share = 1
        self._asked_at = -math.inf
        self._bucket: Bucket | None = None

    async def take(self, tokens: int) -> float:
        """As `Quota.take`."""
        if self._clock() >= self._asked_at + SHARE_S:
            self._asked_at = self._clock()
            await self._count_processes()
        return self._own_bucket().take(self._clock(), tokens)

    async def settle(self, tokens: int, requests: int = 0) -> None:
        """As `Quota.settle`."""
        self._own_bucket().settle(self._clock(), tokens, requests)

    async def close(self) -> None:
        """Nothing is open."""

    async def _count_processes(self) -> None:
        try:
            share = max(1, await asyncio.to_thread(self.processes))
        except SpotcheckError:  # the store does not answer: the last count stands
            return
        if share != self._share:
            self._share = share
            self._own_bucket().refit(self._clock(), self.limits.over(share))

    def _own_bucket(self) -> Bucket:
        if self._bucket is None:
            self._bucket = Bucket(self.limits.over(self._share))
        return self._bucket
