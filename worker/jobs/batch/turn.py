"""One process's turn at one batch: fill it, start it, look after it, take in what was answered."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from worker.errors import JudgeError
from worker.jobs.batch.cached import look_up
from worker.jobs.batch.file import BatchOutput, lines_of
from worker.jobs.batch.results import Read, read_answers
from worker.jobs.drain_result import DrainResult, OnProgress
from worker.jobs.outcome import failed, settled
from worker.jobs.queue import ClaimedJob, JobQueue, Stop, answers_of
from worker.jobs.trouble import in_short
from worker.judge.batch_api import FILE_S, BatchServer, BatchStatus
from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.chat import ChatWire
from worker.project.project import Project
from worker.records import Scoring
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.queue import batches, failed_attempts, leases, settling
from worker.store.queue import replies as answers
from worker.store.queue.batches import HOLD_S, Batch
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

log = logging.getLogger("spotcheck")
_AT_ONCE = 200
"""Jobs a transaction."""
_LOOK_MOST_S = 300.0
"""A batch that takes hours is looked at this often."""
_FILE_S = 2 * FILE_S + HOLD_S
"""How long a batch is left to a process that sends or fetches its files."""
_ROOM_S = 600.0
"""How long jobs wait that a server would not take, having too many already."""
_CANCEL_S = 3600.0
"""How long a batch that was cancelled at its deadline may take to end."""

AskNow = Callable[[JobQueue, ClaimedJob], None]
"""Scores one claimed job at once and stores it, which shows what the server can do."""


class Stopped(Exception):
    """The process is told to stop; the batch stays as far as it is."""


class BatchTurn:
    """A batch that is held, and the steps it can take. Every write checks that it is still held."""

    def __init__(
        self,
        project: Project,
        server: BatchServer,
        held: Batch,
        ask_now: AskNow,
        plan_of: Callable[[str], CapabilityPlan | None],
        stop: Stop,
        on_progress: OnProgress,
    ) -> None:
        """Take a turn; see `BatchLane` for what it is given."""
        self.held = held
        self.done = DrainResult()
        self.is_empty = False
        """Whether nothing could be taken for it, and it was forgotten."""
        self._project, self._server, self._ask_now, self._plan_of = project, server, ask_now, plan_of
        self._stop, self._on_progress = stop, on_progress
        self._policy = project.settings.judge.batch
        self._place = JobQueue(project, "batch", owner=held.owner)
        judge = project.settings.judge
        self._keeps_of = (judge.base_url or "") if judge.answers_days else None
        self._wire = ChatWire()

    def run(self) -> None:
        """Every step that can be taken now.

        Raises:
            Stopped: Told to stop between two chunks.
            BatchTaken: It took longer than the batch was held, and another process goes on with it.
            JudgeError: What the server said instead.
        """
        steps = {"filling": self._fill, "uploaded": self._start, "running": self._look, "collecting": self._collect}
        before = None
        while self.held.state != before and self.held.state in steps:
            before = self.held.state
            steps[before]()

    def leave(self) -> None:
        """Let go of the batch: whoever comes next may have it."""
        self._set(look_at=self._now())

    def put_off(self, trouble: str, wait_s: float) -> None:
        """Try the same step again later."""
        at = self._now() + timedelta(seconds=wait_s)
        self._set(trouble=trouble[:300], tries=self.held.tries + 1, look_at=at)

    def give_up(self, why: str, *, is_spent: bool) -> None:
        """All jobs that are still the batch's go to the synchronous lane.

        Args:
            why: Kept with the batch.
            is_spent: Whether the server may have answered, and bills it.
        """
        store = self._project.store
        with store.write() as connection:
            jobs, count = batches.jobs_of(connection, self.held.pk), 0
            for start in range(0, len(jobs), _AT_ONCE):
                some = jobs[start : start + _AT_ONCE]
                count += leases.requeue_in_lane(
                    connection, some, self.held.owner, "judge", why[:300], is_spent=is_spent
                )
            now = store.now(connection)
            self.held = batches.record_progress(connection, self.held, state="done", done_at=now, trouble=why[:300])
        self.done += DrainResult(retried=count)
        log.warning("batch %d: %s; %d jobs are asked at once instead", self.held.pk, in_short(why), count)

    def make_smaller(self, said: str, wait_s: float = 0.0, **seen: Any) -> None:  # noqa: ANN401 fields of a batch
        """The server does not take so much: batches of half as many, later; asked at once they would cost double.

        Args:
            said: What it said.
            wait_s: Seconds until its jobs may be tried again.
            seen: What else is known of the batch.
        """
        store = self._project.store
        with store.write() as connection:
            now = store.now(connection)
            jobs = batches.jobs_of(connection, self.held.pk)
            for start in range(0, len(jobs), _AT_ONCE):
                some, later = jobs[start : start + _AT_ONCE], now + timedelta(seconds=wait_s)
                leases.requeue_in_lane(
                    connection, some, self.held.owner, "batch", said[:300], is_spent=False, not_before=later
                )
            ended = {"state": "done", "done_at": now, "trouble": said[:300], "is_too_much": True}
            self.held = batches.record_progress(connection, self.held, **ended, **seen)
        self.done += DrainResult(retried=len(jobs))
        log.warning("batch %d is too much for the server; half as many are sent in %.0f s", self.held.pk, wait_s)

    # filling

    def _fill(self) -> None:
        """Write the questions of as many jobs as a batch may have, and send the file."""
        if self._is_late():
            self.give_up("no batch was made of them in time", is_spent=False)
            return
        with tempfile.TemporaryDirectory(prefix="spotcheck-batch-") as folder:
            path = Path(folder) / "questions.jsonl"
            jobs = self._write(path)
            if not jobs:
                with self._project.store.write() as connection:
                    self.held = batches.discard_empty(connection, self.held)
                self.is_empty = self.done == DrainResult()
                return
            self._hold(_FILE_S)
            file_id = self._server.upload(path, f"spotcheck-batch-{self.held.pk}.jsonl")
        self._set(state="uploaded", file_id=file_id, jobs=jobs, trouble=None, tries=0)

    def _write(self, path: Path) -> int:
        """The file of questions; gives how many jobs are in it."""
        jobs = size = 0
        with path.open("wb") as file:
            for work in self._taken():
                lines, rest = self._lines(work, self._policy.max_bytes - size)
                file.writelines(lines)
                jobs, size = jobs + len(lines), size + sum(map(len, lines))
                self._hold(jobs=jobs)
                if rest:
                    self._place.give_back(rest)
                    break
                self._pause()
        return jobs

    def _taken(self) -> Iterator[list[ClaimedJob]]:
        """Jobs that a process that died had taken for the batch already, then new ones."""
        with self._project.store.read() as connection:
            taken = batches.jobs_of(connection, self.held.pk)
        for start in range(0, len(taken), _AT_ONCE):
            yield self._loaded(taken[start : start + _AT_ONCE])
        pks = self._place.models.get(self.held.model, [])
        with self._project.store.read() as connection:
            most = batches.max_jobs(connection, self.held.server, self.held.model, self._now(), self._policy.max_jobs)
        left = most - len(taken)
        while left > 0 and pks:
            claimed = self._place.claim(min(left, _AT_ONCE), pks, lease_s=batches.LEASE_S)
            self.done += DrainResult(shed=claimed.shed)
            if not claimed.work:
                break
            left -= len(claimed.work)
            yield claimed.work

    def _loaded(self, jobs: Sequence[Job]) -> list[ClaimedJob]:
        """Jobs with their runs; those whose rubric or judge has changed since are left to whoever is in force."""
        work = self._place.load(jobs)
        known = {one.job.pk for one in work}
        if lost := [job for job in jobs if job.pk not in known]:
            with self._project.store.write() as connection:
                is_spent = self.held.batch_id is not None
                leases.requeue_in_lane(connection, lost, self.held.owner, "judge", "superseded", is_spent=is_spent)
        return work

    def _lines(self, work: Sequence[ClaimedJob], room: int) -> tuple[list[bytes], list[Job]]:
        """Lines of each job that is to be asked, and jobs that do not fit; what needs no asking is settled."""
        lines: list[bytes] = []
        done: list[Settled] = []
        rest: list[Job] = []
        # a rubric's together: servers cache their start
        ready = [(one, _prepared(one)) for one in sorted(work, key=lambda one: one.job.scorer_pk)]
        known = look_up(self._project, [(one, made) for one, made in ready if isinstance(made, Prepared)])
        for one, prepared in ready:
            if rest:
                rest.append(one.job)
            elif isinstance(prepared, Settled):
                done.append(prepared)
            elif one.job.pk in known.settled:
                done.append(known.settled[one.job.pk])
            elif one.job.pk in known.doubtful:
                continue
            elif (plan := self._plan_of(self.held.model)) is None:
                self._ask_now(self._place, one)
                self._count(1)
            else:
                assert one.run is not None
                made = lines_of(one.job, one.run, prepared.questions, self._wire, plan)
                if len(made) <= room:
                    lines.append(made)
                    room -= len(made)
                else:
                    rest.append(one.job)
        if done:
            self._count(self._place.settle(done))
        left = {job.pk for job in rest}
        if doubtful := [job for pk, job in known.doubtful.items() if pk not in left]:
            with self._project.store.write() as connection:
                self._release_doubtful(connection, doubtful)
            self.done += DrainResult(retried=len(doubtful))
        return lines, rest

    # uploaded, running

    def _start(self) -> None:
        """Start the batch, unless a process that died had started it."""
        if self._is_late():
            self.give_up("no batch was started in time", is_spent=False)
            return
        assert self.held.file_id is not None
        look = self._server.find(self.held.file_id)
        if look is None:
            self._hold()  # nobody else may start it until this is noted
            look = self._server.create(self.held.file_id, f"/v1{self._wire.path}", self.held.owner)
        now = self._now()
        log.info("batch %d: %d jobs given to %s as %s", self.held.pk, self.held.jobs, self.held.model, look.batch_id)
        began = {"state": "running", "submitted_at": now, "batch_id": look.batch_id, "tries": 0, "trouble": None}
        self._set(**began, **_seen(look))

    def _look(self) -> None:
        """How the server gets on with it; at the deadline it is told to end."""
        assert self.held.batch_id is not None
        look = self._server.look(self.held.batch_id)
        if look.has_ended:
            self._set(state="collecting", **_seen(look), tries=0)
            return
        now = self._now()
        if now > self.held.deadline_at + timedelta(seconds=_CANCEL_S):
            self.give_up("it did not end when it was cancelled", is_spent=True)
            return
        if self._is_late() and look.state != "cancelling":
            look = self._server.cancel(self.held.batch_id)
            said = "batch %d is cancelled at its deadline: %d of %d answered"
            log.warning(said, self.held.pk, look.completed, self.held.jobs)
        self._set(**_seen(look), tries=0, trouble=None, look_at=self._next_look(now))

    def _next_look(self, now: datetime) -> datetime:
        """Seldom while it takes long, but at its deadline."""
        age = now - (self.held.submitted_at or now)
        soonest = now + timedelta(seconds=self._policy.poll_s)
        at = now + min(timedelta(seconds=_LOOK_MOST_S), age / 10)
        return max(soonest, min(at, self.held.deadline_at))

    # collecting

    def _collect(self) -> None:
        """Take in what was answered; what was not goes to the synchronous lane."""
        assert self.held.batch_id is not None
        look = self._server.look(self.held.batch_id)
        if look.is_too_much:
            self.make_smaller(look.said or "too much", _ROOM_S, **_seen(look))
            return
        self._hold(_FILE_S)
        with self._project.store.read() as connection:
            jobs = batches.jobs_of(connection, self.held.pk)
        with self._answers(look) as rows:
            plan = self._plan_of(self.held.model) or CapabilityPlan()
            for start in range(0, len(jobs), _AT_ONCE):
                work = self._loaded(jobs[start : start + _AT_ONCE])
                self._store(read_answers(work, rows, self._wire, plan, self._project.prices.price, self._keeps_of))
                self._pause()
            lost = f"{rows.nonsense} lines of its answers could not be read" if rows.nonsense else None
        trouble = look.said or lost
        self._set(state="done", done_at=self._now(), trouble=trouble, **_seen(look))
        log.info(
            "batch %d ended as %s: %d of %d jobs have an outcome, for $%.4f ($%.4f at once); the rest is asked again",
            *(self.held.pk, look.state, self.held.collected, self.held.jobs, self.held.cost_usd),
            self.held.cost_at_once_usd,
        )
        for file_id in (self.held.file_id, look.output_file_id, look.error_file_id):
            if file_id is not None:
                with suppress(JudgeError):  # texts of runs need not lie there any longer
                    self._server.delete(file_id)

    def _store(self, read: Read) -> None:
        """A chunk's outcomes, what they cost, and the jobs that are asked again: one transaction."""
        store = self._project.store
        with store.write() as connection:
            now = store.now(connection)
            counted = settling.settle(connection, read.settled, self.held.owner, now, self._project.nights.of(now))
            for jobs, is_spent in ((read.again, False), (read.wasted, True)):
                reason = "not answered in its batch"
                leases.requeue_in_lane(connection, jobs, self.held.owner, "judge", reason, is_spent=is_spent)
            failed_attempts.book_costs(connection, read.doubtful, self.held.owner, self._project.nights.of(now))
            self._release_doubtful(connection, [one.job for one in read.doubtful])
            self.held = batches.record_progress(
                connection,
                self.held,
                collected=self.held.collected + counted,
                cost_usd=self.held.cost_usd + read.cost_usd,
                cost_at_once_usd=self.held.cost_at_once_usd + read.cost_at_once_usd(self._project.prices.price),
                look_at=now + timedelta(seconds=HOLD_S),
            )
            answers.put_many(connection, answers_of([*read.settled, *read.doubtful]), now)
        self.done += DrainResult(retried=len(read.again) + len(read.wasted) + len(read.doubtful))
        self._count(counted)

    def _release_doubtful(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """A second judge is asked at once: the synchronous lane finds what the first one said."""
        leases.requeue_in_lane(
            connection, jobs, self.held.owner, "judge", "a second judge is to be asked", is_spent=False
        )

    @contextmanager
    def _answers(self, look: BatchStatus) -> Iterator[BatchOutput]:
        with tempfile.TemporaryDirectory(prefix="spotcheck-batch-") as folder:
            paths = []
            for name, file_id in (("answers", look.output_file_id), ("errors", look.error_file_id)):
                if file_id is not None:
                    paths.append(Path(folder) / name)
                    self._server.download(file_id, paths[-1])
            answers = BatchOutput(paths)
            try:
                yield answers
            finally:
                answers.close()

    # all steps

    def _count(self, settled_jobs: int) -> None:
        self.done += DrainResult(settled=settled_jobs)
        self._on_progress(settled_jobs)

    def _hold(self, seconds: float = HOLD_S, **values: Any) -> None:  # noqa: ANN401 the fields of a batch
        self._set(look_at=self._now() + timedelta(seconds=seconds), **values)

    def _set(self, **values: Any) -> None:  # noqa: ANN401 the fields of a batch
        with self._project.store.write() as connection:
            self.held = batches.record_progress(connection, self.held, **values)

    def _is_late(self) -> bool:
        return self._now() >= self.held.deadline_at

    def _now(self) -> datetime:
        with self._project.store.read() as connection:
            return self._project.store.now(connection)

    def _pause(self) -> None:
        if self._stop():
            raise Stopped


def _seen(look: BatchStatus) -> dict[str, Any]:
    return {"server_state": look.state, "completed": look.completed}


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
