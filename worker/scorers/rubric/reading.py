"""From a judge's replies, or from the lack of them, to outcomes."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.core.judging.escalation import is_readable
from worker.core.judging.pooling import pool_samples
from worker.core.judging.verdict import ShownText, aggregate, read_reply, unscored_all
from worker.core.rubric.parse import Rubric
from worker.core.rubric.schema import Criterion
from worker.records import Judging, Outcome, Question, QuestionAnswer, Reply, Scoring, scored
from worker.scorers.rubric.calls import sum_judgings
from worker.scorers.rubric.questions import Prepared


class VerdictReader:
    """Reads the verdicts of one rubric."""

    def __init__(self, rubric: Rubric, calls: Sequence[Sequence[Criterion]]) -> None:
        """Read nothing yet.

        Args:
            rubric: Says how criteria make a verdict.
            calls: The criteria of each call of one sample, in the order of the questions.
        """
        self._rubric, self._calls = rubric, calls

    def read(self, prepared: Prepared, replies: Sequence[Reply]) -> Scoring:
        """Outcomes from the replies to the questions, in their order; several samples are one verdict."""
        shown, suspected = ShownText(prepared.shown.document, prepared.shown.lines), bool(prepared.shown.suspicions)
        readings: list[tuple[Outcome, ...]] = []
        answers: list[QuestionAnswer] = []
        pairs = [QuestionAnswer(*pair) for pair in zip(prepared.questions, replies, strict=True)]
        for start in range(0, len(pairs), len(self._calls)):
            outcomes: list[Outcome] = []
            probabilities: dict[str, Mapping[str, float]] = {}
            for criteria, pair in zip(self._calls, pairs[start:], strict=False):
                verdicts = read_reply(pair.reply, criteria, shown, suspected=suspected)
                outcomes += verdicts
                probabilities |= pair.reply.probabilities
                if is_readable(verdicts) and not pair.question.is_repeated:
                    answers.append(pair)
            readings.append((aggregate(self._rubric, outcomes, probabilities), *outcomes))
        return Scoring(
            outcomes=readings[0] if len(readings) == 1 else pool_samples(self._rubric, readings),
            judging=sum_judgings([reply.judging for reply in replies]),
            answers=tuple(answers),
            suspicions=prepared.shown.suspicions,
        )

    def decided(self, first: Scoring, second: Scoring) -> Scoring:
        """The verdict that counts, with the other one: the second judge's, where it can be read."""
        if is_readable(second.outcomes):
            return second.model_copy(update={"overruled": first})
        return first.model_copy(update={"overruled": second})

    def unscored(self, reason: str) -> Scoring:
        """Neither the rubric nor a criterion of it has a value, for one reason."""
        outcomes = unscored_all(self._rubric.criteria, reason)
        return Scoring(outcomes=(outcomes[0].model_copy(update={"criterion": None}), *outcomes))

    def refused(self, question: Question, reason: str) -> Scoring:
        """What is kept of a judge that refused a question: no value, and a cost that is not known."""
        judging = Judging(
            model_requested=question.model, prompt_hash=question.prompt_hash, digest_version=question.digest_version
        )
        return self.unscored(reason).model_copy(update={"judging": judging})

    def failed_by_rule(self, fault: str, *, suspected: bool) -> Scoring:
        """Zero on every criterion, without a call: the run has no answer that could be judged.

        Args:
            fault: Which fault of the answer.
            suspected: Whether the run's texts seem to address the judge.
        """
        shared: dict[str, Any] = {"rationale": f"by rule: {fault}", "injection_suspected": suspected}
        outcomes = [scored(0.0, label="fail", **shared)]
        for criterion in self._rubric.criteria:
            worst = min(criterion.options, key=criterion.options.__getitem__)
            outcomes.append(scored(0.0, criterion=criterion.id, label=worst, **shared))
        return Scoring(outcomes=tuple(outcomes))
