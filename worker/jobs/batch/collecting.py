"""Collecting a batch that has ended: its answers are downloaded, read and stored; the rest is asked at once."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from worker.errors import JudgeError
from worker.jobs.batch.file import BatchOutput
from worker.jobs.batch.filling import FILE_HOLD_S, PlanOf
from worker.jobs.batch.held import HeldBatch
from worker.jobs.batch.results import Read, read_answers
from worker.jobs.drain_result import DrainResult
from worker.jobs.queue import answers_of
from worker.judge.batch_api import BatchServer, BatchStatus
from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.protocol import Wire
from worker.store.queue import failed_attempts, judgments, replies, settling
from worker.store.queue.batches import HOLD_S

log = logging.getLogger("spotcheck")


class BatchCollector:
    """Takes in the answers of one batch."""

    def __init__(self, held: HeldBatch, server: BatchServer, wire: Wire, plan_of: PlanOf) -> None:
        """Prepare; see `BatchLane` for what it is given."""
        self._held, self._server, self._wire, self._plan_of = held, server, wire, plan_of
        self._price = held.project.prices.price
        judge = held.project.settings.judge
        self._keeps_of = (judge.base_url or "") if judge.answers_days else None
        """The server whose answers are kept; None keeps none."""

    def collect(self, status: BatchStatus) -> None:
        """Store what was answered; what was not goes to the lane that asks at once.

        Args:
            status: What the server says of the batch, which has ended.

        Raises:
            Stopped: Told to stop between two chunks; chunks that were stored stay so.
            JudgeError: The server did not give the files.
        """
        held = self._held
        held.hold(FILE_HOLD_S)
        jobs = held.jobs()
        with self._download(status) as rows:
            plan = self._plan_of(held.row.model) or CapabilityPlan()
            for chunk in held.chunks(jobs):
                work = held.load(chunk)
                self._store(read_answers(work, rows, self._wire, plan, self._price, self._keeps_of))
                held.pause()
            unread = f"{rows.nonsense} lines of its answers could not be read" if rows.nonsense else None
        trouble = status.message or unread
        held.record(state="done", done_at=held.now(), trouble=trouble, **status_fields(status))
        row = held.row
        log.info(
            "batch %d ended as %s: %d of %d jobs have an outcome, for $%.4f ($%.4f at once); the rest is asked again",
            *(row.pk, status.state, row.collected, row.jobs, row.cost_usd, row.cost_at_once_usd),
        )
        for file_id in (row.file_id, status.output_file_id, status.error_file_id):
            if file_id is not None:
                with suppress(JudgeError):  # texts of runs need not lie there any longer
                    self._server.delete(file_id)

    def _store(self, read: Read) -> None:
        """A chunk's outcomes, what they cost, and the jobs that are asked again: one transaction."""
        held, store = self._held, self._held.project.store
        with store.write() as connection:
            now = store.now(connection)
            night = held.project.nights.of(now)
            counted = settling.settle(connection, read.settled, held.row.owner, now, night)
            for jobs, is_spent in ((read.again, False), (read.wasted, True)):
                held.requeue(connection, jobs, "not answered in its batch", is_spent=is_spent)
            failed_attempts.book_costs(connection, read.doubtful, held.row.owner, night)
            held.requeue_doubtful(connection, [cost.job for cost in read.doubtful])
            held.record_in(
                connection,
                collected=held.row.collected + counted,
                cost_usd=held.row.cost_usd + read.cost_usd,
                cost_at_once_usd=held.row.cost_at_once_usd + read.cost_at_once_usd(self._price),
                look_at=now + timedelta(seconds=HOLD_S),
            )
            replies.put_many(connection, answers_of([*read.settled, *read.doubtful]), now)
            judgments.put_statics(connection, (outcome.judgment for outcome in read.settled), now)
        held.done += DrainResult(retried=len(read.again) + len(read.wasted) + len(read.doubtful))
        held.count(counted)

    @contextmanager
    def _download(self, status: BatchStatus) -> Iterator[BatchOutput]:
        with tempfile.TemporaryDirectory(prefix="spotcheck-batch-") as folder:
            paths = []
            for name, file_id in (("answers", status.output_file_id), ("errors", status.error_file_id)):
                if file_id is not None:
                    paths.append(Path(folder) / name)
                    self._server.download(file_id, paths[-1])
            answers = BatchOutput(paths)
            try:
                yield answers
            finally:
                answers.close()


def status_fields(status: BatchStatus) -> dict[str, object]:
    """What the server says of a batch, as fields of its row."""
    return {"server_state": status.state, "completed": status.completed}
