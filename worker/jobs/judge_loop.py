"""Jobs to verdicts: the heuristics in a plain loop, the judge with many calls in flight.

Both claim from the ledger, so any number of workers may run them at once, and either may die at any moment.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from worker.errors import JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.jobs.drain_result import LEFT_ALONE, DrainResult, OnProgress, _nothing, _pruned
from worker.jobs.metered_ask import MeteredAsk
from worker.jobs.outage import Unanswered, UndecidedCalls
from worker.jobs.outcome import failed, settled, settled_without
from worker.jobs.queue import ClaimedJob, JobQueue, Stop
from worker.jobs.reply_cache import ReplyCache
from worker.judge.limits.claim_size import min_claim, wanted_calls
from worker.judge.retrying import AtPace
from worker.records import CACHED, Run
from worker.scorers.protocol import CutOff
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

_FLUSH_AT = 50
_FLUSH_S = 0.5
_GRACE_S = 2.0
"""How long calls in flight may still answer after a stop; what they asked is then given back."""
_BACKOFF_S, _BACKOFF_MOST_S = 0.5, 300.0
_LINGER_S = 10.0
"""A turn goes on for jobs that it put back itself, if they are due so soon."""
_SHORT_REST_S = 1.0
"""What is left of a judge's rest is waited out by the turn when it is so short; the next turn is seldom sooner."""
_LOOK_S = 0.2
"""A stop is looked for this often."""
_DRY_S = 0.5
"""An empty queue is looked at this often while calls are under way."""


async def drain_judge(
    lane: JobQueue,
    judge: AtPace | None,
    *,
    concurrency: int,
    budget_s: float,
    stop: Stop,
    on_progress: OnProgress = _nothing,
    answers: ReplyCache | None = None,
) -> DrainResult:
    """Score with the judge until nothing is due, time is up, or a stop is asked for.

    Jobs are claimed as calls end, a few more than can start at once, so that none of the judge's time is lost and a
    claim is nearly the moment of the call. A worker that dies leaves leases that run out; one that is stopped gives
    back what has not answered within two seconds.

    Args:
        lane: The judge lane.
        judge: Asked at its own pace; None where none is configured.
        concurrency: Calls under way that are never exceeded.
        budget_s: Seconds after which no more is claimed.
        stop: Asked several times a second.
        on_progress: Told how many jobs each flush settled.
        answers: What was answered before, and need not be paid again; None keeps nothing.
    """
    return await _JudgeLoop(lane, judge, concurrency, on_progress, answers).run(budget_s, stop)


class _InFlight(NamedTuple):
    """A job that is being scored."""

    work: ClaimedJob
    asking: MeteredAsk | None
    """None where no judge is configured."""


async def score_one(work: ClaimedJob, asking: MeteredAsk) -> Settled:
    """One judge's job alone, outside of any turn.

    Raises:
        JudgeUnavailable, JudgeRefusesUs: The judge gives no answer, to nobody.
    """
    if work.run is None:
        return _pruned(work.job)
    try:
        return await _scored(work, work.run, asking)
    except VerdictUnreadable as error:
        return settled_without(work.job, work.run, work.scorer.key, error.reason, was_called=True)


async def _scored(work: ClaimedJob, run: Run, asking: MeteredAsk | None) -> Settled:
    try:
        scoring = await work.scorer.score(run, work.context._replace(ask=asking))
    except CutOff as cut:
        if asking is not None:
            asking.so_far = cut.so_far
        raise
    done = settled(work.job, run, work.scorer.key, scoring)
    return done if asking is None else done._replace(answers=asking.kept(scoring))


class _JudgeLoop:
    """The loop's state: calls in flight, outcomes not yet stored."""

    def __init__(
        self,
        lane: JobQueue,
        judge: AtPace | None,
        concurrency: int,
        on_progress: OnProgress,
        answers: ReplyCache | None,
    ) -> None:
        self._lane, self._judge, self._concurrency, self._on_progress = lane, judge, concurrency, on_progress
        self._answers = answers
        self._flying: dict[asyncio.Task[Settled], _InFlight] = {}
        self._landed: list[asyncio.Task[Settled]] = []
        self._has_landed = asyncio.Event()
        self._done: list[Settled] = []
        self._later: list[Unanswered] = []
        self._back: list[Job] = []
        self._paid: list[FailedAttemptCost] = []
        self._flushed_at = self._renewed_at = time.monotonic()
        self._claim_at = 0.0
        self._is_dry = self._must_wait = False
        self._mine_due: list[float] = []
        """When jobs that were put back here are due again."""
        self._silence = UndecidedCalls()
        self._total = DrainResult()

    async def run(self, budget_s: float, stop: Stop) -> DrainResult:
        until = time.monotonic() + budget_s
        stopped_at: float | None = None
        while True:
            if stopped_at is None and (stop() or self._total.refused or self._total.outage):
                stopped_at = time.monotonic()
                self._dismiss()
            if stopped_at is None and time.monotonic() < until:
                await self._claim()
            if self._flying:
                await self._wait()
            elif stopped_at is not None or time.monotonic() >= until or not self._goes_on():
                break
            else:
                await asyncio.sleep(0.05)
            await self._keep_up()
            if stopped_at is not None and time.monotonic() > stopped_at + _GRACE_S:
                break
        await self._land()
        return self._total

    def _goes_on(self) -> bool:
        """Whether there is something to wait for, with nothing under way."""
        if (rest_s := self._rest_s()) is not None:
            if rest_s <= _SHORT_REST_S:
                return True
            self._total += DrainResult(outage=LEFT_ALONE, pause_s=rest_s)
            return False
        if self._is_dry or self._must_wait:  # those that wait to hear of others hold their jobs, or their money
            self._hear_no_more()
        if not self._is_dry or self._later:
            return True
        now = time.monotonic()
        self._mine_due = [at for at in self._mine_due if at > now - 1.0]
        return any(at < now + _LINGER_S for at in self._mine_due)

    def _rest_s(self) -> float | None:
        """Seconds until a judge that answered nobody may be asked again; None when one may be asked now."""
        if self._judge is None:
            return None
        models = [model for model in self._lane.models if model is not None]
        rests = [self._judge.queue(model).health.left_alone_s for model in models]
        return min(rests) if rests and min(rests) > 0 else None

    async def _claim(self) -> None:
        if time.monotonic() < self._claim_at:
            return
        asked = dry = 0
        self._must_wait = False
        for model, scorer_pks in self._lane.models.items():
            wanted = self._appetite(model, scorer_pks)
            if wanted <= 0 or (self._flying and wanted < self._worth_it(model)):
                continue
            taken = await asyncio.to_thread(self._lane.claim, wanted, scorer_pks)
            self._total += DrainResult(shed=taken.shed)
            asked, dry = asked + 1, dry + (not taken.work and not taken.shed and not taken.must_wait)
            if taken.must_wait:
                self._must_wait = True
                self._claim_at = time.monotonic() + _FLUSH_S
            self._start(taken.work)
        if asked:
            self._is_dry = asked == dry
        if self._is_dry and self._flying:
            self._claim_at = time.monotonic() + _DRY_S

    def _start(self, taken: Sequence[ClaimedJob]) -> None:
        """Begin with what was claimed, one rubric after the other: servers keep the beginning of a prompt for a while.

        That is no order of work: all of a claim is under way, or waits for its turn, before more is claimed.
        """
        for work in sorted(taken, key=lambda one: one.job.scorer_pk):
            if work.run is None:
                self._done.append(_pruned(work.job))
                continue
            asking = None if self._judge is None else MeteredAsk(self._judge, work.job, self._answers)
            task = asyncio.create_task(_scored(work, work.run, asking))
            task.add_done_callback(self._land_one)
            self._flying[task] = _InFlight(work, asking)

    def _land_one(self, task: "asyncio.Task[Settled]") -> None:
        self._landed.append(task)
        self._has_landed.set()

    def _dismiss(self) -> None:
        """Whoever waits for a turn goes back to the ledger; what is under way may end."""
        if self._answers is not None:
            self._answers.dismiss()
        for model in self._lane.models_asked:
            if self._judge is not None:
                self._judge.queue(model).cancel_waiting()

    def _appetite(self, model: str | None, scorer_pks: Sequence[int]) -> int:
        """Jobs to claim now. Those whose call was refused wait beside the others; of them there may be as many."""
        if self._judge is None or model is None:
            return self._concurrency - len(self._flying)
        most = 2 * self._concurrency + 16 - len(self._flying)
        looking = 0 if self._answers is None else self._answers.looking[model]
        calls = wanted_calls(self._judge.queue(model)) - looking
        return min(-(-calls // self._lane.calls(scorer_pks)), most)

    def _worth_it(self, model: str | None) -> int:
        """A claim is a transaction: less than this is left for the next one."""
        if self._judge is None or model is None:
            return max(1, self._concurrency // 4)
        return min_claim(self._judge.queue(model))

    async def _wait(self) -> None:
        """Until something has landed; asking all who fly, as `asyncio.wait` does, costs more the more they are."""
        self._has_landed.clear()
        if not self._landed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._has_landed.wait()
        self._take_landed()

    def _take_landed(self) -> None:
        landed, self._landed = self._landed, []
        for task in landed:
            flight = self._flying.pop(task)
            if task.cancelled():  # sent away before its turn came
                self._give_back(flight, asyncio.CancelledError())
            elif (error := task.exception()) is None:
                self._done.append(task.result())
                for row in task.result().scores:
                    if row["criterion"] is None and row["model_requested"] and row["service_tier"] != CACHED:
                        self._spoke(row["model_requested"])  # not by rule alone, and not long ago
            else:
                self._fail(flight, error)

    def _fail(self, flight: _InFlight, error: BaseException) -> None:
        work = flight.work
        job = work.job
        match error:
            case JudgeRefusesUs():
                self._give_back(flight, error)
                self._total += DrainResult(refused=str(error))
            case JudgeUnavailable():
                if job.attempt >= self._lane.project.settings.scoring.max_attempts:
                    self._give_up(flight, error)
                else:
                    self._wait_to_hear(flight, error)
            case VerdictUnreadable() if work.run is not None:
                self._spoke(error.model or self._lane.model_of(job))
                self._done.append(settled_without(job, work.run, work.scorer.key, error.reason, was_called=True))
            case _:
                self._done.append(failed(job, f"scorer_error: {type(error).__name__}: {error}", was_called=True))

    def _give_up(self, flight: _InFlight, error: JudgeUnavailable) -> None:
        """No more tries: a first judge's verdict stands where only the second one is silent."""
        work, asking = flight.work, flight.asking
        paid = FailedAttemptCost(work.job, 0.0, {}) if asking is None else asking.in_vain(error)
        if error.so_far is None or work.run is None:
            lost = failed(work.job, f"judge_unavailable: {error}", was_called=False)
            self._done.append(lost._replace(cost_usd=paid.usd))
        else:
            done = settled(work.job, work.run, work.scorer.key, error.so_far)
            self._done.append(done._replace(answers=paid.answers))

    def _wait_to_hear(self, flight: _InFlight, error: JudgeUnavailable) -> None:
        """Whether the next call fares better decides whose fault it was."""
        model = error.model or self._lane.model_of(flight.work.job)
        wait_s = (error.retry_after_s or 0.0) + _jitter_s(flight.work.job.attempt)
        self._book(flight, error)
        silent = Unanswered(flight.work.job, wait_s, f"judge_unavailable: {error}"[:300], error.is_for_all)
        self._silence.add(model, silent)
        if self._is_down(model, is_idle=False):
            self._outage(model)

    def _give_back(self, flight: _InFlight, error: BaseException) -> None:
        self._book(flight, error)
        self._back.append(flight.work.job)

    def _book(self, flight: _InFlight, error: BaseException) -> None:
        """A try came to nothing: what its calls cost is booked, and what they said is kept."""
        paid = None if flight.asking is None else flight.asking.in_vain(error)
        if paid is not None and (paid.usd or paid.answers):
            self._paid.append(paid)

    def _spoke(self, model: str | None) -> None:
        """The judge answered somebody: those it did not answer have each spent an attempt."""
        self._later += self._silence.take(model)

    def _is_down(self, model: str | None, *, is_idle: bool) -> bool:
        """Whether the calls that got no answer were lost because the judge answers nobody: see `JudgeHealth`."""
        if self._judge is None or model is None:
            return False
        return self._judge.queue(model).health.is_down(self._silence.concerns_all(model), is_idle=is_idle)

    def _outage(self, model: str | None) -> None:
        """The judge answers nobody: no run's fault, so no run's attempt."""
        silent = self._silence.take(model)
        assert self._judge is not None
        assert model is not None
        self._back += [one.job for one in silent]
        said = silent[-1].reason.removeprefix("judge_unavailable: ")
        pause_s = self._judge.queue(model).health.open(said, max(one.wait_s for one in silent))
        self._total += DrainResult(outage=said, pause_s=pause_s)

    def _hear_no_more(self) -> None:
        """Decide about silent calls without the next one: one or two may be poison, and must not be tried for ever."""
        for model in self._silence.models:
            if self._is_down(model, is_idle=True):
                self._outage(model)
            self._spoke(model)

    async def _keep_up(self) -> None:
        """Flush outcomes every few, and hold on to what is in flight."""
        now = time.monotonic()
        if len(self._done) >= _FLUSH_AT or now - self._flushed_at > _FLUSH_S:
            await self._flush()
        held = [flight.work.job for flight in self._flying.values()] + self._silence.jobs
        if now - self._renewed_at > self._lane.lease_s / 3 and held:
            self._renewed_at = now
            await asyncio.to_thread(self._lane.renew, held)

    async def _flush(self) -> None:
        done, later, back, paid = self._done, self._later, self._back, self._paid
        self._done, self._later, self._back, self._paid = [], [], [], []
        self._flushed_at = time.monotonic()
        if paid:
            await asyncio.to_thread(self._lane.book, paid)
        if done:
            count = await asyncio.to_thread(self._lane.settle, done)
            self._total += DrainResult(settled=count)
            self._on_progress(count)
        if later:
            now = await asyncio.to_thread(self._lane.now)
            rows = [(one.job, now + timedelta(seconds=one.wait_s), one.reason) for one in later]
            await asyncio.to_thread(self._lane.retry_later, rows)
            self._total += DrainResult(retried=len(rows))
            self._mine_due += [time.monotonic() + one.wait_s for one in later]
            self._is_dry = False
        if back:
            reason = self._total.refused or self._total.outage
            wait_s = self._total.pause_s if self._total.outage else 0.0
            await asyncio.to_thread(partial(self._lane.give_back, back, reason, wait_s=wait_s))

    async def _land(self) -> None:
        """Give back what has not answered, store what has."""
        self._take_landed()
        self._hear_no_more()
        for task in self._flying:
            task.cancel()
        if self._flying:
            await asyncio.wait(self._flying, timeout=1.0)
            await asyncio.sleep(0)  # their callbacks run
        self._take_landed()
        for flight in self._flying.values():  # deaf to it
            self._give_back(flight, asyncio.CancelledError())
        self._flying.clear()
        self._hear_no_more()
        await self._flush()


def _jitter_s(attempt: int) -> float:
    """Full jitter: waiting workers do not come back together (AWS Architecture Blog 2015)."""
    return random.uniform(0, min(_BACKOFF_MOST_S, _BACKOFF_S * 2**attempt))  # noqa: S311 no secret
