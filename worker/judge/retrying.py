"""A judge whose "not now" is waited out here; and, drawn once, every level at which a question may be asked again.

    level        comes here                          what happens                                       counted by
    SDK          nothing                             `max_retries=0`: a failure is reported at once      -
    process      429, or 503 with `Retry-After`,     the call waits for another turn in `CallQueue`;     MAX_TURNS
    (here)       of 15 s at most                     the server has not looked at it, so nothing is
       |                                             counted against the job
       | still refused, or failed (5xx, time-out, hang-up)
       v
    job attempt  another call is answered meanwhile: back to the ledger with `not_before` and jitter;    job.attempt
    (ledger)     the trouble is this job's own       after `max_attempts` it fails
       | nobody is answered (`JudgeHealth.is_down`)
       v
    outage       the trouble is the judge's          all jobs back to the ledger untried; the breaker    the breaker's
    (breaker)                                        is open for 5 to 60 s, then one call tries          openings

Levels do not multiply: a call that waits here has not failed, and a job that an outage sends back was not tried. The
batch lane has one level of its own, since a file is no call: a batch whose server fails is looked at again after 15 s
to 15 minutes (`jobs.batch.lane`), its jobs untried.

What is no repetition: the simpler form of a question that a server refused (`capabilities`), the second question after
an answer that was no JSON (`reask`), and the full price where the cheap tier is full (`client`).
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


class QueuedJudge(Protocol):
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
