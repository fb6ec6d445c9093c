"""A question to a judge, its reply, and how a verdict came about."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from worker.records.record import Record

Backend = Literal["chat", "responses", "decisions"]

CACHED = "cache"
"""Service tier of an answer from the reply cache."""


class Judging(Record):
    """How one verdict came about: what was asked, which model answered, and what it cost."""

    model_requested: str
    model_served: str | None = None
    fingerprint: str | None = None
    """The server's `system_fingerprint`."""
    prompt_hash: str = ""
    """SHA-256 of the messages, first 16 hex."""
    digest_version: str = ""
    params_effective: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters that the server accepted; a refused one is absent."""
    service_tier: str | None = None
    """default, flex or batch, as the server says; `cache` for an answer that was paid before."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    counts: Literal["missing", "contradictory"] | None = None
    """What is wrong with the server's counts, of tokens read or written: without one the call is charged what was
    reserved for it; counts that contradict each other are taken at the most they can mean. None where nothing is."""
    cost_usd: float | None = None
    """US dollars; None where the price is unknown, never 0."""
    latency_ms: float | None = None


class Message(NamedTuple):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class CriterionQuestion(NamedTuple):
    """One criterion as a question of its own, for judges that take criteria one by one."""

    criterion: str
    question: str
    options: Mapping[str, str]
    """By verdict, `unknown` included: when it applies."""


class Question(Record):
    """One call to a judge, ready to send."""

    backend: Backend = "chat"
    """The API the request is made for."""

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
    """Requested service tier, for example flex; None leaves it to the server."""
    wants_probabilities: bool = False
    """Whether token probabilities are requested; they make answers many times larger."""
    may_repair: bool = False
    """Whether to ask once more when the answer is not the agreed JSON and the server enforces none."""
    asked: tuple[CriterionQuestion, ...] = ()
    """The criteria as single questions, in order; only for the backend `decisions`."""
    prompt_hash: str
    """SHA-256 of the messages, first 16 hex."""
    digest_version: str = ""
    is_repeated: bool = False
    """One of several samples of the same question: never answered from the cache."""


class Reply(Record):
    """What the judge sent back, not interpreted yet."""

    content: str | None
    """Text of the answer; None without one."""
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter`, as the server said it."""
    refusal: str | None = None
    refused: tuple[str, ...] = ()
    """Ids of criteria that the judge refused to decide while it decided others; they are not in `content`."""
    probabilities: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """By criterion, the probability 0..1 of each offered verdict, adding up to 1; empty where unknown."""
    first_answer: str | None = None
    """The answer before it, which was not the agreed JSON, so that the judge was asked again; None without one."""
    judging: Judging


Ask = Callable[[Question], Awaitable[Reply]]
"""How a scorer calls a judge; raises JudgeUnavailable (a retry may help) or JudgeRefusesUs (no retry helps)."""


class QuestionAnswer(NamedTuple):
    """A question and its answer."""

    question: Question
    reply: Reply


class JudgeCall(NamedTuple):
    """A question that was put to a judge, and what came of it, readable or not."""

    question: Question
    reply: Reply | None = None
    """None where no answer came."""
    error: str | None = None
    """What came instead of an answer."""


class PackedJudgment(NamedTuple):
    """The prompts and raw answers behind the scores of one job, as they are stored."""

    static_sha: str
    """SHA-256 hex of `static`."""
    static: bytes
    """What all prompts of the rubric share, stored once."""
    body: bytes
    """What is particular to this run, compressed."""
