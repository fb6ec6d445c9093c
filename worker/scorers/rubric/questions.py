"""From a run to the calls that ask a judge about it."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from worker.core.judging.digest import DIGEST_VERSION, digest, estimate_tokens
from worker.core.judging.escalation import doubts
from worker.core.judging.injection import document_suspicions
from worker.core.judging.redact import redact_document
from worker.core.judging.verdict import answer_schema, criterion_questions
from worker.core.rubric.parse import Rubric
from worker.core.rubric.prompt import Prompt
from worker.core.rubric.render import FENCE_CLOSE, FENCE_OPEN, Data, document_lines, join_document, nonce
from worker.core.rubric.schema import Criterion
from worker.records import CriterionQuestion, Message, Question, Run, Scoring
from worker.scorers.rubric.calls import prompt_hash
from worker.scorers.rubric.identity import JudgeOptions, required_ids

_EMPTY = Data(
    {"id": "", "task_type": "", "agent": "", "status": "completed", "stop_reason": None, "error": None}
    | {"input": "", "output": "", "step_count": 0, "steps": [], "elided": []},
    "0" * 16,
)
"""Stands for a run where only the rest of the prompt is measured."""


class Shown(NamedTuple):
    """What of a run goes to a judge."""

    document: dict[str, Any]
    elided: tuple[str, ...]
    redacted: dict[str, int]
    """How many places were taken out, by kind."""
    suspicions: tuple[str, ...]
    lines: dict[str, str]
    """The document as it stands in the prompt, by field."""


class Prepared(NamedTuple):
    """A run that is ready to be asked about."""

    shown: Shown
    questions: tuple[Question, ...]
    """One call, or one a criterion; all of that again for each sample."""


class Preview(NamedTuple):
    """The exact calls for a run, and where their tokens go; nothing is sent."""

    questions: tuple[Question, ...]
    tokens: dict[str, int]
    """Estimates for the first call: static (everything before the data), data, after, schema, total."""
    shown: Shown


class QuestionBuilder:
    """Builds the calls of one rubric. The same run gives the same calls in every process."""

    def __init__(self, rubric: Rubric, options: JudgeOptions, secret: bytes) -> None:
        """Compile the rubric.

        Args:
            rubric: As `files.load` gives it.
            options: Model, parameters, redaction, repair, routing and second judge.
            secret: The installation's; makes the fence around a run's data, and changes nothing else.

        Raises:
            RubricProblem: The template cannot be compiled.
        """
        self.rubric, self.options = rubric, options
        self._secret, self._required = secret, required_ids(rubric)
        self._template = rubric.compiled()
        self._prompts: dict[tuple[str, ...], Prompt] = {}
        """By the ids of the criteria that a call asks."""

    @cached_property
    def calls(self) -> tuple[tuple[Criterion, ...], ...]:
        """The criteria of each call of one sample: all in one call, or one call a criterion."""
        criteria = self.rubric.criteria
        return (criteria,) if self.rubric.mode == "joint" else tuple((criterion,) for criterion in criteria)

    @cached_property
    def static(self) -> tuple[tuple[Message, ...], ...]:
        """The messages of each call for a run that is empty."""
        return tuple(self._messages(_EMPTY, criteria) for criteria in self.calls)

    @cached_property
    def schema_tokens(self) -> tuple[int, ...]:
        """Estimated tokens, a call, of what states the form of the answer beside the messages."""
        parts = [self._apart(criteria) or schema for criteria, schema in zip(self.calls, self.schemas, strict=True)]
        return tuple(estimate_tokens(json.dumps(part)) for part in parts)

    def show(self, run: Run) -> Shown:
        """What the judge is shown of a run: its digest, redacted, never over the rubric's budget of tokens."""
        budget = self.rubric.trace.budget_tokens
        allowed = budget
        while True:
            cut = digest(run.for_scorer(), allowed, self.rubric.trace.keep)
            document, counts = redact_document(cut.document) if self.options.redact else (cut.document, {})
            lines = document_lines(document) if counts else cut.lines
            size = estimate_tokens(join_document(lines.values())) if counts else cut.tokens
            if size <= budget:
                return Shown(document, cut.elided, counts, document_suspicions(document), lines)
            # a placeholder such as [email 1] may be longer than the secret that it replaces
            allowed = max(int(allowed * min(0.9, budget / size)), 300)

    def questions(self, run: Run, shown: Shown | None = None) -> tuple[Question, ...]:
        """The calls for a run: one, or one a criterion; all of that again for each sample.

        Args:
            run: As `Run.for_scorer` gives it.
            shown: What is shown of it, where `show` was called already.

        Raises:
            RubricProblem: The template fails on this run.
        """
        shown = shown or self.show(run)
        data = Data(shown.document, self._fence(run), shown.lines)
        return self.rubric.judge.samples * tuple(
            self._question(self._messages(data, criteria), place) for place, criteria in enumerate(self.calls)
        )

    def question(self, run: Run) -> Question:
        """The call for a run; the first one where there are several."""
        return self.questions(run)[0]

    def second_questions(self, prepared: Prepared, first: Scoring) -> tuple[Question, ...]:
        """What the second judge is to be asked about a run, once; empty where the first verdict stands."""
        escalate = self.options.escalate
        if escalate is None or not doubts(escalate, first.outcomes, self._required):
            return ()
        changes = {"model": escalate.to, "is_repeated": False}
        return tuple(question.model_copy(update=changes) for question in prepared.questions[: len(self.calls)])

    def preview(self, run: Run) -> Preview:
        """The exact messages for a run, the tokens of their parts, and what was left out."""
        shown = self.show(run)
        questions = self.questions(run, shown)
        text = "\n".join(message.content for message in questions[0].messages)
        fence = self._fence(run)
        before, _, rest = text.partition(FENCE_OPEN.format(nonce=fence))
        data, _, after = rest.partition(FENCE_CLOSE.format(nonce=fence))
        parts = {"static": estimate_tokens(before), "data": estimate_tokens(data), "after": estimate_tokens(after)}
        parts["schema"] = self.schema_tokens[0]
        return Preview(questions, parts | {"total": sum(parts.values())}, shown)

    @cached_property
    def schemas(self) -> tuple[dict[str, Any], ...]:
        """The JSON Schema of each call's answer."""
        return tuple(answer_schema(criteria) for criteria in self.calls)

    @cached_property
    def _call_hashes(self) -> tuple[str, ...]:
        """What each call asks, whatever the run: a hash of its static messages and its schema, 16 hex."""
        hashes = []
        for messages, criteria, schema in zip(self.static, self.calls, self.schemas, strict=True):
            text = prompt_hash(messages, self._apart(criteria)) + json.dumps(schema)
            hashes.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        return tuple(hashes)

    def _apart(self, criteria: Sequence[Criterion]) -> tuple[CriterionQuestion, ...]:
        """The criteria as questions beside the prompt, where the backend takes them so."""
        return criterion_questions(criteria) if self.rubric.judge.backend == "decisions" else ()

    def _fence(self, run: Run) -> str:
        """The word around a run's data.

        Made of what is asked, and not of the scorer's fingerprint: a rubric with another threshold or version number
        asks the same, and its questions must be the same to the byte, so that kept answers serve it.
        """
        return nonce(self._secret, run.source, run.run_id, run.revision, ",".join(self._call_hashes))

    def _messages(self, data: Data, criteria: Sequence[Criterion]) -> tuple[Message, ...]:
        key = tuple(criterion.id for criterion in criteria)
        if key not in self._prompts:
            self._prompts[key] = Prompt(self._template, [criterion.model_dump() for criterion in criteria])
        return self._prompts[key].render(data)

    def _question(self, messages: tuple[Message, ...], place: int) -> Question:
        """The call at a place among the calls of a sample."""
        judge, options = self.rubric.judge, self.options
        apart = self._apart(self.calls[place])
        routing = {"prompt_cache_key": f"spotcheck-{self._call_hashes[place]}"} if options.is_routed else {}
        return Question(
            backend=judge.backend,
            messages=messages,
            answer_schema=self.schemas[place],
            schema_name=self.rubric.name,
            model=options.model or "",
            params={**routing, **options.params},
            max_output_tokens=judge.max_output_tokens,
            service_tier=judge.service_tier,
            wants_probabilities=judge.probabilities,
            may_repair=options.repair,
            asked=apart,
            prompt_hash=prompt_hash(messages, apart),
            digest_version=DIGEST_VERSION,
            is_repeated=judge.samples > 1,
        )
