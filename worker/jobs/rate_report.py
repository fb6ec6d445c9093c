"""This process says in the store how fast it asks each model: every few seconds while it works, and when it ends.

Beside the work and never in its way: off the event loop, a second's patience with a store that is busy, and whatever
goes wrong costs one line in the log.
"""

import asyncio
import logging
import os
import socket
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from worker.errors import StoreError
from worker.jobs.drain_result import DrainResult
from worker.judge.address import shown_url
from worker.judge.limits.call_queue import CallQueue
from worker.project.project import Project
from worker.store.queue import rates
from worker.store.queue.rates import Calls, RateReading

log = logging.getLogger("spotcheck")
NOTE_S = 3.0
WINDOW_S = 12.0
"""Rates are those of so many seconds of work, at most."""
_PATIENCE_S = 1.0

Queues = Callable[[str], CallQueue]


class RateReporter:
    """What one process has said of its pace, and has still to say."""

    def __init__(self, project: Project) -> None:
        """Say nothing yet."""
        self._project = project
        self._pid = os.getpid()
        self.worker = f"{socket.gethostname()}:{self._pid}"
        """As `store.workers` names processes. It is the process that asks: the child of a prefork worker, not its
        parent, since each child has a pace of its own; the host and the lane tie the two."""
        self._counted: defaultdict[str, Calls] = defaultdict(Calls)
        """Calls by model that are in the store already."""
        self._seen: defaultdict[str, deque[tuple[float, Calls]]] = defaultdict(deque)
        """What was seen at moments of the last seconds, the oldest first."""
        self._noted: dict[str, tuple[object, ...]] = {}
        self._is_store_deaf = False

    async def beside(self, work: Awaitable[DrainResult], queues: Queues, models: Iterable[str]) -> DrainResult:
        """Do some work, and say meanwhile and at its end how fast it goes.

        Args:
            work: A turn at the judge's lane.
            queues: The queue of calls to a model.
            models: Those that may be asked.
        """
        watched = {model: queues(model) for model in models}
        for model, queue in watched.items():
            self._seen[model] = deque([(time.monotonic(), _calls(queue))])
        is_over = asyncio.Event()
        noting = asyncio.create_task(self._keep_noting(watched, is_over))
        try:
            done = await work
        finally:
            is_over.set()
            await noting
        await self._note(watched)
        return done

    def gone(self) -> None:
        """This process ends: nobody need count it any more. Not said to a store that did not hear the last word."""
        if not self._noted or self._is_store_deaf or self._pid != os.getpid():
            return
        with suppress(StoreError), self._project.store.write(patience_s=_PATIENCE_S) as connection:
            rates.forget_process(connection, self.worker)

    async def _keep_noting(self, queues: dict[str, CallQueue], is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTE_S):
                    await is_over.wait()
            if not is_over.is_set():
                await self._note(queues)

    async def _note(self, queues: dict[str, CallQueue]) -> None:
        moment = time.monotonic()
        news = []
        for model, queue in queues.items():
            now_so = (_calls(queue), queue.limiter.in_flight, queue.waiting, queue.health.trouble)
            if now_so != self._noted.get(model, (Calls(), 0, 0, None)) or queue.limiter.in_flight:
                news.append(model)
                self._noted[model] = now_so
            seen = self._seen[model]
            seen.append((moment, _calls(queue)))
            while moment - seen[0][0] > WINDOW_S and len(seen) > 2:
                seen.popleft()
        if not news:
            return
        drafts = {model: self._draft(model, queues[model]) for model in news}
        fresh = {model: _calls(queues[model]).since(self._counted[model]) for model in news}
        try:
            await asyncio.to_thread(self._store, drafts, fresh)
        except Exception as error:  # noqa: BLE001 who only watches must never cost the work
            if not self._is_store_deaf:
                log.warning("how fast the judge is asked was not noted: %s", error)
            self._is_store_deaf = True
            return
        self._is_store_deaf = False
        for model, calls in fresh.items():
            self._counted[model] = Calls(*(a + b for a, b in zip(self._counted[model], calls, strict=True)))

    def _draft(self, model: str, queue: CallQueue) -> Callable[[datetime], RateReading]:
        """A reading of now, to be dated by the store's clock."""
        limiter, moment = queue.limiter, time.monotonic()
        since, before = self._seen[model][0]
        calls = _calls(queue).since(before)
        rest_s = max(limiter.paused_until - queue.clock(), queue.health.left_alone_s)
        trouble = queue.health.trouble
        in_flight, waiting, limit, rate = limiter.in_flight, queue.waiting, int(limiter.limit), limiter.rate
        latency_s = limiter.latency_s or None

        def dated(at: datetime) -> RateReading:
            return RateReading(
                worker=self.worker,
                model=model,
                server=shown_url(self._project.settings.judge.base_url),
                at=at,
                since_at=at - timedelta(seconds=moment - since),
                in_flight=in_flight,
                waiting=waiting,
                limit=limit,
                per_second=rate,
                **calls._asdict(),
                latency_s=latency_s,
                resumes_at=at + timedelta(seconds=rest_s) if rest_s > 0 else None,
                trouble=trouble,
            )

        return dated

    def _store(self, drafts: dict[str, Callable[[datetime], RateReading]], fresh: dict[str, Calls]) -> None:
        store = self._project.store
        with store.write(patience_s=_PATIENCE_S) as connection:
            at = store.now(connection)
            rates.record_rates(connection, [dated(at) for dated in drafts.values()], fresh)


def _calls(queue: CallQueue) -> Calls:
    seen = queue.limiter.totals
    return Calls(seen.answered, seen.refused, seen.failed)
