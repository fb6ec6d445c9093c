"""The prompts and raw answers behind one score: packed to be stored, and read back to the byte.

Two prompts of a rubric differ in the run's data, which is half of them. So the other half, the static part, is stored
once under its hash. Of a message is kept how many characters it begins and ends with that its static message has too,
and the text between, once however many calls show it. That holds for a static part of any length; as zlib's preset
dictionary, of which only the last 32 kB help, it makes the rest smaller by a tenth.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from worker.core.judging.reask import reask_messages
from worker.core.judging.verdict import criterion_questions
from worker.records import CriterionQuestion, JudgeCall, Message, PackedJudgment, Question, Reply
from worker.scorers.rubric.questions import QuestionBuilder

MAX_ANSWER_CHARS = 64 * 1024
"""Longest answer that is kept whole; a verdict usually has one or two thousand characters."""
_MAX_ERROR_CHARS = 2_000
_VERSION = 1
_LEVEL = 3  # a tenth smaller than level 1 in the same time; level 6 saves 5 % more for half as much time again
_OF_QUESTION = ("model", "backend", "prompt_hash", "max_output_tokens", "service_tier")
_OF_REPLY = ("content", "finish_reason", "refusal", "refused", "probabilities", "first_answer")
_OF_JUDGING = (
    *("model_served", "fingerprint", "params_effective", "service_tier"),
    *("input_tokens", "cached_tokens", "output_tokens", "counts", "cost_usd", "latency_ms"),
)
_ANSWERS = ("content", "refusal", "first_answer")
"""Texts of a judge; each is cut where it is too long."""


class StoredCall(NamedTuple):
    """One call as it was made, read back."""

    messages: tuple[Message, ...]
    """To the character as they were hashed."""
    asked: tuple[CriterionQuestion, ...]
    """Criteria asked apart from the messages; only for the backend `decisions`."""
    schema: Mapping[str, Any]
    """JSON Schema of the answer."""
    again: tuple[Message, ...]
    """What was added to the messages when the judge was asked once more; empty where it was not."""
    question: Mapping[str, Any]
    """Model, backend, prompt_hash, max_output_tokens, service_tier."""
    reply: Mapping[str, Any] | None
    """Fields of `Reply` and of its `Judging` that have a value; None where no answer came."""
    cut: Mapping[str, int]
    """Texts of the reply that are not kept whole: how many characters they had."""
    error: str | None
    """What came instead of an answer."""


class StoredJudgment(NamedTuple):
    """What was asked and answered behind the scores of one job."""

    revision: int
    """Of the run, as it was shown."""
    suspicions: tuple[str, ...]
    calls: tuple[StoredCall, ...]
    """In the order in which they were asked."""
    passing: Mapping[str, Any]
    """How the rubric made a verdict of them: threshold, on, samples, and criteria with id, weight and required."""


class JudgmentPacker:
    """Packs the judgments of one rubric."""

    def __init__(self, builder: QuestionBuilder) -> None:
        """Prepare.

        Args:
            builder: Built the questions.
        """
        self._builder = builder

    @cached_property
    def static(self) -> bytes:
        """What all judgments of the rubric share, as JSON: messages around an empty run, schemas, thresholds."""
        rubric, calls = self._builder.rubric, self._builder.calls
        is_apart = rubric.judge.backend == "decisions"
        document = {
            "v": _VERSION,
            "calls": [
                {"messages": messages, "schema": schema, "asked": criterion_questions(criteria) if is_apart else ()}
                for messages, schema, criteria in zip(self._builder.static, self._builder.schemas, calls, strict=True)
            ],
            "passing": {
                "threshold": rubric.threshold,
                "on": rubric.passing.on,
                "samples": rubric.judge.samples,
                "criteria": [one.model_dump(include={"id", "weight", "required"}) for one in rubric.criteria],
            },
        }
        return _encoded(document)

    @cached_property
    def _sha(self) -> str:
        return hashlib.sha256(self.static).hexdigest()

    def pack(self, calls: Sequence[JudgeCall], *, revision: int, suspicions: Sequence[str] = ()) -> PackedJudgment:
        """A judgment as it is stored; the same calls give the same bytes.

        Args:
            calls: In the order in which they were asked.
            revision: Of the run that was shown.
            suspicions: Kinds of injection that the run is suspected of.
        """
        texts: dict[str, int] = {}
        prompts: dict[tuple[int, tuple[Message, ...]], int] = {}
        for call in calls:  # samples, and a second judge, are asked the same
            prompts.setdefault((self._place(call.question), call.question.messages), len(prompts))
        document = {
            "v": _VERSION,
            "revision": revision,
            "suspicions": suspicions,
            "prompts": [[place, self._own_parts(place, messages, texts)] for place, messages in prompts],
            "texts": list(texts),
            "calls": [
                _call(call, prompts[self._place(call.question), call.question.messages], self._builder.schemas)
                for call in calls
            ],
        }
        packing = zlib.compressobj(_LEVEL, zdict=self.static)
        return PackedJudgment(self._sha, self.static, packing.compress(_encoded(document)) + packing.flush())

    def _place(self, question: Question) -> int:
        """Which of a sample's calls it is; 0 for a question that no call of this rubric asks."""
        schemas = self._builder.schemas
        if len(schemas) == 1:
            return 0
        return next((place for place, schema in enumerate(schemas) if schema == question.answer_schema), 0)

    def _own_parts(self, place: int, messages: Sequence[Message], texts: dict[str, int]) -> list[list[Any]]:
        """For each message role, characters shared at its beginning, index of its own text, characters at its end."""
        parts = []
        like = self._builder.static[place]
        for index, (role, text) in enumerate(messages):
            other = like[index].content if index < len(like) else ""
            head = _common_prefix(text, other)
            tail = _common_suffix(text[head:], other[head:])
            own = texts.setdefault(text[head : len(text) - tail], len(texts))
            parts.append([role, head, own, tail])
        return parts


def unpack(body: bytes, static: bytes) -> StoredJudgment:
    """A judgment as it was packed.

    Args:
        body: `PackedJudgment.body`.
        static: `PackedJudgment.static`, with which it was packed.

    Raises:
        ValueError: The two do not belong together, or another release packed them otherwise.
    """
    try:
        unpacking = zlib.decompressobj(zdict=static)
        document = _decoded(unpacking.decompress(body) + unpacking.flush())
        shared = _decoded(static)
        if document["v"] != _VERSION:
            raise ValueError(f"it is of version {document['v']}")
        prompts = [_messages(shared["calls"][place], parts, document["texts"]) for place, parts in document["prompts"]]
        places = [place for place, _ in document["prompts"]]
        calls = tuple(
            _stored(call, prompts[call["prompt"]], shared["calls"][places[call["prompt"]]])
            for call in document["calls"]
        )
        return StoredJudgment(document["revision"], tuple(document["suspicions"]), calls, shared["passing"])
    except (zlib.error, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"the stored prompt cannot be read: {error}") from error


def _call(call: JudgeCall, prompt: int, schemas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A call as a JSON object, without what has no value."""
    question, reply = call.question, call.reply
    document: dict[str, Any] = {"prompt": prompt, "question": _given(question, _OF_QUESTION)}
    if question.answer_schema not in schemas:
        document["schema"] = question.answer_schema
    if reply is None:
        return document | {"error": (call.error or "not answered")[:_MAX_ERROR_CHARS]}
    if reply.first_answer is not None:
        document["again"] = reask_messages(question.messages, reply.first_answer)[len(question.messages) :]
    said = _given(reply, _OF_REPLY) | _given(reply.judging, _OF_JUDGING)
    cut = {name: len(said[name]) for name in _ANSWERS if len(said.get(name, "")) > MAX_ANSWER_CHARS}
    for name in cut:
        said[name] = said[name][:MAX_ANSWER_CHARS]
    return document | {"reply": said} | ({"cut": cut} if cut else {})


def _given(record: Question | Reply | Any, names: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401 a record
    values = ((name, getattr(record, name)) for name in names)
    return {name: value for name, value in values if value not in (None, (), {})}


def _stored(call: Mapping[str, Any], messages: tuple[Message, ...], shared: Mapping[str, Any]) -> StoredCall:
    return StoredCall(
        messages=messages,
        asked=tuple(CriterionQuestion(*asked) for asked in shared["asked"]),
        schema=call.get("schema", shared["schema"]),
        again=tuple(Message(*message) for message in call.get("again", ())),
        question=call["question"],
        reply=call.get("reply"),
        cut=call.get("cut", {}),
        error=call.get("error"),
    )


def _messages(shared: Mapping[str, Any], parts: Sequence[Any], texts: Sequence[str]) -> tuple[Message, ...]:
    messages = []
    for index, (role, head, own, tail) in enumerate(parts):
        other = shared["messages"][index][1] if index < len(shared["messages"]) else ""
        messages.append(Message(role, other[:head] + texts[own] + other[len(other) - tail :]))
    return tuple(messages)


def _common_prefix(one: str, other: str) -> int:
    """Characters with which both begin; found by halving, since Python compares texts faster than characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(one: str, other: str) -> int:
    """Characters with which both end."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.endswith(other[len(other) - middle :]):
            low = middle
        else:
            high = middle - 1
    return low


def _encoded(document: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(document, default=_plain)
    except orjson.JSONEncodeError:  # a lone surrogate, or a number that is too large: rare, and kept all the same
        text = json.dumps(document, default=_plain, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")


def _decoded(text: bytes) -> Any:  # noqa: ANN401 any JSON value
    return json.loads(text.decode("utf-8", "surrogatepass"))


def _plain(value: object) -> object:
    """Mappings and tuples as JSON knows them; anything else by its text."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else str(value)
