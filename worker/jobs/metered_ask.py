"""One job's way to the judge: what was answered before is not asked again, and what is paid is counted at once."""

from collections.abc import Mapping

from worker.errors import JudgeError
from worker.jobs.reply_cache import ReplyCache, is_served, kept, key_of
from worker.judge.retrying import QueuedJudge
from worker.records import Question, Reply, Scoring
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job


class MeteredAsk:
    """Asks for one job; satisfies `Ask`."""

    def __init__(self, judge: QueuedJudge, job: Job, answers: ReplyCache | None) -> None:
        """Prepare to ask.

        Args:
            judge: Whom, at its own pace.
            job: For which job.
            answers: What was said before; None where nothing is kept.
        """
        self.spent_usd = 0.0
        """What its calls have cost so far, as far as that is known."""
        self.so_far: Scoring | None = None
        """The first judge's verdict, where we ended the try before the second one's."""
        self._judge, self._job = judge, job
        self._questions: list[Question] = []
        self._keys: dict[int, str] = {}
        self._answers = answers if is_served(job) else None

    async def __call__(self, question: Question) -> Reply:
        """Put a question, or give the answer of before; raises what the judge raises, with the model's name."""
        if self._answers is not None and not question.is_repeated:
            self._questions.append(question)  # held, so that no other one gets its id
            key = self._keys[id(question)] = key_of(self._answers.server, question)
            known = await self._answers.find(key, question.model)
            if known is not None:
                return known
        try:
            reply = await self._judge.ask(question)
        except JudgeError as error:
            error.model = question.model
            raise
        self.spent_usd += reply.judging.cost_usd or 0.0
        return reply

    def kept(self, scoring: Scoring | None) -> Mapping[str, bytes]:
        """The answers behind a scoring that are worth keeping."""
        return {} if self._answers is None else kept(self._answers.server, scoring, self._keys)

    def in_vain(self, error: BaseException) -> FailedAttemptCost:
        """What this try cost, and what was said before it came to nothing."""
        return FailedAttemptCost(
            self._job, self.spent_usd, self.kept(error.so_far if isinstance(error, JudgeError) else self.so_far)
        )
