"""How fast this process asks each model: written to the store every few seconds while it works, and when it ends.

It never holds up the work: it writes in a thread, waits a second at most for a store that is busy, and an error is one
line in the log.
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
REPORT_S = 3.0
WINDOW_S = 12.0
"""Rates are those of the last seconds of work, so many at most."""
_PATIENCE_S = 1.0

Queues = Callable[[str], CallQueue]


class RateReporter:
    """Writes the rates, states and troubles of one process's judges to the store."""

    def __init__(self, project: Project) -> None:
        """Write nothing yet."""
        self._project = project
        self._pid = os.getpid()
        self.worker = f"{socket.gethostname()}:{self._pid}"
        """As `store.queue.workers` names processes. It is the process that asks: the child of a prefork worker, not its
        parent, since each child has a limiter of its own; readers join the two by host and lane."""
        self._counted: defaultdict[str, Calls] = defaultdict(Calls)
        """Calls by model that are in the store already."""
        self._history: defaultdict[str, deque[tuple[float, Calls]]] = defaultdict(deque)
        """Monotonic second and calls until then, of the last seconds; the oldest first."""
        self._written: dict[str, tuple[object, ...]] = {}
        self._has_failed = False
        self._unsaid: str | None = None
        """Why the last report was not written, until the work that it is about has ended well: what fails with it says
        more about the store."""

    async def report_while(self, work: Awaitable[DrainResult], queues: Queues, models: Iterable[str]) -> DrainResult:
        """Do some work, and write meanwhile and at its end how fast it goes.

        Args:
            work: A turn at the judge's lane.
            queues: The queue of calls to a model.
            models: Those that may be asked.
        """
        watched = {model: queues(model) for model in models}
        for model, queue in watched.items():
            self._history[model] = deque([(time.monotonic(), _calls(queue))])
        is_over = asyncio.Event()
        reporting = asyncio.create_task(self._keep_reporting(watched, is_over))
        try:
            done = await work
        finally:
            is_over.set()
            await reporting
        await self._report(watched)
        if self._unsaid is not None:
            log.warning("how fast the judge is asked was not noted: %s", self._unsaid)
            self._unsaid = None
        return done

    def end(self) -> None:
        """This process ends: its rows are removed, unless the store did not answer the last time."""
        if not self._written or self._has_failed or self._pid != os.getpid():
            return
        with suppress(StoreError), self._project.store.write(patience_s=_PATIENCE_S) as connection:
            rates.forget_process(connection, self.worker)

    async def _keep_reporting(self, queues: dict[str, CallQueue], is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await is_over.wait()
            if not is_over.is_set():
                await self._report(queues)

    async def _report(self, queues: dict[str, CallQueue]) -> None:
        moment = time.monotonic()
        changed = []
        for model, queue in queues.items():
            state = (_calls(queue), queue.limiter.in_flight, queue.waiting, queue.health.trouble)
            if state != self._written.get(model, (Calls(), 0, 0, None)) or queue.limiter.in_flight:
                changed.append(model)
                self._written[model] = state
            history = self._history[model]
            history.append((moment, _calls(queue)))
            while moment - history[0][0] > WINDOW_S and len(history) > 2:
                history.popleft()
        if not changed:
            return
        drafts = {model: self._draft(model, queues[model]) for model in changed}
        fresh = {model: _calls(queues[model]).since(self._counted[model]) for model in changed}
        try:
            await asyncio.to_thread(self._store, drafts, fresh)
        except Exception as error:  # noqa: BLE001 a report that fails must not end the work
            if not self._has_failed:
                self._unsaid = str(error)
            self._has_failed = True
            return
        self._has_failed = False
        for model, calls in fresh.items():
            self._counted[model] = Calls(*(a + b for a, b in zip(self._counted[model], calls, strict=True)))

    def _draft(self, model: str, queue: CallQueue) -> Callable[[datetime], RateReading]:
        """A reading of now, to be dated by the store's clock."""
        limiter, moment = queue.limiter, time.monotonic()
        since, before = self._history[model][0]
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
