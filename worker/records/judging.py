"""Questions to a judge, and replies."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from worker.records.record import Record

Backend = Literal["chat", "responses", "decisions"]

CACHED = "cache"
"""The service tier of an answer that was paid before."""


class Judging(Record):
    """How one verdict came about: what was asked, who answered, and what it cost."""

    model_requested: str
    model_served: str | None = None
    fingerprint: str | None = None
    """The server's `system_fingerprint`."""
    prompt_hash: str = ""
    """SHA-256 of the messages, first 16 hex."""
    digest_version: str = ""
    params_effective: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters the server really took; a refused one is absent."""
    service_tier: str | None = None
    """How it was bought: default, flex or batch, as the server says; `cache` where it was paid before."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    """Unknown price is None, never 0."""
    latency_ms: float | None = None


class Message(NamedTuple):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class CriterionQuestion(NamedTuple):
    """One thing that a judge decides, apart from the prompt."""

    criterion: str
    question: str
    options: Mapping[str, str]
    """When each verdict is right, by its word, `unknown` included."""


class Question(Record):
    """One call to a judge, ready to send."""

    backend: Backend = "chat"
    """Which form of request it takes."""

    messages: tuple[Message, ...]
    answer_schema: Mapping[str, Any]
    """JSON Schema (strict) that the answer must satisfy."""
    schema_name: str
    """Letters, digits, `_` and `-`; at most 64."""
    model: str
    params: Mapping[str, Any] = Field(default_factory=dict)
    """Sampling parameters such as temperature; a server may refuse some."""
    max_output_tokens: int = Field(default=1200, ge=1)
    service_tier: str | None = None
    """How the call is bought, for example flex; None leaves it to the server."""
    wants_probabilities: bool = False
    """Whether the server is asked for the probabilities of what it writes; its answers are many times larger then."""
    may_repair: bool = False
    """Whether an answer that is not the agreed JSON may be asked for once more, where no form of JSON is enforced."""
    asked: tuple[CriterionQuestion, ...] = ()
    """The criteria one by one, in order; only for `decisions`, which puts them as questions of their own."""
    prompt_hash: str
    """SHA-256 of the messages, first 16 hex."""
    digest_version: str = ""
    is_repeated: bool = False
    """One of several answers that are wanted to the same question: each is asked for anew."""


class Reply(Record):
    """What the judge sent back, unread."""

    content: str | None
    """The text of the answer; None when there was none."""
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter`, as the server said it."""
    refusal: str | None = None
    refused: tuple[str, ...] = ()
    """Criteria that the judge declined to decide, where it answered about the others; they are not in `content`."""
    probabilities: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """Probability 0..1 of each verdict that was offered, by criterion; they add up to 1. Empty where not known."""
    judging: Judging


Ask = Callable[[Question], Awaitable[Reply]]
"""How a scorer reaches a judge; raises JudgeUnavailable (try again later) or JudgeRefusesUs (no retry helps)."""


class QuestionAnswer(NamedTuple):
    """A question and its answer."""

    question: Question
    reply: Reply
