"""Jobs to verdicts: the heuristics in a plain loop, the judge with many calls in flight.

Both claim from the ledger, so any number of workers may run them at once, and either may die at any moment.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from worker.errors import JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.flow.lane import Lane, Stop, Work
from worker.flow.settle import failed, settled, settled_without
from worker.judge.paced import AtPace
from worker.records import Run, Scoring
from worker.scorers.protocol import Context
from worker.store.ledger import Job, Settled

HEURISTICS_AT_ONCE = 450
"""Jobs a claim: one transaction to take, one to settle."""
_FLUSH_AT = 25
_FLUSH_S = 0.5
_GRACE_S = 2.0
"""How long calls in flight may still answer after a stop; what they asked is then given back."""
_BACKOFF_S, _BACKOFF_MOST_S = 0.5, 300.0
_OUTAGE_AFTER = 8
"""More calls than this, and than may be under way at once, without one answer: the judge is down for everybody."""
_POISON = 2
_LINGER_S = 10.0
"""A turn goes on for jobs that it put back itself, if they are due so soon."""
_DRY_S = 0.5
"""An empty queue is looked at this often while calls are under way."""

OnProgress = Callable[[int], None]


class Drained(NamedTuple):
    """What one turn at a lane did."""

    settled: int = 0
    shed: int = 0
    retried: int = 0
    refused: str | None = None
    """The judge's refusal that ended the turn; None when there was none."""
    outage: str | None = None
    """What the judge's silence looked like that ended the turn; None when it answered."""
    pause_s: float = 0.0
    """How long it asked to be left alone, at most a minute."""

    def __add__(self, other: object) -> "Drained":
        """Both together."""
        if not isinstance(other, Drained):
            return NotImplemented
        return Drained(
            self.settled + other.settled,
            self.shed + other.shed,
            self.retried + other.retried,
            self.refused or other.refused,
            self.outage or other.outage,
            max(self.pause_s, other.pause_s),
        )


def _nothing(_: int) -> None:
    return None


def drain_heuristics(lane: Lane, *, budget_s: float, stop: Stop, on_progress: OnProgress = _nothing) -> Drained:
    """Score with heuristics until nothing is due, time is up, or a stop is asked for.

    Args:
        lane: The heuristic lane.
        budget_s: Seconds after which no more is claimed.
        stop: Asked between batches.
        on_progress: Told how many jobs each batch settled.
    """
    until = time.monotonic() + budget_s
    total = Drained()
    while time.monotonic() < until and not stop():
        taken = lane.claim(HEURISTICS_AT_ONCE)
        if not taken.work:
            break
        done = []
        for work in taken.work:
            if work.run is None:
                done.append(_pruned(work.job))
                continue
            try:
                scoring = at_once(work.scorer.score(work.run, work.context))
                done.append(settled(work.job, work.run, work.scorer.key, scoring))
            except Exception as error:  # noqa: BLE001 one scorer's bug must not cost the other runs
                done.append(failed(work.job, f"scorer_error: {type(error).__name__}: {error}", was_called=False))
        count = lane.settle(done)
        on_progress(count)
        total += Drained(settled=count)
    return total


def at_once(scoring: Coroutine[Any, Any, Scoring]) -> Scoring:
    """The result of a scorer that asks nobody, without an event loop."""
    try:
        scoring.send(None)
    except StopIteration as done:
        result: Scoring = done.value
        return result
    scoring.close()
    raise RuntimeError("a heuristic must not wait")


def _pruned(job: Job) -> Settled:
    return failed(job, "pruned: the run's texts are gone", was_called=False)


async def drain_judge(
    lane: Lane,
    judge: AtPace | None,
    *,
    concurrency: int,
    budget_s: float,
    stop: Stop,
    on_progress: OnProgress = _nothing,
) -> Drained:
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
    """
    return await _Pump(lane, judge, concurrency, on_progress).run(budget_s, stop)


async def score_one(work: Work, judge: AtPace) -> Settled:
    """One judge's job alone, outside of any turn.

    Raises:
        JudgeUnavailable, JudgeRefusesUs: The judge gives no answer, to nobody.
    """
    if work.run is None:
        return _pruned(work.job)
    try:
        scoring = await work.scorer.score(work.run, work.context._replace(ask=judge.ask))
    except VerdictUnreadable as error:
        return settled_without(work.job, work.run, work.scorer.key, error.reason, was_called=True)
    return settled(work.job, work.run, work.scorer.key, scoring)


class _Pump:
    """The loop's state: calls in flight, outcomes not yet stored."""

    def __init__(self, lane: Lane, judge: AtPace | None, concurrency: int, on_progress: OnProgress) -> None:
        self._lane, self._judge, self._concurrency, self._on_progress = lane, judge, concurrency, on_progress
        self._flying: dict[asyncio.Task[Settled], Work] = {}
        self._done: list[Settled] = []
        self._later: list[tuple[Job, float, str]] = []
        self._back: list[Job] = []
        self._flushed_at = self._renewed_at = time.monotonic()
        self._claim_at = 0.0
        self._is_dry = False
        self._mine_due: list[float] = []
        """When jobs that were put back here are due again."""
        self._silent: list[tuple[Job, float, str]] = []
        self._is_everybodys = True
        self._total = Drained()

    async def run(self, budget_s: float, stop: Stop) -> Drained:
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
            self._total += Drained(outage="the judge gave no answer, and is left alone for a while", pause_s=rest_s)
            return False
        if not self._is_dry or self._later:
            return True
        now = time.monotonic()
        self._mine_due = [at for at in self._mine_due if at > now - 1.0]
        return any(at < now + _LINGER_S for at in self._mine_due)

    def _rest_s(self) -> float | None:
        """Seconds until a judge that answered nobody may be asked again; None when one may be asked now."""
        if self._judge is None:
            return None
        gates = [self._judge.gate(model) for model in self._lane.models if model is not None]
        rests = [gate.pace.open_until - gate.clock() for gate in gates]
        return min(rests) if rests and min(rests) > 0 else None

    async def _claim(self) -> None:
        if time.monotonic() < self._claim_at:
            return
        asked = dry = 0
        for model, scorer_pks in self._lane.models.items():
            wanted = self._appetite(model)
            if wanted <= 0 or (self._flying and wanted < self._worth_it(model)):
                continue
            taken = await asyncio.to_thread(self._lane.claim, wanted, scorer_pks)
            self._total += Drained(shed=taken.shed)
            asked, dry = asked + 1, dry + (not taken.work and not taken.shed and not taken.must_wait)
            if taken.must_wait:
                self._claim_at = time.monotonic() + _FLUSH_S
            for work in taken.work:
                if work.run is None:
                    self._done.append(_pruned(work.job))
                    continue
                context = work.context._replace(ask=self._judge.ask if self._judge is not None else None)
                self._flying[asyncio.create_task(self._one(work, work.run, context))] = work
        if asked:
            self._is_dry = asked == dry
        if self._is_dry and self._flying:
            self._claim_at = time.monotonic() + _DRY_S

    def _dismiss(self) -> None:
        """Whoever waits for a turn goes back to the ledger; what is under way may end."""
        for model in self._lane.models:
            if self._judge is not None and model is not None:
                self._judge.gate(model).dismiss()

    def _appetite(self, model: str | None) -> int:
        """Jobs to claim now. Those whose call was refused wait beside the others; of them there may be as many."""
        if self._judge is None or model is None:
            return self._concurrency - len(self._flying)
        most = 2 * self._concurrency + 16 - len(self._flying)
        return min(self._judge.gate(model).appetite(), most)

    def _worth_it(self, model: str | None) -> int:
        """A claim is a transaction: less than this is left for the next one."""
        if self._judge is None or model is None:
            return max(1, self._concurrency // 4)
        return max(1, self._judge.gate(model).in_hand() // 5)

    async def _one(self, work: Work, run: Run, context: Context) -> Settled:
        scoring = await work.scorer.score(run, context)
        return settled(work.job, run, work.scorer.key, scoring)

    async def _wait(self) -> None:
        done, _ = await asyncio.wait(self._flying, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            work = self._flying.pop(task)
            if task.cancelled():  # sent away before its turn came
                self._back.append(work.job)
            elif (error := task.exception()) is None:
                self._done.append(task.result())
                if any(row["model_requested"] for row in task.result().scores):  # not by rule alone
                    self._spoke()
            else:
                self._fail(work, error)

    def _fail(self, work: Work, error: BaseException) -> None:
        job = work.job
        match error:
            case JudgeRefusesUs():
                self._back.append(job)
                self._total += Drained(refused=str(error))
            case JudgeUnavailable():
                if job.attempt >= self._lane.project.settings.scoring.max_attempts:
                    self._done.append(failed(job, f"judge_unavailable: {error}", was_called=False))
                else:
                    wait_s = (error.retry_after_s or 0.0) + _jitter_s(job.attempt)
                    self._silent.append((job, wait_s, f"judge_unavailable: {error}"[:300]))
                    self._is_everybodys &= error.is_for_all
                    if len(self._silent) > max(_OUTAGE_AFTER, self._concurrency) or self._is_probe(job):
                        self._outage()
            case VerdictUnreadable() if work.run is not None:
                self._spoke()
                self._done.append(settled_without(job, work.run, work.scorer.key, error.reason, was_called=True))
            case _:
                self._done.append(failed(job, f"scorer_error: {type(error).__name__}: {error}", was_called=True))

    def _spoke(self) -> None:
        """The judge answered somebody: those it did not answer have each spent an attempt."""
        self._later += self._silent
        self._silent, self._is_everybodys = [], True

    def _is_probe(self, job: Job) -> bool:
        """Whether a job was the one call that a judge gets that answered nobody."""
        model = self._lane.model_of(job)
        return self._judge is not None and model is not None and self._judge.gate(model).pace.is_tripped

    def _outage(self) -> None:
        """The judge answers nobody: no run's fault, so no run's attempt."""
        rest_s = 0.0
        if self._judge is not None:
            for model in {self._lane.model_of(job) for job, _, _ in self._silent} - {None}:
                gate = self._judge.gate(str(model))
                rest_s = max(rest_s, gate.pace.trip(gate.clock()))
        asked_s = max(wait_s for _, wait_s, _ in self._silent)
        self._back += [job for job, _, _ in self._silent]
        said = self._silent[-1][2].removeprefix("judge_unavailable: ")
        self._total += Drained(outage=said, pause_s=min(60.0, max(rest_s, asked_s)))
        self._silent, self._is_everybodys = [], True

    async def _keep_up(self) -> None:
        """Flush outcomes every few, and hold on to what is in flight."""
        now = time.monotonic()
        if len(self._done) >= _FLUSH_AT or now - self._flushed_at > _FLUSH_S:
            await self._flush()
        held = [work.job for work in self._flying.values()] + [job for job, _, _ in self._silent]
        if now - self._renewed_at > self._lane.lease_s / 3 and held:
            self._renewed_at = now
            await asyncio.to_thread(self._lane.renew, held)

    async def _flush(self) -> None:
        done, later, back = self._done, self._later, self._back
        self._done, self._later, self._back = [], [], []
        self._flushed_at = time.monotonic()
        if done:
            count = await asyncio.to_thread(self._lane.settle, done)
            self._total += Drained(settled=count)
            self._on_progress(count)
        if later:
            now = await asyncio.to_thread(self._lane.now)
            rows = [(job, now + timedelta(seconds=wait_s), reason) for job, wait_s, reason in later]
            await asyncio.to_thread(self._lane.retry_later, rows)
            self._total += Drained(retried=len(rows))
            self._mine_due += [time.monotonic() + wait_s for _, wait_s, _ in later]
            self._is_dry = False
        if back:
            reason = self._total.refused or self._total.outage
            wait_s = self._total.pause_s if self._total.outage else 0.0
            await asyncio.to_thread(partial(self._lane.give_back, back, reason, wait_s=wait_s))

    async def _land(self) -> None:
        """Give back what has not answered, store what has."""
        if len(self._silent) > _POISON or (self._silent and self._is_everybodys):
            self._outage()
        self._spoke()  # one or two alone may be poison, and must not be tried for ever
        for task in self._flying:
            task.cancel()
        if self._flying:
            await asyncio.wait(self._flying, timeout=1.0)
        self._back += [work.job for work in self._flying.values()]
        self._flying.clear()
        await self._flush()


def _jitter_s(attempt: int) -> float:
    """Full jitter: waiting workers do not come back together (AWS Architecture Blog 2015)."""
    return random.uniform(0, min(_BACKOFF_MOST_S, _BACKOFF_S * 2**attempt))  # noqa: S311 no secret
