"""The wire form of a question: the body that a backend wants, and how its answers are read; no transport.

A form only translates, so the same one serves a single call and a line of a batch.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from worker.judge.capabilities import CapabilityPlan
from worker.judge.failures import one_line
from worker.records import Judging, Question, Reply

Price = Callable[[str, int, int, int, str | None], float | None]
"""US dollars for (model, input tokens, cached among them, output tokens, service tier); None when unknown."""

TOKENS_LIMIT = 1_000_000_000
_COUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
LABEL_LIMIT = 200

SCHEMA_REQUEST = "Answer with one JSON object that satisfies this JSON Schema, and with nothing else:\n"


class NoCompletion(Exception):
    """A body is no answer of this backend: why, where it is the backend's form all the same; else the caller looks."""


class Wire(Protocol):
    """One backend's form of questions and answers. Holds no state."""

    path: str
    """Behind the base URL, with its slash."""
    noun: str
    """What its answers are called in messages to people."""

    def body(self, question: Question, plan: CapabilityPlan) -> tuple[bytes, dict[str, Any]]:
        """The JSON of one request, and the parameters it holds (`params_effective`)."""

    def read(
        self,
        body: object,
        question: Question,
        effective: Mapping[str, Any],
        *,
        latency_ms: float | None,
        price: Price | None,
        tier: str | None = None,
    ) -> Reply:
        """The answer to a question, its verdict unread.

        Args:
            body: Parsed JSON that came with a 200; any value.
            question: What was asked.
            effective: The parameters that `body` gave with the request.
            latency_ms: How long it took; None where that says nothing, as in a batch.
            price: What a call costs; None leaves the cost unknown.
            tier: The service tier, where the answer does not name it (`batch`); None takes the answer's.

        Returns:
            A reply whose content may be anything or None; a count the server did not give, or gave wrong, is None.

        Raises:
            NoCompletion: It is no answer at all.
        """


class TokenUsage(NamedTuple):
    """Token counts of one call; None where the server gave none, or an impossible one."""

    input: int | None
    cached: int | None
    output: int | None
    is_contradictory: bool = False
    """Whether the counts contradict each other, and these are the most that they can mean."""

    @property
    def trouble(self) -> Literal["missing", "contradictory"] | None:
        """As in `Judging.counts`."""
        if self.input is None or self.output is None:
            return "missing"
        return "contradictory" if self.is_contradictory else None


def tokens(usage: object, read: str, details: str, written: str, *, writes: bool = True) -> TokenUsage:
    """Counts from a `usage` object, which may be anything.

    Counts that contradict each other are taken at the most that they can mean. Names of another backend are understood.

    Args:
        usage: As the answer holds it.
        read: The key of the tokens read, cached ones included.
        details: The key of the object that holds `cached_tokens`.
        written: The key of the tokens written.
        writes: Whether an answer has tokens, so that 0 written is no count; then the call is charged what was reserved.

    Example:
        >>> tokens({"in": 9, "out": 2, "more": {"cached_tokens": 8}}, "in", "more", "out")
        TokenUsage(input=9, cached=8, output=2, is_contradictory=False)
    """
    if not isinstance(usage, dict):
        return TokenUsage(None, None, None)
    if read not in usage and "input_tokens" in usage:
        read, details, written = "input_tokens", "input_tokens_details", "output_tokens"
    read_count, written_count, about = count(usage.get(read)), count(usage.get(written)), usage.get(details)
    if not read_count:  # a prompt has tokens: zeros are no count, and the call is charged as what was reserved
        return TokenUsage(None, None, written_count or None)
    before = read_count, written_count
    cached = count(about.get("cached_tokens")) if isinstance(about, dict) else None
    if cached is not None and cached > read_count:  # some count what was cached beside what was read
        read_count, cached = read_count + cached, None
    if written_count is not None:
        # thoughts that are in the total, or beside the answer's tokens, are paid for too
        thoughts = usage.get(f"{written}_details")
        thought = count(thoughts.get("reasoning_tokens")) if isinstance(thoughts, dict) else None
        if thought is not None and thought > written_count:
            written_count += thought
        written_count = max(written_count, (count(usage.get("total_tokens")) or 0) - read_count)
    is_contradictory = (read_count, written_count) != before
    return TokenUsage(read_count, cached, (written_count or None) if writes else written_count, is_contradictory)


def count(value: object) -> int | None:
    """A number of tokens, also where it is written as text or with a fraction of zero; None for anything else."""
    if isinstance(value, str) and _COUNT.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < TOKENS_LIMIT else None


def label(value: object) -> str | None:
    """A short text of the server on one line, at most 200 characters; None for anything else."""
    return one_line(value)[:LABEL_LIMIT] or None if isinstance(value, str) else None


def as_text(value: object) -> str | None:
    """A text as it is, an object as JSON; None for anything else, and for an empty text."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else None
    return value if isinstance(value, str) and value else None


def upstream_problem(
    content: str | None, reason: str | None, refusal: str | None, used: TokenUsage, schema: Mapping[str, Any]
) -> str | None:
    """Why an answer is a failure of what stands behind the server; None where it is an answer.

    Args:
        content: Its text; of one that ended in an error it may be a part, and counts where it is whole.
        reason: As `finish_reason` gives it.
        refusal: The judge's own words where it declined.
        used: What the server counted.
        schema: The agreed one.
    """
    if refusal:
        return None
    if reason == "error":
        return None if is_whole_answer(content, schema) else "an answer that ended in an error"
    if (content or "").strip():
        return None
    if reason in (None, "stop", "tool_calls") and not used.output:
        return "an empty answer for which no token was counted"
    return None


def is_whole_answer(content: str | None, schema: Mapping[str, Any]) -> bool:
    """Whether a text is the agreed JSON, however it is said to have ended: a closed object lacks nothing."""
    from worker.core.judging.answer_json import is_as_agreed  # late: importing it takes time, and few answers need it

    return bool(content) and is_as_agreed(content or "", schema)


def paid_usd(body: object, question: Question, price: Price | None) -> float:
    """What a body without an answer cost, US dollars; 0 where it counts nothing, or the price is unknown."""
    if not isinstance(body, dict):
        return 0.0
    used = tokens(body.get("usage"), "prompt_tokens", "prompt_tokens_details", "completion_tokens")
    served, tier = label(body.get("model")), label(body.get("service_tier"))
    return _cost(question.model, served, used._replace(output=used.output or 0), tier, price) or 0.0


def judging(
    question: Question,
    effective: Mapping[str, Any],
    body: Mapping[str, Any],
    used: TokenUsage,
    *,
    latency_ms: float | None,
    price: Price | None,
    tier: str | None,
) -> Judging:
    """The record of how an answer was made; `body` is its outermost object."""
    served, tier = label(body.get("model")), tier or label(body.get("service_tier"))
    return Judging(
        model_requested=question.model,
        model_served=served,
        fingerprint=label(body.get("system_fingerprint")),
        prompt_hash=question.prompt_hash,
        digest_version=question.digest_version,
        params_effective=effective,
        service_tier=tier,
        input_tokens=used.input,
        cached_tokens=used.cached,
        output_tokens=used.output,
        counts=used.trouble,
        cost_usd=_cost(question.model, served, used, tier, price),
        latency_ms=latency_ms,
    )


def _cost(requested: str, served: str | None, used: TokenUsage, tier: str | None, price: Price | None) -> float | None:
    if price is None or used.input is None or used.output is None:
        return None
    counts = (used.input, used.cached or 0, used.output, tier)
    cost = price(requested, *counts)
    if cost is None and served is not None and served != requested:
        return price(served, *counts)
    return cost


def with_schema(messages: list[dict[str, str]], schema: Mapping[str, Any]) -> None:
    """Appends the schema to the last user message, after everything that a server can cache."""
    request = SCHEMA_REQUEST + orjson.dumps(schema, default=dict).decode()
    last = next((message for message in reversed(messages) if message["role"] == "user"), None)
    if last is None:
        messages.append({"role": "user", "content": request})
    else:
        last["content"] = f"{last['content']}\n\n{request}"


def dumped(body: dict[str, Any], messages: Sequence[dict[str, str]]) -> bytes:
    """A request as JSON, whatever its messages hold."""
    try:
        return orjson.dumps(body, default=dict)
    except orjson.JSONEncodeError:  # a lone surrogate from some run, which UTF-8 cannot carry
        for message in messages:
            message["content"] = message["content"].encode("utf-8", "replace").decode()
        return orjson.dumps(body, default=dict)
