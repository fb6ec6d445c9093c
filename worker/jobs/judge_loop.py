"""One turn at the judge lane: claim jobs, keep as many calls under way as the server takes, store what comes of them.

Jobs are claimed from the database, so any number of workers may do it at once, and each may die at any moment.
"""

import asyncio
import random
import time
from collections.abc import Sequence

from worker.errors import JudgeRefusesUs, JudgeUnavailable, StoreError, VerdictUnreadable
from worker.jobs.drain_result import LEFT_ALONE, DrainResult, OnProgress, ignore_progress, pruned
from worker.jobs.in_flight import Attempt, Finished, InFlight
from worker.jobs.outage import Unanswered, UndecidedCalls
from worker.jobs.outcome import failed, settled, settled_without
from worker.jobs.outcome_buffer import FLUSH_S, OutcomeBuffer
from worker.jobs.queue import ClaimedJob, JobQueue, Stop
from worker.jobs.reply_cache import ReplyCache
from worker.judge.limits.ready_calls import min_claim, wanted_calls
from worker.judge.missing_models import MissingModels
from worker.judge.retrying import QueuedJudge
from worker.records import CACHED
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.settling import Settled

_GRACE_S = 2.0
"""How long calls in flight may still answer after a stop; their jobs are then given back."""
_HOLD_S = 60.0
"""How long calls in flight may still answer after a write that failed."""
_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 300.0
"""A job whose call got no answer is tried again within 0.5 s, doubled with each attempt, 300 s at most."""
_LINGER_S = 10.0
"""A turn goes on for jobs that it queued again itself, if they are due so soon."""
_SHORT_REST_S = 1.0
"""What is left of a judge's rest is waited out by the turn when it is so short; the next turn is seldom sooner."""
_IDLE_S = 0.05
"""Sleep of the loop while nothing is under way and it waits for a job to be due."""
_EMPTY_CLAIM_S = 0.5
"""An empty queue is asked this often while calls are under way."""


async def drain_judge(
    queue: JobQueue,
    judge: QueuedJudge | None,
    *,
    concurrency: int,
    budget_s: float,
    stop: Stop,
    on_progress: OnProgress = ignore_progress,
    answers: ReplyCache | None = None,
    missing: MissingModels | None = None,
    unwritten: list[OutcomeBuffer] | None = None,
) -> DrainResult:
    """Score with the judge until nothing is due, time is up, or a stop is asked for.

    Jobs are claimed as calls end, a few more than can start at once, so that none of the judge's time is lost and a
    claim is nearly the moment of the call. A worker that dies leaves leases that run out; one that is stopped gives
    back what has not answered within two seconds.

    Args:
        queue: The judge lane.
        judge: Asked as its server allows; None where none is configured.
        concurrency: Calls under way that are never exceeded.
        budget_s: Seconds after which no more is claimed.
        stop: Asked several times a second.
        on_progress: Told how many jobs each flush settled.
        answers: What was answered before, and need not be paid again; None keeps nothing.
        missing: Models that the server is known not to have; what is learned is added.

        unwritten: What the turn before could not store; it is written before anybody is asked. What this turn cannot
            store is added.

    Raises:
        StoreError: The database does not answer. Nobody was asked after the first write that failed.
    """
    while unwritten:
        await unwritten[0].flush(DrainResult())
        unwritten.pop(0)
    loop = JudgeLoop(queue, judge, concurrency, on_progress, answers, missing)
    try:
        return await loop.run(budget_s, stop)
    except StoreError:
        if unwritten is not None and loop.unwritten is not None:
            unwritten.append(loop.unwritten)
        raise


class JudgeLoop:
    """One turn's state: what is under way, what is not stored yet, which calls are undecided."""

    def __init__(
        self,
        queue: JobQueue,
        judge: QueuedJudge | None,
        concurrency: int,
        on_progress: OnProgress,
        answers: ReplyCache | None,
        missing: MissingModels | None = None,
    ) -> None:
        """Prepare a turn; see `drain_judge`. It serves one."""
        self._queue, self._judge, self._concurrency, self._answers = queue, judge, concurrency, answers
        self._missing = MissingModels() if missing is None else missing
        self._in_flight = InFlight(judge, answers)
        self._buffer = OutcomeBuffer(queue, on_progress)
        self._undecided = UndecidedCalls()
        self._claim_at = 0.0
        """No claim before; monotonic seconds."""
        self._is_empty = False
        """Whether the last claims found nothing due."""
        self._must_wait = False
        """Whether due jobs wait for money that others have reserved."""
        self._total = DrainResult()

    @property
    def unwritten(self) -> OutcomeBuffer | None:
        """What became of jobs and could not be stored; None where all is."""
        return None if self._buffer.is_empty else self._buffer

    async def run(self, budget_s: float, stop: Stop) -> DrainResult:
        """Work until nothing is due, time is up, the judge is down, or a stop is asked for.

        Raises:
            StoreError: The database does not answer. Nobody was asked after the first write that failed; what was
                answered until then is `unwritten`.
        """
        try:
            await self._work(budget_s, stop)
            await self._end()
        except StoreError:
            await self._let_calls_end(stop)
            raise
        return self._total

    async def _work(self, budget_s: float, stop: Stop) -> None:
        until = time.monotonic() + budget_s
        stopped_at: float | None = None
        while True:
            if stopped_at is None and (stop() or self._total.refused or self._total.outage):
                stopped_at = time.monotonic()
                self._cancel_waiting()
            if stopped_at is None and time.monotonic() < until:
                await self.claim()
            if self._in_flight:
                await self._in_flight.wait()
                self._read(self._in_flight.take_finished())
            elif stopped_at is not None or time.monotonic() >= until or not self.goes_on():
                break
            else:
                await asyncio.sleep(_IDLE_S)  # nothing is under way, and it is looked again soon
            if self._buffer.is_full:
                written = await self._buffer.flush(self._total)
                self._total += written
                self._is_empty &= not written.retried
            if self._buffer.must_renew:
                await self._buffer.keep_leases(self._in_flight.jobs + self._undecided.jobs)
            if stopped_at is not None and time.monotonic() > stopped_at + _GRACE_S:
                break

    def goes_on(self) -> bool:
        """Whether there is something to wait for, with nothing under way."""
        if (rest_s := self.rest_s()) is not None:
            if rest_s <= _SHORT_REST_S:
                return True
            self._total += DrainResult(outage=LEFT_ALONE, pause_s=rest_s)
            return False
        if self._is_empty or self._must_wait:  # undecided jobs keep their leases, and the money reserved for them
            self._decide_all()
        return not self._is_empty or self._buffer.expects_retry(_LINGER_S)

    def rest_s(self) -> float | None:
        """Seconds until a judge that answered nobody may be asked again; None when one may be asked now."""
        if self._judge is None:
            return None
        models = [model for model in self._queue.scorers.by_model if model is not None]
        rests = [self._judge.queue(model).health.left_alone_s for model in models]
        return min(rests) if rests and min(rests) > 0 else None

    async def claim(self) -> None:
        """Claim as many jobs as calls can be made for soon, of one model after the other, and begin with them."""
        if time.monotonic() < self._claim_at:
            return
        claims = empty = 0
        self._must_wait = False
        is_anything_asked = False
        for model, all_pks in self._queue.scorers.by_model.items():
            scorer_pks = self._queue.scorers.without(self._missing, all_pks)
            if not scorer_pks:
                continue
            is_anything_asked = True
            limit = self._claim_size(model, scorer_pks)
            if limit <= 0:
                continue
            claimed = await asyncio.to_thread(self._queue.claim, limit, scorer_pks)
            self._total += DrainResult(shed=claimed.shed)
            claims += 1
            empty += not claimed.work and not claimed.shed and not claimed.must_wait
            if claimed.must_wait:
                self._must_wait = True
                self._claim_at = time.monotonic() + FLUSH_S
            self._start(claimed.work)
        if claims or not is_anything_asked:
            self._is_empty = claims == empty
        if self._is_empty and self._in_flight:
            self._claim_at = time.monotonic() + _EMPTY_CLAIM_S

    def _claim_size(self, model: str | None, scorer_pks: Sequence[int]) -> int:
        in_flight = len(self._in_flight)
        if self._judge is None or model is None:
            free, fewest = self._concurrency - in_flight, max(1, self._concurrency // 4)
            return claim_size(free, 1, fewest=fewest, in_flight=in_flight, concurrency=self._concurrency)
        calls_queue = self._judge.queue(model)
        looked_up = 0 if self._answers is None else self._answers.looking[model]
        return claim_size(
            wanted_calls(calls_queue) - looked_up,
            self._queue.scorers.calls(scorer_pks),
            fewest=min_claim(calls_queue),
            in_flight=in_flight,
            concurrency=self._concurrency,
        )

    def _start(self, claimed: Sequence[ClaimedJob]) -> None:
        """Begin with what was claimed, one rubric after the other: servers cache the beginning of a prompt.

        That is no order of work: all of a claim is under way, or waits for its turn, before more is claimed.
        """
        for work in sorted(claimed, key=lambda work: work.job.scorer_pk):
            if work.run is None:
                self._buffer.add(pruned(work.job))
            else:
                self._in_flight.start(work, work.run)

    def _cancel_waiting(self) -> None:
        """Jobs whose call has not begun are given back; calls that are under way may end."""
        if self._answers is not None:
            self._answers.cancel_waiting()
        for model in self._queue.scorers.models:
            if self._judge is not None:
                self._judge.queue(model).cancel_waiting()

    def _read(self, finished: Sequence[Finished]) -> None:
        """Sort what has ended into the buffer and the undecided calls."""
        for attempt, result in finished:
            if isinstance(result, Settled):
                self._buffer.add(result)
                for row in result.scores:
                    if row["criterion"] is None and row["model_requested"] and row["service_tier"] != CACHED:
                        self._answered(row["model_requested"])  # a call was made: no rule alone, no kept answer
            else:
                self._read_error(attempt, result)

    def _read_error(self, attempt: Attempt, error: BaseException) -> None:
        work = attempt.work
        job = work.job
        match error:
            case asyncio.CancelledError() | JudgeRefusesUs():
                self._buffer.failed_cost(attempt, error)
                self._buffer.release([job])
                if isinstance(error, JudgeRefusesUs):
                    self._refused(error)
            case JudgeUnavailable():
                if job.attempt >= self._queue.project.settings.scoring.max_attempts:
                    self._buffer.add(_after_last_attempt(attempt, error))
                else:
                    self._add_undecided(attempt, error)
            case VerdictUnreadable() if work.run is not None:
                self._answered(error.model or self._queue.scorers.model_of(job))
                without = settled_without(job, work.run, work.scorer.key, error.reason, was_called=True)
                self._buffer.add(attempt.with_calls(without))
            case _:
                reason = f"scorer_error: {type(error).__name__}: {error}"
                self._buffer.add(attempt.with_calls(failed(job, reason, was_called=True)))

    def _refused(self, error: JudgeRefusesUs) -> None:
        """End the turn; where a model is missing and others may have it, leave its jobs to them and go on."""
        if error.is_model_missing and error.model is not None:
            self._missing.add(error.model, str(error))
            scorers = self._queue.scorers
            if scorers.without(self._missing, scorers.pks) or self._queue.has_other_workers():
                return
            self._missing.discard(scorers.models)  # the next turn asks again: a person may have acted
        self._total += DrainResult(refused=str(error), missing_model=error.model if error.is_model_missing else None)

    def _add_undecided(self, attempt: Attempt, error: JudgeUnavailable) -> None:
        """No answer: whether the job or the judge is to blame, the next calls show."""
        job = attempt.work.job
        model = error.model or self._queue.scorers.model_of(job)
        wait_s = (error.retry_after_s or 0.0) + _backoff_s(job.attempt)
        self._buffer.failed_cost(attempt, error)
        self._undecided.add(model, Unanswered(job, wait_s, f"judge_unavailable: {error}"[:300], error.is_for_all))
        self._open_if_down(model, is_idle=False)

    def _answered(self, model: str | None) -> None:
        """A call was answered: those before it that were not have each spent an attempt of their job."""
        self._buffer.retry(self._undecided.take(model))

    def _open_if_down(self, model: str | None, *, is_idle: bool) -> None:
        """Where the judge answers nobody (see `JudgeHealth.is_down`), no job is to blame: none has spent an attempt."""
        if self._judge is None or model is None:
            return
        health = self._judge.queue(model).health
        if not health.is_down(self._undecided.concerns_all(model), is_idle=is_idle):
            return
        unanswered = self._undecided.take(model)
        self._buffer.release(call.job for call in unanswered)
        trouble = unanswered[-1].reason.removeprefix("judge_unavailable: ")
        pause_s = health.open(trouble, max(call.wait_s for call in unanswered))
        self._total += DrainResult(outage=trouble, pause_s=pause_s)

    def _decide_all(self) -> None:
        """Decide about unanswered calls without a next one: one or two jobs may be at fault, and spend an attempt."""
        for model in self._undecided.models:
            self._open_if_down(model, is_idle=True)
            self._answered(model)

    async def _let_calls_end(self, stop: Stop) -> None:
        """Nothing can be stored: what is under way is paid for and may end, but nobody else is asked.

        Raises:
            StoreError: It cannot be stored yet.
        """
        self._cancel_waiting()
        until = time.monotonic() + _HOLD_S
        while self._in_flight and time.monotonic() < until:
            if stop():
                until = min(until, time.monotonic() + _GRACE_S)
            await self._in_flight.wait()
            self._read(self._in_flight.take_finished())
        await self._end()

    async def _end(self) -> None:
        """Store what was answered, give back what was not."""
        self._read(self._in_flight.take_finished())
        self._decide_all()
        self._read(await self._in_flight.cancel_all())
        self._decide_all()
        self._total += await self._buffer.flush(self._total)


def claim_size(wanted_calls: int, calls_per_job: int, *, fewest: int, in_flight: int, concurrency: int) -> int:
    """How many jobs to claim now; 0 where there is no need, or so little that it is left for the next claim.

    Args:
        wanted_calls: Calls that should be made ready now; may be negative.
        calls_per_job: Calls that one job makes at the same time, at least 1.
        fewest: Jobs that make a claim worth its transaction, where others are under way.
        in_flight: Jobs under way, those whose call waits for its turn included.
        concurrency: Calls under way that are never exceeded. Of jobs there may be twice as many and 16: those whose
            call was refused for now wait beside those whose call is under way.

    Example:
        >>> claim_size(20, 1, fewest=8, in_flight=80, concurrency=100)
        20
        >>> claim_size(20, 3, fewest=8, in_flight=80, concurrency=100)  # 7 jobs: too few for a claim
        0
    """
    max_jobs = 2 * concurrency + 16 - in_flight
    jobs = min(-(-wanted_calls // calls_per_job), max_jobs)
    is_left = in_flight > 0 and jobs < fewest
    return 0 if is_left else max(0, jobs)


def _after_last_attempt(attempt: Attempt, error: JudgeUnavailable) -> Settled:
    """No more tries: a first judge's verdict stands where only the second one gave no answer."""
    work = attempt.work
    cost = FailedAttemptCost(work.job, 0.0, {}) if attempt.ask is None else attempt.ask.failed_cost(error)
    if error.so_far is None or work.run is None:
        lost = failed(work.job, f"judge_unavailable: {error}", was_called=False)
        return attempt.with_calls(lost._replace(cost_usd=cost.usd))
    first = settled(work.job, work.run, work.scorer.key, error.so_far)
    return attempt.with_calls(first._replace(answers=cost.answers), error.so_far)


def _backoff_s(attempt: int) -> float:
    """Full jitter, so that waiting workers do not come back together (AWS Architecture Blog, 2015)."""
    return random.uniform(0, min(_MAX_BACKOFF_S, _BACKOFF_S * 2**attempt))  # noqa: S311 no secret
