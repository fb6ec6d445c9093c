"""A judge that is asked at its own pace: refusals wait here for their next turn, everything else goes to the ledger."""

import asyncio
import random
from typing import Protocol

from worker.errors import JudgeUnavailable
from worker.judge.capabilities import CapabilityPlan
from worker.judge.client import ChatJudge
from worker.judge.limits.call_queue import CallQueue
from worker.records import Question, Reply

REFUSED_MOST = 4
"""Times that a call waits for another turn before its job goes back to the ledger."""
WAIT_MOST_S = 15.0
"""A longer wait is the ledger's, where it holds no lease."""
_WAIT_S = 1.0


class AtPace(Protocol):
    """A judge that says how many questions it wants ready."""

    async def ask(self, question: Question) -> Reply:
        """Put one question, in its turn."""

    def gate(self, model: str) -> CallQueue:
        """Where questions to a model wait for their turn."""


class PacedJudge:
    """Asks a `ChatJudge`, again where the server only said "not now".

    A call that was refused cost nothing and was not looked at, so it is not a try of the job.
    """

    def __init__(self, judge: ChatJudge) -> None:
        """Wrap a judge."""
        self._judge = judge

    async def ask(self, question: Question) -> Reply:
        """As `ChatJudge.ask`, with a few more turns for what is refused.

        Raises:
            JudgeUnavailable: Refused again and again, refused for long, or no answer.
        """
        gate = self._judge.gate(question.model)
        for _ in range(REFUSED_MOST):
            try:
                return await self._judge.ask(question)
            except JudgeUnavailable as error:
                wait_s = _WAIT_S if error.retry_after_s is None else error.retry_after_s
                if not error.is_refusal or wait_s > WAIT_MOST_S or gate.pace.is_silent:
                    raise
            await asyncio.sleep(wait_s + random.uniform(0, max(0.2, wait_s)))  # noqa: S311 no secret
        return await self._judge.ask(question)

    def plan(self, model: str) -> CapabilityPlan | None:
        """What a model is known to support; None before its first answer."""
        return self._judge.plan(model)

    def gate(self, model: str) -> CallQueue:
        """Where calls to a model wait for their turn."""
        return self._judge.gate(model)

    async def close(self) -> None:
        """Close the connections, in the loop that opened them."""
        await self._judge.close()
