"""A batch that this process holds: its row in the store, its jobs, and what became of them in this turn."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from worker.jobs.drain_result import DrainResult, OnProgress
from worker.jobs.queue import ClaimedJob, JobQueue, Stop
from worker.project.project import Project
from worker.store.queue import batches, leases
from worker.store.queue.batches import HOLD_S, Batch
from worker.store.queue.job import Job

JOBS_AT_ONCE = 200
"""Jobs a transaction."""


class Stopped(Exception):
    """The process is told to stop; the batch stays as far as it is."""


class HeldBatch:
    """One batch and its jobs. Every write checks that the batch is still held here, and raises `BatchTaken` if not."""

    def __init__(self, project: Project, row: Batch, stop: Stop, on_progress: OnProgress) -> None:
        """Begin a turn.

        Args:
            project: Whose batch.
            row: As it was taken from the store.
            stop: Asked between chunks of work.
            on_progress: Told how many jobs were settled each time.
        """
        self.project = project
        self.row = row
        """The batch as it was last written."""
        self.queue = JobQueue(project, "batch", owner=row.owner)
        self.done = DrainResult()
        """What became of jobs in this turn."""
        self.chunk = JOBS_AT_ONCE
        self._stop, self._on_progress = stop, on_progress

    def now(self) -> datetime:
        """The store's time."""
        return self.queue.now()

    def is_late(self) -> bool:
        """Whether the batch is past its deadline."""
        return self.now() >= self.row.deadline_at

    def record(self, **values: Any) -> None:  # noqa: ANN401 the fields of a batch
        """Write down fields of the batch."""
        with self.project.store.write() as connection:
            self.record_in(connection, **values)

    def record_in(self, connection: Connection, **values: Any) -> None:  # noqa: ANN401 the fields of a batch
        """Write down fields of the batch in a transaction that does more."""
        self.row = batches.record_progress(connection, self.row, **values)

    def hold(self, seconds: float = HOLD_S, **values: Any) -> None:  # noqa: ANN401 the fields of a batch
        """Keep other processes from the batch for so long, and write down fields of it."""
        self.record(look_at=self.now() + timedelta(seconds=seconds), **values)

    def jobs(self) -> list[Job]:
        """The jobs that are the batch's now."""
        with self.project.store.read() as connection:
            return batches.jobs_of(connection, self.row.pk)

    def chunks(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """The jobs, as many at a time as one transaction takes."""
        for start in range(0, len(jobs), self.chunk):
            yield jobs[start : start + self.chunk]

    def load(self, jobs: Sequence[Job]) -> list[ClaimedJob]:
        """Jobs with their runs; those whose rubric or judge has changed since are left to whoever is in force."""
        work = self.queue.load(jobs)
        loaded = {claimed.job.pk for claimed in work}
        if superseded := [job for job in jobs if job.pk not in loaded]:
            with self.project.store.write() as connection:
                self.requeue(connection, superseded, "superseded", is_spent=self.row.batch_id is not None)
        return work

    def requeue(
        self,
        connection: Connection,
        jobs: Sequence[Job],
        reason: str,
        *,
        is_spent: bool,
        lane: str = "judge",
        not_before: datetime | None = None,
    ) -> int:
        """Take jobs out of the batch and queue them in a lane, by default the one that asks at once.

        Args:
            connection: Of a write transaction.
            jobs: Jobs of the batch.
            reason: Kept with each job, at most 300 characters.
            is_spent: Whether the server may have answered, and bills it.
            lane: `judge` or `batch`.
            not_before: When they may be claimed again; None at once.

        Returns:
            Jobs that were still the batch's.
        """
        return leases.requeue_in_lane(
            connection, jobs, self.row.owner, lane, reason[:300], is_spent=is_spent, not_before=not_before
        )

    def requeue_doubtful(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Queue jobs whose second judge is to be asked, at once; the first one's answers are kept for them."""
        self.requeue(connection, jobs, "a second judge is to be asked", is_spent=False)

    def count(self, settled_jobs: int) -> None:
        """Count jobs that were settled."""
        self.done += DrainResult(settled=settled_jobs)
        self._on_progress(settled_jobs)

    def pause(self) -> None:
        """A point at which the turn may end.

        Raises:
            Stopped: The process is told to stop.
        """
        if self._stop():
            raise Stopped
