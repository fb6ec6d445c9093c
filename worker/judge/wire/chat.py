"""The wire form of chat.completions, which every OpenAI-compatible server speaks."""

from collections.abc import Mapping
from typing import Any

from worker.judge.capabilities import LIMITS, RUNGS, CapabilityPlan
from worker.judge.wire.finish_reasons import finish_reason
from worker.judge.wire.probabilities import ALTERNATIVES, of_verdicts
from worker.judge.wire.protocol import (
    NoCompletion,
    Price,
    as_text,
    dumped,
    is_whole_answer,
    judging,
    tokens,
    upstream_problem,
    with_schema,
)
from worker.records import Question, Reply

RESERVED = frozenset(
    {"messages", "model", "response_format", "stream", "stream_options", "n", "tools", "tool_choice", *LIMITS}
)
"""What a rubric's parameters cannot set: it would change what is asked or how the answer arrives."""

PROBABILITIES = {"logprobs": True, "top_logprobs": ALTERNATIVES}


class ChatWire:
    """Questions and answers as chat.completions has them; a `Wire`."""

    path = "/chat/completions"
    noun = "chat completion"

    def body(self, question: Question, plan: CapabilityPlan) -> tuple[bytes, dict[str, Any]]:
        """The JSON of one request, and the parameters it holds; see `Wire.body`."""
        requested: dict[str, Any] = {name: value for name, value in question.params.items() if name not in RESERVED}
        limit = next((name for name in plan.limits if name not in plan.refused), None)
        if limit is not None:
            requested[limit] = question.max_output_tokens
        if question.service_tier is not None:
            requested["service_tier"] = question.service_tier
        if question.wants_probabilities and plan.refused.isdisjoint(PROBABILITIES):
            requested |= PROBABILITIES
        params = {name: value for name, value in requested.items() if name not in plan.refused}
        messages = [{"role": message.role, "content": message.content} for message in question.messages]
        rung = RUNGS[plan.rung]
        body: dict[str, Any] = {"model": question.model, "messages": messages, "stream": False, **params}
        if rung == "tool":
            function = {"name": question.schema_name, "parameters": question.answer_schema}
            body["tools"] = [{"type": "function", "function": function}]
            body["tool_choice"] = {"type": "function", "function": {"name": question.schema_name}}
        elif rung == "json_schema":
            schema = {"name": question.schema_name, "strict": True, "schema": question.answer_schema}
            body["response_format"] = {"type": rung, "json_schema": schema}
        else:
            with_schema(messages, question.answer_schema)
            if rung == "json_object":
                body["response_format"] = {"type": rung}
        return dumped(body, messages), {**params, "response_format": rung}

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
        """The answer to a question; see `Wire.read`."""
        if not isinstance(body, dict) or not isinstance(body.get("choices", ""), list | None):
            raise NoCompletion
        choices = [choice for choice in body["choices"] or () if isinstance(choice, dict)]
        choice = next((choice for choice in choices if choice.get("index") == 0), choices[0] if choices else None)
        if choice is None:
            raise NoCompletion("no choice")
        message = _message(choice)
        refusal, called_with = message.get("refusal"), _called_with(message)
        content = _content(message, question.answer_schema) if called_with in (None, "{}") else None
        content, called_with = content or called_with, None if content else called_with
        reason = finish_reason(choice.get("finish_reason"))
        logprobs = choice.get("logprobs") if question.wants_probabilities and content and not called_with else None
        listed = logprobs.get("content") if isinstance(logprobs, dict) else None
        used = tokens(body.get("usage"), "prompt_tokens", "prompt_tokens_details", "completion_tokens")
        refusal = refusal if isinstance(refusal, str) and refusal else None
        if problem := upstream_problem(content, reason, refusal, used, question.answer_schema):
            raise NoCompletion(problem)
        if reason == "length" and is_whole_answer(content, question.answer_schema):
            reason = "stop"  # llama.cpp's grammar lets a model write blanks behind the object up to the limit
        return Reply(
            content=content,
            finish_reason=reason,
            refusal=refusal,
            probabilities=of_verdicts(content or "", listed, question.answer_schema) if listed else {},
            judging=judging(question, effective, body, used, latency_ms=latency_ms, price=price, tier=tier),
        )


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message of a choice; of servers that give its text, or the piece of a stream, one with the text."""
    message = choice.get("message")
    if isinstance(message, dict):
        return message
    if isinstance(message, str):
        return {"content": message}
    delta = choice.get("delta")
    return delta if isinstance(delta, dict) else {"content": choice.get("text")}


def _called_with(message: Mapping[str, Any]) -> str | None:
    """The arguments of the first tool call, as text; None without one."""
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else {"function": message.get("function_call")}
    function = call.get("function") if isinstance(call, dict) else None
    return as_text(function.get("arguments")) if isinstance(function, dict) else None


def _content(message: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """The text of a message, wherever it stands.

    Where the message itself is empty: what was parsed for the client, and what was written as reasoning where that is
    the agreed JSON and nothing else, as of servers that take constrained output for thoughts.
    """
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    content = as_text(content)
    if content is not None and content.strip():
        return content
    parsed = message.get("parsed")
    if isinstance(parsed, dict):
        return as_text(parsed)
    texts = [str(message[name]) for name in _REASONING if isinstance(message.get(name), str)]
    if texts:
        from worker.core.judging.answer_json import (
            is_as_agreed,  # late: importing it takes time, and few answers need it
        )

        return next((text for text in texts if is_as_agreed(text, schema)), content)
    return content


def _part(part: object) -> str:
    """The text of a part of a content; empty for a thought, and for what is no text."""
    if not isinstance(part, dict) or part.get("type") in _THOUGHTS:
        return ""
    text = part.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""


_REASONING = ("reasoning_content", "reasoning", "thinking")
_THOUGHTS = ("thinking", "reasoning", "redacted_thinking")
