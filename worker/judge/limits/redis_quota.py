"""A quota that all workers draw on, kept in the Redis that is their broker.

One Lua script takes from the quota or says how long to wait: one atomic step, by the Redis server's clock. While Redis
does not answer, each process keeps to its equal share.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker.judge.limits.quota import Fill, Limits, Quota, fills
from worker.settings import Settings, without_password

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("spotcheck")
PREFIX = "spotcheck:quota:"
ANSWER_S = 1.0
"""Longest wait for Redis; redis-py's own default changed from for ever to 5 s."""
AGAIN_S = 5.0
"""Seconds after which a Redis that did not answer is asked again."""
_KEPT_MS = 60_000
"""Milliseconds after which a full bucket expires."""

_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local r_per_ms, r_most = tonumber(ARGV[1]), tonumber(ARGV[2])
local t_per_ms, t_most = tonumber(ARGV[3]), tonumber(ARGV[4])
local requests, tokens = tonumber(ARGV[6]), tonumber(ARGV[7])
local held = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'at', 'call')
local passed = math.max(0, now - (tonumber(held[3]) or now))
local call = tonumber(held[4]) or 0
local r = math.min(r_most, (tonumber(held[1]) or 1) + passed * r_per_ms)
local t = math.min(math.max(t_most, call), (tonumber(held[2]) or t_most) + passed * t_per_ms)
local wait = 0
if ARGV[5] == 'take' then
  if r_per_ms > 0 and r < 1 - 1e-9 then wait = (1 - r) / r_per_ms end
  if t_per_ms > 0 and t <= 0 then wait = math.max(wait, (1 - t) / t_per_ms) end
  if wait == 0 then call = tokens end
end
if wait == 0 then
  r = math.min(r_most, r - requests)
  t = math.min(math.max(t_most, call), t - tokens)
end
if r_per_ms == 0 then r = 0 end  -- no limit, and no debt should there be one tomorrow
if t_per_ms == 0 then t = 0 end
local full = 0
if r_per_ms > 0 then full = (r_most - r) / r_per_ms end
if t_per_ms > 0 then full = math.max(full, (t_most - t) / t_per_ms) end
redis.call('HSET', KEYS[1], 'requests', string.format('%.6f', r), 'tokens', string.format('%.3f', t), 'call', call,
           'at', string.format('%.3f', math.max(now, tonumber(held[3]) or 0)))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(full, 86400000) + ARGV[8]))
return string.format('%.3f', wait)
"""


def shared(settings: Settings) -> Callable[[str, Limits, Quota], Quota] | None:
    """What makes quotas that all workers draw on; None where the broker is no Redis.

    The function takes the name of what is asked (server and model), the limits, and the quota that stands in while
    Redis does not answer.
    """
    if settings.broker.partition("://")[0] not in ("redis", "rediss"):
        return None
    return lambda what, limits, own: RedisQuota(settings.broker, what, limits, own)


class RedisQuota:
    """One quota in Redis. Serves one event loop at a time; connected when it is first asked."""

    def __init__(self, url: str, what: str, limits: Limits, own: Quota, *, again_s: float = AGAIN_S) -> None:
        """Prepare; nothing is connected yet.

        Args:
            url: Of the Redis.
            what: Name of what is asked (server and model); the same for every worker that shares the quota.
            limits: Of all workers together.
            own: Asked while Redis does not answer.
            again_s: Seconds after which Redis is asked again then.
        """
        self.limits = limits
        self._url, self._own, self._again_s = url, own, again_s
        self.key = PREFIX + hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        self._fill = [number for side in fills(limits) for number in _in_ms(side)]
        self._client: Redis | None = None
        self._script: Any = None
        self._lock = asyncio.Lock()
        self._down_until = -math.inf
        self._is_down = False

    async def take(self, tokens: int) -> float:
        """As `Quota.take`."""
        wait_ms = await self._run("take", 1, tokens)
        return await self._own.take(tokens) if wait_ms is None else wait_ms / 1000

    async def settle(self, tokens: int, requests: int = 0) -> None:
        """As `Quota.settle`."""
        if not requests and (not tokens or self.limits.tokens_per_minute is None):
            return
        if await self._run("settle", requests, tokens) is None:
            await self._own.settle(tokens, requests)

    async def close(self) -> None:
        """As `Quota.close`."""
        client, self._client, self._lock = self._client, None, asyncio.Lock()
        if client is not None:
            await client.aclose()

    async def _run(self, what: str, requests: int, tokens: int) -> float | None:
        """The script's answer; None where Redis does not give one. One at a time, over one connection."""
        from redis.exceptions import RedisError

        async with self._lock:
            if time.monotonic() < self._down_until:
                return None
            try:
                if self._client is None:
                    self._connect()
                wait_ms = float(
                    await self._script(keys=[self.key], args=[*self._fill, what, requests, tokens, _KEPT_MS])
                )
            except (RedisError, OSError, ValueError, TypeError) as error:
                self._down_until = time.monotonic() + self._again_s
                self._log_change(type(error).__name__)
                return None
            self._log_change(None)
            return wait_ms

    def _log_change(self, trouble: str | None) -> None:
        """One line when Redis goes, one when it is back."""
        if (trouble is None) is not self._is_down:
            return
        self._is_down = trouble is not None
        shown = without_password(self._url)
        if trouble is None:
            log.warning("quota: %s answers again; all workers draw on one quota", shown)
        else:
            message = "quota: %s does not answer (%s); each process keeps to its share until it does"
            log.warning(message, shown, trouble)

    def _connect(self) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._client = Redis.from_url(
            self._url,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 1),  # once: the server may have hung up on an idle connection
        )
        self._script = self._client.register_script(_SCRIPT)


def _in_ms(side: Fill) -> tuple[float, float]:
    """How one side fills, per millisecond, as the script wants it; zeros without a limit."""
    return (0.0, 0.0) if math.isinf(side.per_s) else (side.per_s / 1000, side.capacity)
