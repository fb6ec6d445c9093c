"""How one job asks the judge: what was answered before is not asked again, and what each call costs is counted."""

from collections.abc import Mapping

from worker.errors import JudgeError
from worker.jobs.reply_cache import ReplyCache, answers_to_keep, can_reuse, key_of
from worker.judge.retrying import QueuedJudge
from worker.records import JudgeCall, Question, Reply, Scoring
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job


class MeteredAsk:
    """Asks for one attempt at one job; satisfies `Ask`."""

    def __init__(self, judge: QueuedJudge, job: Job, answers: ReplyCache | None) -> None:
        """Prepare to ask.

        Args:
            judge: Whom to ask.
            job: For which job.
            answers: What was answered before; None where nothing is kept.
        """
        self.spent_usd = 0.0
        """What its calls have cost so far, as far as that is known."""
        self.so_far: Scoring | None = None
        """The first judge's verdict, where we ended the attempt before the second one's."""
        self.calls: list[JudgeCall] = []
        """What it asked, in that order, and what came of it."""
        self._judge, self._job = judge, job
        self._questions: list[Question] = []
        self._keys: dict[int, str] = {}
        """Keys of the questions by their `id`; a key is a hash over the whole prompt, and is made once."""
        self._answers = answers if can_reuse(job) else None

    async def __call__(self, question: Question) -> Reply:
        """Put a question, or give the answer of before; raises what the judge raises, with the model's name."""
        place = len(self.calls)
        self.calls.append(JudgeCall(question))
        try:
            reply = await self._answer_to(question)
        except JudgeError as error:
            self.calls[place] = JudgeCall(question, error=str(error))
            raise
        self.calls[place] = JudgeCall(question, reply)
        return reply

    async def _answer_to(self, question: Question) -> Reply:
        if self._answers is not None and not question.is_repeated:
            self._questions.append(question)  # keeps the object alive, so that no other one gets its id
            key = self._keys[id(question)] = key_of(self._answers.server, question)
            kept = await self._answers.find(key, question.model)
            if kept is not None:
                return kept
        try:
            reply = await self._judge.ask(question)
        except JudgeError as error:
            error.model = question.model
            self.spent_usd += error.paid_usd
            raise
        self.spent_usd += reply.judging.cost_usd or 0.0
        return reply

    def to_keep(self, scoring: Scoring | None) -> Mapping[str, bytes]:
        """The answers behind a scoring that are worth keeping."""
        return {} if self._answers is None else answers_to_keep(self._answers.server, scoring, self._keys)

    def failed_cost(self, error: BaseException) -> FailedAttemptCost:
        """What an attempt cost that ends with this error, and the answers that it got before."""
        scoring = error.so_far if isinstance(error, JudgeError) else self.so_far
        return FailedAttemptCost(self._job, self.spent_usd, self.to_keep(scoring))
