"""The rubric judge: a run goes through a rubric to a judge and comes back as outcomes."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from worker.core.judging.digest import DIGEST_VERSION, digest, tokens
from worker.core.judging.escalation import doubts, is_readable
from worker.core.judging.injection import document_suspicions
from worker.core.judging.pooling import pooled
from worker.core.judging.precheck import answer_problem
from worker.core.judging.reask import MOST_TOKENS as SECOND_TRY_TOKENS
from worker.core.judging.redact import redact_document
from worker.core.judging.verdict import ShownText, aggregate, answer_schema, asked, read, unscored_all
from worker.core.rubric.parse import Rubric, identity
from worker.core.rubric.prompt import Prompt
from worker.core.rubric.render import FENCE_CLOSE, FENCE_OPEN, Data, document_lines, joined, nonce
from worker.core.rubric.schema import Criterion, Escalate
from worker.errors import JudgeError, VerdictUnreadable
from worker.records import (
    CriterionQuestion,
    Judging,
    Message,
    Outcome,
    Question,
    QuestionAnswer,
    Reply,
    Run,
    RunFilter,
    ScorerKey,
    Scoring,
    scored,
)
from worker.scorers.protocol import Context, CutOff, MostTokens
from worker.scorers.rubric.calls import ask_all, prompt_hash, summed

SAFETY = 1.5
"""Real tokens of a text at most, as a multiple of the estimate (see `core.digest`)."""
MESSAGE_TOKENS = 12
"""What a message costs beside its text."""


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
            rubric: As `rubric_files.load` gives it.
            model: The configured judge; a model named in the rubric wins over it. None: no judge.
            secret: The installation's, for fences; it does not change what is asked, only the word around the data.
            redact: Whether secrets and personal data are taken out before a run leaves.
            params: Sampling parameters, over the rubric's own.
            repair: Whether an answer that is not the agreed JSON may be asked for once more; a rubric that says so
                itself wins over it.
            is_routed: Whether `prompt_cache_key` tells the server which questions begin alike. OpenAI chooses a machine
                by the first 256 tokens, and those all shipped rubrics have in common; others may not know the word.

        Raises:
            RubricProblem: The template cannot be compiled.
        """
        self.rubric = rubric
        self.model = rubric.judge.model or model
        self.params = {**rubric.judge.params, **(params or {})}
        self.redact = redact
        self.is_routed = is_routed
        own = rubric.judge.repair
        # decisions answers in a form of its own, where there is nothing to repair
        self.repair = (repair if own is None else own) and rubric.judge.backend != "decisions"
        self.hash = identity(rubric)
        self._secret = secret
        self._template = rubric.compiled()
        self._prompts: dict[tuple[str, ...], Prompt] = {}
        """By the ids of the criteria that a call asks."""

    @property
    def escalate(self) -> Escalate | None:
        """When which second judge is asked; None where none is, or where the first is the one that would be."""
        policy = self.rubric.judge.escalate
        is_another = policy is not None and policy.to is not None and self.model not in (None, policy.to)
        return policy if is_another else None

    @cached_property
    def key(self) -> ScorerKey:
        """Who it is: rubric with includes, models, parameters, samples, digest version and redaction."""
        spec = {
            "rubric": self.rubric.name,
            "rubric_hash": self.hash,
            "model": self.model,
            "backend": self.rubric.judge.backend,
            "params": self.params,
            "max_output_tokens": self.rubric.judge.max_output_tokens,
            "digest_version": DIGEST_VERSION,
            "redact": self.redact,
        } | self._options
        said = json.dumps(spec, sort_keys=True, separators=(",", ":"), default=str).encode()
        fingerprint = hashlib.sha256(said).hexdigest()[:16]
        return ScorerKey(
            name=self.rubric.name, version=self.rubric.version, kind="judge", fingerprint=fingerprint, spec=spec
        )

    @property
    def _options(self) -> dict[str, Any]:
        """What is asked for beyond the usual; nothing else belongs to the identity, so that old series go on."""
        judge, escalate = self.rubric.judge, self.escalate
        said = {
            "service_tier": judge.service_tier,
            "probabilities": judge.probabilities,
            "repair": self.repair,
            "samples": judge.samples if judge.samples > 1 else None,
            # both judges together are the judge: with another second one it is another
            "escalate": escalate and {**escalate.model_dump(mode="json"), "required": self._required},
        }
        return {name: value for name, value in said.items() if value}

    @property
    def applies_to(self) -> RunFilter:
        """As the rubric says."""
        applies = self.rubric.applies_to
        return RunFilter(applies.task_types, applies.statuses, applies.agents)

    @property
    def is_batchable(self) -> bool:
        """Whether its questions can be asked in a batch.

        Not several samples with a second judge behind them: it is asked at once, and they would be once more.
        """
        judge = self.rubric.judge
        return self.model is not None and judge.backend == "chat" and (judge.samples == 1 or self.escalate is None)

    @property
    def calls(self) -> Mapping[str, int]:
        """Calls to each model that one score may make, the first judge's first."""
        if self.model is None:
            return {}
        calls = len(self._asked)
        second = {} if self.escalate is None else {str(self.escalate.to): calls}
        return {self.model: calls * self.rubric.judge.samples, **second}

    @cached_property
    def max_tokens(self) -> tuple[MostTokens, ...]:
        """The most a score can use, each sample and a second judge included; see `_most_read`.

        Twice that where an answer may be asked for again; so only those reserve money for it who allow it.
        """
        if self.model is None:
            return ()
        calls, samples = len(self._asked), self.rubric.judge.samples
        reads, writes = self._most_read, self.rubric.judge.max_output_tokens * calls
        if self.repair:
            added = SAFETY * calls * (SECOND_TRY_TOKENS + 2 * MESSAGE_TOKENS)
            reads, writes = 2 * reads + int(added) + 1, 2 * writes
        first = MostTokens(self.model, calls * samples, reads * samples, writes * samples)
        if self.escalate is None:
            return (first,)
        return (first, MostTokens(str(self.escalate.to), calls, reads, writes))

    @cached_property
    def _most_read(self) -> int:
        """The most that the calls of one sample read: 1.5 times the estimate of the longest prompt allowed."""
        schemas = [size for _, size in self._schemas]
        per_call = [
            sum(tokens(message.content) + MESSAGE_TOKENS for message in prompt)
            + schema
            + self.rubric.trace.budget_tokens
            + tokens(self.rubric.source + "".join(self.rubric.includes.values()))  # what an {% if %} may add
            for prompt, schema in zip(self._static, schemas, strict=True)
        ]
        return int(SAFETY * sum(per_call)) + 1

    @cached_property
    def _static(self) -> tuple[tuple[Message, ...], ...]:
        """The messages of each call for a run that is empty."""
        return tuple(self._messages(_EMPTY, criteria) for criteria in self._asked)

    @cached_property
    def _asks(self) -> tuple[str, ...]:
        """What each call asks, whatever the run: a hash of its messages and schema, 16 hex."""
        return tuple(
            hashlib.sha256((prompt_hash(messages, self._apart(criteria)) + json.dumps(schema)).encode()).hexdigest()[
                :16
            ]
            for messages, criteria, (schema, _) in zip(self._static, self._asked, self._schemas, strict=True)
        )

    @cached_property
    def _required(self) -> list[str]:
        return [criterion.id for criterion in self.rubric.criteria if criterion.required]

    @cached_property
    def _schemas(self) -> tuple[tuple[dict[str, Any], int], ...]:
        """The schema of each call's answer, and the estimated tokens of what says so beside the messages."""
        each = [(answer_schema(criteria), self._apart(criteria)) for criteria in self._asked]
        return tuple((schema, tokens(json.dumps(apart or schema))) for schema, apart in each)

    def _apart(self, criteria: Sequence[Criterion]) -> tuple[CriterionQuestion, ...]:
        """The criteria as questions beside the prompt, where the backend wants them so."""
        return asked(criteria) if self.rubric.judge.backend == "decisions" else ()

    @cached_property
    def _asked(self) -> tuple[tuple[Criterion, ...], ...]:
        """The criteria of each call."""
        criteria = self.rubric.criteria
        return (criteria,) if self.rubric.mode == "joint" else tuple((criterion,) for criterion in criteria)

    def show(self, run: Run) -> Shown:
        """What the judge is shown of a run: its digest, redacted, never over the rubric's budget."""
        budget = self.rubric.trace.budget_tokens
        allowed = budget
        while True:
            cut = digest(run.for_scorer(), allowed, self.rubric.trace.keep)
            document, counts = redact_document(cut.document) if self.redact else (cut.document, {})
            lines = document_lines(document) if counts else cut.lines
            size = tokens(joined(lines.values())) if counts else cut.tokens
            if size <= budget:
                return Shown(document, cut.elided, counts, document_suspicions(document), lines)
            allowed = max(int(allowed * min(0.9, budget / size)), 300)  # names for secrets may be longer than they

    def questions(self, run: Run, shown: Shown | None = None) -> tuple[Question, ...]:
        """The calls for a run: one, or one a criterion; all of that again for each sample.

        Raises:
            RubricProblem: The template fails on this run.
        """
        shown = shown or self.show(run)
        data = Data(shown.document, self._fence(run), shown.lines)
        return self.rubric.judge.samples * tuple(
            self._question(self._messages(data, criteria), place) for place, criteria in enumerate(self._asked)
        )

    def question(self, run: Run) -> Question:
        """The call for a run; the first one where there are several."""
        return self.questions(run)[0]

    def preview(self, run: Run) -> Preview:
        """The exact messages for a run, the tokens of their parts, and what was left out."""
        shown = self.show(run)
        questions = self.questions(run, shown)
        text = "\n".join(message.content for message in questions[0].messages)
        fence = self._fence(run)
        before, _, rest = text.partition(FENCE_OPEN.format(nonce=fence))
        data, _, after = rest.partition(FENCE_CLOSE.format(nonce=fence))
        parts = {"static": tokens(before), "data": tokens(data), "after": tokens(after)}
        parts["schema"] = self._schemas[0][1]
        return Preview(questions, parts | {"total": sum(parts.values())}, shown)

    async def score(self, run: Run, context: Context) -> Scoring:
        """Judge one run; see `Scorer.score`.

        Without a judge every run is unscored, those too that fail by rule: else the only scores would be zeros.
        """
        if context.ask is None:
            return self._unscored("no_judge_configured")
        prepared = self.prepare(run)
        if isinstance(prepared, Scoring):
            return prepared
        first = self.read(prepared, await ask_all(context.ask, prepared.questions))
        questions = self.second_questions(prepared, first)
        if not questions:
            return first
        try:
            replies = await ask_all(context.ask, questions)
        except VerdictUnreadable as error:
            return self.decided(first, self._refused(questions[0], error.reason))
        except JudgeError as error:
            error.so_far = first
            raise
        except asyncio.CancelledError:
            raise CutOff(first) from None
        return self.decided(first, self.read(prepared._replace(questions=questions), replies))

    def prepare(self, run: Run) -> "Scoring | Prepared":
        """What has to be asked about a run; or its scores, where nothing has to.

        The same run gives the same questions, so that answers may come much later, and to another process.
        """
        if self.model is None:
            return self._unscored("no_judge_configured")
        if missing := self.missing(run):
            return self._unscored(f"missing:{missing}")
        shown = self.show(run)
        if fault := self._fault(run):
            return self._failed_by_rule(fault, bool(shown.suspicions))
        questions = self.questions(run, shown)
        # the first sample's; the others are the same
        sizes = [_size(question) + schema for question, (_, schema) in zip(questions, self._schemas, strict=False)]
        if sum(sizes) * SAFETY > self._most_read:
            return self._unscored("too_long")
        return Prepared(shown, questions)

    def read(self, prepared: Prepared, replies: Sequence[Reply]) -> Scoring:
        """Outcomes from the replies to the questions, in their order; several samples are one verdict."""
        seen, suspected = ShownText(prepared.shown.document, prepared.shown.lines), bool(prepared.shown.suspicions)
        readings: list[tuple[Outcome, ...]] = []
        answers: list[QuestionAnswer] = []
        pairs = [QuestionAnswer(*pair) for pair in zip(prepared.questions, replies, strict=True)]
        for start in range(0, len(pairs), len(self._asked)):
            outcomes: list[Outcome] = []
            probabilities: dict[str, Mapping[str, float]] = {}
            for criteria, pair in zip(self._asked, pairs[start:], strict=False):
                said = read(pair.reply, criteria, seen, suspected=suspected)
                outcomes += said
                probabilities |= pair.reply.probabilities
                if is_readable(said) and not pair.question.is_repeated:
                    answers.append(pair)
            readings.append((aggregate(self.rubric, outcomes, probabilities), *outcomes))
        return Scoring(
            outcomes=readings[0] if len(readings) == 1 else pooled(self.rubric, readings),
            judging=summed([reply.judging for reply in replies]),
            answers=tuple(answers),
        )

    def second_questions(self, prepared: Prepared, first: Scoring) -> tuple[Question, ...]:
        """What the second judge is to be asked about a run, once; empty where the first verdict stands."""
        if self.escalate is None or not doubts(self.escalate, first.outcomes, self._required):
            return ()
        another = {"model": self.escalate.to, "is_repeated": False}
        return tuple(question.model_copy(update=another) for question in prepared.questions[: len(self._asked)])

    def decided(self, first: Scoring, second: Scoring) -> Scoring:
        """The verdict that counts, with the other one: the second judge's, where it can be read."""
        if is_readable(second.outcomes):
            return second.model_copy(update={"overruled": first})
        return first.model_copy(update={"overruled": second})

    def missing(self, run: Run) -> str | None:
        """The first thing the rubric needs that the run does not have.

        An output that was recorded and is empty is not missing: it is judged by rule.
        """
        has = {"run.input": run.input, "run.output": run.output, "run.steps": run.steps or None, "run.error": run.error}
        for need in self.rubric.needs:
            unrecorded = run.content == "none" and need in ("run.input", "run.output")
            if has[need] is None or unrecorded:
                return need
        return None

    def _fault(self, run: Run) -> str | None:
        """Why the run fails without a judge; only where the rubric is about the output."""
        return answer_problem(run.input, run.output) if "run.output" in self.rubric.needs else None

    def _failed_by_rule(self, fault: str, suspected: bool) -> Scoring:
        said: dict[str, Any] = {"rationale": f"by rule: {fault}", "injection_suspected": suspected}
        each = (
            scored(0.0, criterion=criterion.id, label=min(criterion.options, key=criterion.options.__getitem__), **said)
            for criterion in self.rubric.criteria
        )
        return Scoring(outcomes=(scored(0.0, label="fail", **said), *each))

    def _unscored(self, reason: str) -> Scoring:
        each = unscored_all(self.rubric.criteria, reason)
        return Scoring(outcomes=(each[0].model_copy(update={"criterion": None}), *each))

    def _refused(self, question: Question, reason: str) -> Scoring:
        """What is kept of a judge that refused the question: what it cost is not known."""
        judging = Judging(
            model_requested=question.model, prompt_hash=question.prompt_hash, digest_version=question.digest_version
        )
        return self._unscored(reason).model_copy(update={"judging": judging})

    def _fence(self, run: Run) -> str:
        """The word around a run's data: another threshold or version asks the same, and must not look like another."""
        return nonce(self._secret, run.source, run.run_id, run.revision, ",".join(self._asks))

    def _messages(self, data: Data, criteria: Sequence[Criterion]) -> tuple[Message, ...]:
        key = tuple(criterion.id for criterion in criteria)
        if key not in self._prompts:
            self._prompts[key] = Prompt(self._template, [criterion.model_dump() for criterion in criteria])
        return self._prompts[key].render(data)

    def _question(self, messages: tuple[Message, ...], place: int) -> Question:
        judge, apart = self.rubric.judge, self._apart(self._asked[place])
        routing = {"prompt_cache_key": f"spotcheck-{self._asks[place]}"} if self.is_routed else {}
        return Question(
            backend=judge.backend,
            messages=messages,
            answer_schema=self._schemas[place][0],
            schema_name=self.rubric.name,
            model=self.model or "",
            params=routing | self.params,
            max_output_tokens=judge.max_output_tokens,
            service_tier=judge.service_tier,
            wants_probabilities=judge.probabilities,
            may_repair=self.repair,
            asked=apart,
            prompt_hash=prompt_hash(messages, apart),
            digest_version=DIGEST_VERSION,
            is_repeated=judge.samples > 1,
        )


_EMPTY = Data(
    {"id": "", "task_type": "", "agent": "", "status": "completed", "stop_reason": None, "error": None}
    | {"input": "", "output": "", "step_count": 0, "steps": [], "elided": []},
    "0" * 16,
)
"""Stands for a run where only the rest of the prompt is measured."""


def _size(question: Question) -> int:
    """Estimated input tokens of a call's messages."""
    return sum(tokens(message.content) + MESSAGE_TOKENS for message in question.messages)
