"""What became of jobs and is not stored yet: collected, and written a few dozen at a time."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta

from worker.jobs.drain_result import DrainResult, OnProgress
from worker.jobs.in_flight import Attempt
from worker.jobs.outage import Unanswered
from worker.jobs.queue import JobQueue
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

_FLUSH_AT = 50
FLUSH_S = 0.5
"""Outcomes are written when there are 50, or after half a second: what a killed process loses, and pays twice."""


class OutcomeBuffer:
    """Outcomes, retries and returns of one turn on their way to the store.

    Every write is one transaction in a thread, so that calls go on meanwhile. Until it is written a job is leased to
    this process, whatever becomes of it here.
    """

    def __init__(self, queue: JobQueue, on_progress: OnProgress) -> None:
        """Begin empty.

        Args:
            queue: Where the jobs were claimed.
            on_progress: Told how many jobs each flush settled.
        """
        self._queue, self._on_progress = queue, on_progress
        self._settled: list[Settled] = []
        self._retries: list[Unanswered] = []
        self._released: list[Job] = []
        self._costs: list[FailedAttemptCost] = []
        self._flushed_at = self._renewed_at = time.monotonic()
        self._retries_due: list[float] = []
        """When jobs that were queued again here are due; monotonic seconds."""

    @property
    def is_full(self) -> bool:
        """Whether it is time to write."""
        return len(self._settled) >= _FLUSH_AT or time.monotonic() - self._flushed_at > FLUSH_S

    @property
    def must_renew(self) -> bool:
        """Whether a third of a lease has passed since leases were renewed."""
        return time.monotonic() - self._renewed_at > self._queue.lease_s / 3

    def add(self, outcome: Settled) -> None:
        """Settle a job."""
        self._settled.append(outcome)

    def retry(self, calls: Iterable[Unanswered]) -> None:
        """Queue jobs again for later; each has spent an attempt."""
        self._retries += calls

    def release(self, jobs: Iterable[Job]) -> None:
        """Give jobs back untried."""
        self._released += jobs

    def failed_cost(self, attempt: Attempt, error: BaseException) -> None:
        """Book what an attempt cost that came to nothing, and keep what its calls answered."""
        cost = None if attempt.ask is None else attempt.ask.failed_cost(error)
        if cost is not None and (cost.usd or cost.answers):
            self._costs.append(cost)

    def expects_retry(self, within_s: float) -> bool:
        """Whether a job that was queued again here is due so soon, or is still to be queued."""
        now = time.monotonic()
        self._retries_due = [at for at in self._retries_due if at > now - 1.0]
        return bool(self._retries) or any(at < now + within_s for at in self._retries_due)

    @property
    def is_empty(self) -> bool:
        """Whether everything is written."""
        return not (self._settled or self._retries or self._released or self._costs)

    @property
    def answered(self) -> int:
        """Jobs whose outcome is not written yet."""
        return len(self._settled)

    async def flush(self, total: DrainResult) -> DrainResult:
        """Write everything.

        Args:
            total: What the turn did before; its trouble is the reason that is kept with released jobs.

        Returns:
            What this write adds to it.

        Raises:
            StoreError: The database does not answer; what was not written is still here, and may be written later.
        """
        self._flushed_at = time.monotonic()
        result = DrainResult()
        if costs := tuple(self._costs):
            await asyncio.to_thread(self._queue.book, costs)
            del self._costs[: len(costs)]
        if done := tuple(self._settled):
            count = await asyncio.to_thread(self._queue.settle, done)
            del self._settled[: len(done)]
            result += DrainResult(settled=count)
            self._on_progress(count)
        if retries := tuple(self._retries):
            await self._queue_again(retries)
            del self._retries[: len(retries)]
            result += DrainResult(retried=len(retries))
        if released := tuple(self._released):
            reason = total.refused or total.outage
            wait_s = total.pause_s if total.outage else 0.0
            await asyncio.to_thread(self._queue.release_untried, released, reason, wait_s=wait_s)
            del self._released[: len(released)]
        return result

    async def _queue_again(self, retries: Sequence[Unanswered]) -> None:
        now = await asyncio.to_thread(self._queue.now)
        rows = [(call.job, now + timedelta(seconds=call.wait_s), call.reason) for call in retries]
        await asyncio.to_thread(self._queue.retry_later, rows)
        self._retries_due += [time.monotonic() + call.wait_s for call in retries]

    async def keep_leases(self, jobs: Sequence[Job]) -> None:
        """Renew the leases of jobs that are still worked on."""
        if jobs:
            self._renewed_at = time.monotonic()
            await asyncio.to_thread(self._queue.renew, jobs)
