"""The rubric judge: a run goes through a rubric to a judge and comes back as outcomes."""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from worker.core.judging.precheck import answer_problem
from worker.core.rubric.parse import Rubric
from worker.errors import JudgeError, VerdictUnreadable
from worker.records import Run, RunFilter, ScorerKey, Scoring
from worker.scorers.protocol import Context, CutOff, MostTokens
from worker.scorers.rubric import bounds
from worker.scorers.rubric.calls import ask_all
from worker.scorers.rubric.identity import options_of, scorer_key
from worker.scorers.rubric.judgment import JudgmentPacker
from worker.scorers.rubric.questions import Prepared, QuestionBuilder
from worker.scorers.rubric.reading import VerdictReader


class RubricScorer:
    """Scores runs by one rubric and one judge.

    The input bound of its calls is kept: a longer question is not asked, its run is unscored(too_long).
    """

    def __init__(
        self,
        rubric: Rubric,
        model: str | None,
        secret: bytes,
        *,
        redact: bool = True,
        params: Mapping[str, Any] | None = None,
        repair: bool = False,
        is_routed: bool = False,
    ) -> None:
        """Compile the rubric.

        Args:
            rubric: As `files.load` gives it.
            model: The configured judge; a model named in the rubric wins over it. None: no judge.
            secret: The installation's, for fences; it does not change what is asked, only the word around the data.
            redact: Whether secrets and personal data are taken out before a run leaves.
            params: Sampling parameters, over the rubric's own.
            repair: Whether an answer that is not the agreed JSON may be asked for once more; a rubric that says so
                itself wins over it.
            is_routed: Whether `prompt_cache_key` tells the server which questions begin alike. OpenAI chooses a machine
                by the first 256 tokens, which all shipped rubrics have in common; other servers may not know the field.

        Raises:
            RubricProblem: The template cannot be compiled.
        """
        self.rubric = rubric
        self.options = options_of(rubric, model, redact=redact, params=params, repair=repair, is_routed=is_routed)
        self.builder = QuestionBuilder(rubric, self.options, secret)
        self.reader = VerdictReader(rubric, self.builder.calls)
        self.packer = JudgmentPacker(self.builder)

    @cached_property
    def key(self) -> ScorerKey:
        """Who it is: rubric with includes, models, parameters, samples, digest version and redaction."""
        return scorer_key(self.rubric, self.options)

    @property
    def applies_to(self) -> RunFilter:
        """As the rubric says."""
        applies = self.rubric.applies_to
        return RunFilter(applies.task_types, applies.statuses, applies.agents)

    @property
    def is_batchable(self) -> bool:
        """Whether its questions can be asked in a batch.

        Not several samples with a second judge behind them: in doubt the job leaves the batch to be scored at once,
        and all its samples would be paid once more.
        """
        judge, options = self.rubric.judge, self.options
        is_one_pass = judge.samples == 1 or options.escalate is None
        return options.model is not None and judge.backend == "chat" and is_one_pass

    @property
    def calls(self) -> Mapping[str, int]:
        """Calls to each model that one score may make, the first judge's first."""
        if self.options.model is None:
            return {}
        calls, escalate = len(self.builder.calls), self.options.escalate
        second = {} if escalate is None else {str(escalate.to): calls}
        return {self.options.model: calls * self.rubric.judge.samples, **second}

    @cached_property
    def max_tokens(self) -> tuple[MostTokens, ...]:
        """The most a score can use, by model, each sample and a second judge included."""
        return bounds.max_tokens(self.builder)

    @cached_property
    def _max_input_tokens(self) -> int:
        return bounds.max_input_tokens(self.builder)

    async def score(self, run: Run, context: Context) -> Scoring:
        """Judge one run; see `Scorer.score`.

        Without a judge every run is unscored, also one that fails by rule: else the only scores would be zeros.
        """
        if context.ask is None:
            return self.reader.unscored("no_judge_configured")
        prepared = self.prepare(run)
        if isinstance(prepared, Scoring):
            return prepared
        first = self.reader.read(prepared, await ask_all(context.ask, prepared.questions))
        questions = self.builder.second_questions(prepared, first)
        if not questions:
            return first
        try:
            replies = await ask_all(context.ask, questions)
        except VerdictUnreadable as error:
            return self.reader.decided(first, self.reader.refused(questions[0], error.reason))
        except JudgeError as error:
            error.so_far = first
            raise
        except asyncio.CancelledError:
            raise CutOff(first) from None
        return self.reader.decided(first, self.reader.read(prepared._replace(questions=questions), replies))

    def prepare(self, run: Run) -> Scoring | Prepared:
        """What has to be asked about a run; or its scores, where nothing has to.

        The same run gives the same questions, so that answers may come much later, and to another process.
        """
        if self.options.model is None:
            return self.reader.unscored("no_judge_configured")
        if missing := self.missing(run):
            return self.reader.unscored(f"missing:{missing}")
        shown = self.builder.show(run)
        if fault := self._fault(run):
            return self.reader.failed_by_rule(fault, suspected=bool(shown.suspicions))
        prepared = Prepared(shown, self.builder.questions(run, shown))
        if bounds.input_tokens(self.builder, prepared) > self._max_input_tokens:
            return self.reader.unscored("too_long")
        return prepared

    def missing(self, run: Run) -> str | None:
        """The first thing the rubric needs that the run does not have.

        An output that was recorded and is empty is not missing: it is judged by rule.
        """
        values = {
            "run.input": run.input,
            "run.output": run.output,
            "run.steps": run.steps or None,
            "run.error": run.error,
        }
        for need in self.rubric.needs:
            is_unrecorded = run.content == "none" and need in ("run.input", "run.output")
            if values[need] is None or is_unrecorded:
                return need
        return None

    def _fault(self, run: Run) -> str | None:
        """Why the run fails without a judge; only where the rubric is about the output."""
        return answer_problem(run.input, run.output) if "run.output" in self.rubric.needs else None
