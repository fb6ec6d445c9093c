"""A judge whose "not now" is waited out here; and, drawn once, every level at which a question may be asked again.

    level         what brings it here           what happens                                     whose count
    SDK, wire     nothing                       `max_retries=0`: a failure is told, not repeated   none
    process       429, or 503 with a            the call waits for another turn in the queue,      MAX_TURNS
    (here)        `Retry-After` <= 15 s         up to four times; nothing was looked at
         │ still refused, or failed (5xx, time-out, hang-up)
         ▼
    job attempt   another call was answered     back to the ledger, `not_before` with jitter       job.attempt
    (ledger)      meanwhile: this job's trouble
         │ nobody was answered: `JudgeHealth.is_down`
         ▼
    outage        the judge's trouble           back to the ledger untried; the breaker is open     none: no
    (breaker)                                   for 5-60 s, then one call tries                    job's fault

A level's count never multiplies another's: a call that waits here has not failed, and a job that an outage sends back
has not been tried. What is no repetition: the easier form of a question that a server refused (`capabilities`), the
second question about an answer that was no JSON (`reask`), the full price where the cheap tier is full (`client`).
"""

import asyncio
import random
from typing import Protocol

from worker.errors import JudgeUnavailable
from worker.judge.capabilities import CapabilityPlan
from worker.judge.client import ChatJudge
from worker.judge.limits.call_queue import CallQueue
from worker.records import Question, Reply

MAX_TURNS = 4
"""Times that a refused call waits for another turn before its job goes back to the ledger."""
MAX_WAIT_S = 15.0
"""A longer wait is the ledger's, where it holds no lease."""
_WAIT_S = 1.0
"""Where the server does not say how long."""


class AtPace(Protocol):
    """A judge that starts calls as its server allows."""

    async def ask(self, question: Question) -> Reply:
        """Put one question, in its turn."""

    def queue(self, model: str) -> CallQueue:
        """The queue of calls to a model, with its limiter and its health."""


class PacedJudge:
    """Asks a `ChatJudge`, again where the server only said "not now"."""

    def __init__(self, judge: ChatJudge) -> None:
        """Wrap a judge."""
        self._judge = judge

    async def ask(self, question: Question) -> Reply:
        """As `ChatJudge.ask`, with a few more turns for what is refused.

        Raises:
            JudgeUnavailable: Refused again and again, refused for long, or no answer.
        """
        health = self._judge.queue(question.model).health
        for _ in range(MAX_TURNS):
            try:
                return await self._judge.ask(question)
            except JudgeUnavailable as error:
                wait_s = _WAIT_S if error.retry_after_s is None else error.retry_after_s
                if not error.is_refusal or wait_s > MAX_WAIT_S or health.is_silent:
                    raise
            await asyncio.sleep(wait_s + random.uniform(0, max(0.2, wait_s)))  # noqa: S311 no secret
        return await self._judge.ask(question)

    def plan(self, model: str) -> CapabilityPlan | None:
        """What a model is known to support; None before its first answer."""
        return self._judge.plan(model)

    def queue(self, model: str) -> CallQueue:
        """The queue of calls to a model, with its limiter and its health."""
        return self._judge.queue(model)

    def silent_s(self) -> float | None:
        """Longest time that a model has answered nobody, seconds; see `JudgeHealth.silent_s`."""
        return self._judge.silent_s()

    async def close(self) -> None:
        """Close the connections, in the loop that opened them."""
        await self._judge.close()
