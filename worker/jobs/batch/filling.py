"""Filling a batch: jobs are claimed for it, and their questions written to a file that is sent to the server."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from worker.jobs.batch.cached import look_up
from worker.jobs.batch.file import lines_of
from worker.jobs.batch.held import HeldBatch
from worker.jobs.drain_result import DrainResult
from worker.jobs.outcome import failed, settled
from worker.jobs.queue import ClaimedJob, JobQueue
from worker.judge.batch_api import FILE_S, BatchServer
from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.protocol import Wire
from worker.records import Scoring
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.queue import batches
from worker.store.queue.batches import HOLD_S
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

FILE_HOLD_S = 2 * FILE_S + HOLD_S
"""How long a batch is left to a process that sends or fetches its files."""

AskNow = Callable[[JobQueue, ClaimedJob], None]
"""Scores one claimed job at once and stores it, which shows what the server supports."""
PlanOf = Callable[[str], CapabilityPlan | None]
"""What a model is known to support; None before it was asked for the first time."""


class BatchFiller:
    """Makes the file of questions of one batch and sends it."""

    def __init__(self, held: HeldBatch, server: BatchServer, wire: Wire, ask_now: AskNow, plan_of: PlanOf) -> None:
        """Prepare; see `BatchLane` for what it is given."""
        self._held, self._server, self._wire = held, server, wire
        self._ask_now, self._plan_of = ask_now, plan_of
        self._policy = held.project.settings.judge.batch

    def fill(self) -> bool:
        """Write the questions of as many jobs as a batch may have, and send the file.

        Returns:
            Whether there was anything to send; else the batch is removed from the store.

        Raises:
            Stopped: Told to stop between two chunks.
            JudgeError: The server did not take the file.
        """
        held = self._held
        with tempfile.TemporaryDirectory(prefix="spotcheck-batch-") as folder:
            path = Path(folder) / "questions.jsonl"
            jobs = self._write(path)
            if not jobs:
                with held.project.store.write() as connection:
                    held.row = batches.discard_empty(connection, held.row)
                return False
            held.hold(FILE_HOLD_S)
            file_id = self._server.upload(path, f"spotcheck-batch-{held.row.pk}.jsonl")
        held.record(state="uploaded", file_id=file_id, jobs=jobs, trouble=None, tries=0)
        return True

    def _write(self, path: Path) -> int:
        """Write the file of questions; gives how many jobs are in it."""
        jobs = size = 0
        with path.open("wb") as file:
            for work in self._claimed():
                lines, rest = self._lines(work, self._policy.max_bytes - size)
                file.writelines(lines)
                jobs, size = jobs + len(lines), size + sum(map(len, lines))
                self._held.hold(jobs=jobs)
                if rest:
                    self._held.queue.release_untried(rest)
                    break
                self._held.pause()
        return jobs

    def _claimed(self) -> Iterator[list[ClaimedJob]]:
        """Jobs that a process which died had claimed for the batch already, then new ones."""
        held = self._held
        earlier = held.jobs()
        for chunk in held.chunks(earlier):
            yield held.load(chunk)
        row, pks = held.row, held.queue.scorers.by_model.get(held.row.model, [])
        with held.project.store.read() as connection:
            max_jobs = batches.max_jobs(connection, row.server, row.model, held.now(), self._policy.max_jobs)
        left = max_jobs - len(earlier)
        while left > 0 and pks:
            claimed = held.queue.claim(min(left, held.chunk), pks, lease_s=batches.LEASE_S)
            held.done += DrainResult(shed=claimed.shed)
            if not claimed.work:
                break
            left -= len(claimed.work)
            yield claimed.work

    def _lines(self, work: Sequence[ClaimedJob], free_bytes: int) -> tuple[list[bytes], list[Job]]:
        """The lines of each job that is to be asked, and the jobs that do not fit; what needs no asking is settled."""
        held = self._held
        lines: list[bytes] = []
        done: list[Settled] = []
        rest: list[Job] = []
        # a rubric's jobs one after the other: servers cache the beginning of a prompt
        ready = [(claimed, _prepared(claimed)) for claimed in sorted(work, key=lambda claimed: claimed.job.scorer_pk)]
        cached = look_up(held.project, [(claimed, made) for claimed, made in ready if isinstance(made, Prepared)])
        for claimed, prepared in ready:
            job = claimed.job
            if rest:
                rest.append(job)
            elif isinstance(prepared, Settled):
                done.append(prepared)
            elif job.pk in cached.settled:
                done.append(cached.settled[job.pk])
            elif job.pk in cached.doubtful:
                continue
            elif (plan := self._plan_of(held.row.model)) is None:
                self._ask_now(held.queue, claimed)
                held.count(1)
            else:
                assert claimed.run is not None
                text = lines_of(job, claimed.run, prepared.questions, self._wire, plan)
                if len(text) <= free_bytes:
                    lines.append(text)
                    free_bytes -= len(text)
                else:
                    rest.append(job)
        if done:
            held.count(held.queue.settle(done))
        left = {job.pk for job in rest}
        if doubtful := [job for pk, job in cached.doubtful.items() if pk not in left]:
            with held.project.store.write() as connection:
                held.requeue_doubtful(connection, doubtful)
            held.done += DrainResult(retried=len(doubtful))
        return lines, rest


def _prepared(work: ClaimedJob) -> Prepared | Settled:
    """What is to be asked; or the outcome, where nothing is."""
    if work.run is None:
        return failed(work.job, "pruned: the run's texts are gone", was_called=False)
    assert isinstance(work.scorer, RubricScorer)
    try:
        prepared = work.scorer.prepare(work.run)
    except Exception as error:  # noqa: BLE001 one run's trouble must not cost the batch
        return failed(work.job, f"scorer_error: {type(error).__name__}: {error}", was_called=False)
    return settled(work.job, work.run, work.scorer.key, prepared) if isinstance(prepared, Scoring) else prepared
