"""One process's turn at one batch: fill it, start it, ask how it stands, collect what was answered."""

import logging
from datetime import datetime, timedelta

from worker.jobs.batch.collecting import BatchCollector, status_fields
from worker.jobs.batch.filling import AskNow, BatchFiller, PlanOf
from worker.jobs.batch.held import HeldBatch
from worker.jobs.drain_result import DrainResult, OnProgress
from worker.jobs.queue import Stop
from worker.jobs.trouble import in_short
from worker.judge.batch_api import BatchServer
from worker.judge.wire.chat import ChatWire
from worker.project.project import Project
from worker.store.queue import batches
from worker.store.queue.batches import Batch

log = logging.getLogger("spotcheck")
_MAX_POLL_S = 300.0
"""The status of a batch that takes hours is asked for this often."""
_TOO_MUCH_WAIT_S = 600.0
"""How long jobs wait that a server would not take, having too many already."""
_CANCEL_S = 3600.0
"""How long a batch that was cancelled at its deadline may take to end."""


class BatchTurn:
    """The steps that a batch can take: filling → uploaded → running → collecting → done."""

    def __init__(
        self,
        project: Project,
        server: BatchServer,
        row: Batch,
        ask_now: AskNow,
        plan_of: PlanOf,
        stop: Stop,
        on_progress: OnProgress,
    ) -> None:
        """Take a turn; see `BatchLane` for what it is given."""
        self._held = HeldBatch(project, row, stop, on_progress)
        self._server = server
        self._wire = ChatWire()
        self._filler = BatchFiller(self._held, server, self._wire, ask_now, plan_of)
        self._collector = BatchCollector(self._held, server, self._wire, plan_of)
        self._poll_s = project.settings.judge.batch.poll_s
        self.is_empty = False
        """Whether there was nothing to do: no job could be claimed for the batch, and it was removed."""

    @property
    def row(self) -> Batch:
        """The batch as it was last written."""
        return self._held.row

    @property
    def done(self) -> DrainResult:
        """What became of jobs."""
        return self._held.done

    def run(self) -> None:
        """Every step that can be taken now.

        Raises:
            Stopped: Told to stop between two chunks.
            BatchTaken: It took longer than the batch was held, and another process goes on with it.
            JudgeError: What the server said instead.
        """
        steps = {"filling": self._fill, "uploaded": self._start, "running": self._poll, "collecting": self._collect}
        before = None
        while self.row.state != before and self.row.state in steps:
            before = self.row.state
            steps[before]()

    def leave(self) -> None:
        """Let go of the batch: another process may take it at once."""
        self._held.record(look_at=self._held.now())

    def postpone(self, trouble: str, wait_s: float) -> None:
        """Try the same step again later."""
        at = self._held.now() + timedelta(seconds=wait_s)
        self._held.record(trouble=trouble[:300], tries=self.row.tries + 1, look_at=at)

    def give_up(self, why: str, *, is_spent: bool) -> None:
        """All jobs that are still the batch's go to the lane that asks at once.

        Args:
            why: Kept with the batch.
            is_spent: Whether the server may have answered, and bills it.
        """
        held, store = self._held, self._held.project.store
        with store.write() as connection:
            jobs, count = batches.jobs_of(connection, self.row.pk), 0
            for chunk in held.chunks(jobs):
                count += held.requeue(connection, chunk, why, is_spent=is_spent)
            held.record_in(connection, state="done", done_at=store.now(connection), trouble=why[:300])
        held.done += DrainResult(retried=count)
        log.warning("batch %d: %s; %d jobs are asked at once instead", self.row.pk, in_short(why), count)

    def shrink(self, why: str, wait_s: float = 0.0, **fields: object) -> None:
        """The server does not take so much: batches of half as many, later; asked at once they would cost double.

        Args:
            why: What the server said.
            wait_s: Seconds until its jobs may be tried again.
            fields: What else is known of the batch.
        """
        held, store = self._held, self._held.project.store
        with store.write() as connection:
            now = store.now(connection)
            jobs = batches.jobs_of(connection, self.row.pk)
            for chunk in held.chunks(jobs):
                later = now + timedelta(seconds=wait_s)
                held.requeue(connection, chunk, why, is_spent=False, lane="batch", not_before=later)
            ended = {"state": "done", "done_at": now, "trouble": why[:300], "is_too_much": True}
            held.record_in(connection, **ended, **fields)
        held.done += DrainResult(retried=len(jobs))
        log.warning("batch %d is too much for the server; half as many are sent in %.0f s", self.row.pk, wait_s)

    def _fill(self) -> None:
        if self._held.is_late():
            self.give_up("no batch was made of them in time", is_spent=False)
        elif not self._filler.fill():
            self.is_empty = self.done == DrainResult()

    def _start(self) -> None:
        """Start the batch, unless a process that died had started it."""
        held = self._held
        if held.is_late():
            self.give_up("no batch was started in time", is_spent=False)
            return
        assert self.row.file_id is not None
        status = self._server.find(self.row.file_id)
        if status is None:
            held.hold()  # no other process may start it before this one has written down that it did
            status = self._server.create(self.row.file_id, f"/v1{self._wire.path}", self.row.owner)
        log.info("batch %d: %d jobs given to %s as %s", self.row.pk, self.row.jobs, self.row.model, status.batch_id)
        held.record(
            state="running",
            submitted_at=held.now(),
            batch_id=status.batch_id,
            tries=0,
            trouble=None,
            **status_fields(status),
        )

    def _poll(self) -> None:
        """Ask the server how it stands; past its deadline the batch is cancelled."""
        held = self._held
        assert self.row.batch_id is not None
        status = self._server.poll(self.row.batch_id)
        if status.has_ended:
            held.record(state="collecting", **status_fields(status), tries=0)
            return
        now = held.now()
        if now > self.row.deadline_at + timedelta(seconds=_CANCEL_S):
            self.give_up("it did not end when it was cancelled", is_spent=True)
            return
        if held.is_late() and status.state != "cancelling":
            status = self._server.cancel(self.row.batch_id)
            text = "batch %d is cancelled at its deadline: %d of %d answered"
            log.warning(text, self.row.pk, status.completed, self.row.jobs)
        held.record(**status_fields(status), tries=0, trouble=None, look_at=self._next_poll(now))

    def _next_poll(self, now: datetime) -> datetime:
        """After a tenth of the batch's age, within bounds; and at its deadline."""
        age = now - (self.row.submitted_at or now)
        soonest = now + timedelta(seconds=self._poll_s)
        at = now + min(timedelta(seconds=_MAX_POLL_S), age / 10)
        return max(soonest, min(at, self.row.deadline_at))

    def _collect(self) -> None:
        assert self.row.batch_id is not None
        status = self._server.poll(self.row.batch_id)
        if status.is_too_much:
            self.shrink(status.message or "too much", _TOO_MUCH_WAIT_S, **status_fields(status))
        else:
            self._collector.collect(status)
