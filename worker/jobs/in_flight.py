"""Jobs that are being scored by the judge, each in a task of its own."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from worker.errors import VerdictUnreadable
from worker.jobs.drain_result import pruned
from worker.jobs.metered_ask import MeteredAsk
from worker.jobs.outcome import judgment_of, settled, settled_without
from worker.jobs.queue import ClaimedJob
from worker.jobs.reply_cache import ReplyCache
from worker.judge.retrying import QueuedJudge
from worker.records import Run, Scoring
from worker.scorers.protocol import CutOff
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

_MAX_WAIT_S = 0.2
"""The loop looks this often whether it is to stop."""
_CANCEL_S = 1.0
"""How long cancelled tasks may take to end."""


class Attempt(NamedTuple):
    """One try at scoring one job."""

    work: ClaimedJob
    ask: MeteredAsk | None
    """How its calls are made; None where no judge is configured."""

    def with_calls(self, outcome: Settled, scoring: Scoring | None = None) -> Settled:
        """An outcome with what was asked and answered before it."""
        run, calls = self.work.run, [] if self.ask is None else self.ask.calls
        if run is None:
            return outcome
        return outcome._replace(judgment=judgment_of(self.work.scorer, run, calls, scoring))


class Finished(NamedTuple):
    """An attempt that has ended."""

    attempt: Attempt
    result: Settled | BaseException
    """The outcome, or why there is none; `CancelledError` where we ended it."""


class InFlight:
    """The attempts of one turn that have not ended."""

    def __init__(self, judge: QueuedJudge | None, answers: ReplyCache | None) -> None:
        """Start nothing yet.

        Args:
            judge: Whom to ask; None where none is configured.
            answers: What was answered before; None where nothing is kept.
        """
        self._judge, self._answers = judge, answers
        self._attempts: dict[asyncio.Task[Settled], Attempt] = {}
        self._ended: list[asyncio.Task[Settled]] = []
        self._has_ended = asyncio.Event()

    def __len__(self) -> int:
        """Attempts that have not been taken by `take_finished`."""
        return len(self._attempts)

    @property
    def jobs(self) -> list[Job]:
        """Their jobs."""
        return [attempt.work.job for attempt in self._attempts.values()]

    def start(self, work: ClaimedJob, run: Run) -> None:
        """Begin to score a job."""
        ask = None if self._judge is None else MeteredAsk(self._judge, work.job, self._answers)
        task = asyncio.create_task(_score(work, run, ask))
        task.add_done_callback(self._on_done)
        self._attempts[task] = Attempt(work, ask)

    async def wait(self) -> None:
        """Until an attempt has ended, at most a fifth of a second.

        Not by `asyncio.wait`, which adds a callback to every task at every call: that costs more the more there are.
        """
        self._has_ended.clear()
        if not self._ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MAX_WAIT_S):
                    await self._has_ended.wait()

    def take_finished(self) -> list[Finished]:
        """The attempts that have ended since the last call."""
        ended, self._ended = self._ended, []
        return [Finished(self._attempts.pop(task), _result(task)) for task in ended]

    async def cancel_all(self) -> Sequence[Finished]:
        """End every attempt; one that does not end within a second is given up all the same."""
        for task in self._attempts:
            task.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=_CANCEL_S)
            await asyncio.sleep(0)  # their callbacks run
        finished = self.take_finished()
        finished += [Finished(attempt, asyncio.CancelledError()) for attempt in self._attempts.values()]
        self._attempts.clear()
        return finished

    def _on_done(self, task: "asyncio.Task[Settled]") -> None:
        self._ended.append(task)
        self._has_ended.set()


async def score_one(work: ClaimedJob, ask: MeteredAsk) -> Settled:
    """Score one job outside of any turn.

    Raises:
        JudgeUnavailable, JudgeRefusesUs: The judge answers nobody.
    """
    if work.run is None:
        return pruned(work.job)
    try:
        return await _score(work, work.run, ask)
    except VerdictUnreadable as error:
        outcome = settled_without(work.job, work.run, work.scorer.key, error.reason, was_called=True)
        return outcome._replace(judgment=judgment_of(work.scorer, work.run, ask.calls))


async def _score(work: ClaimedJob, run: Run, ask: MeteredAsk | None) -> Settled:
    try:
        scoring = await work.scorer.score(run, work.context._replace(ask=ask))
    except CutOff as cut:
        if ask is not None:
            ask.so_far = cut.so_far
        raise
    outcome = settled(work.job, run, work.scorer.key, scoring)
    if ask is None:
        return outcome
    judgment = judgment_of(work.scorer, run, ask.calls, scoring)
    return outcome._replace(answers=ask.to_keep(scoring), judgment=judgment)


def _result(task: "asyncio.Task[Settled]") -> Settled | BaseException:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()
