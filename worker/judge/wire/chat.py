"""The wire form of chat.completions, which every OpenAI-compatible server speaks."""

from collections.abc import Mapping
from typing import Any

from worker.judge.capabilities import LIMITS, RUNGS, CapabilityPlan
from worker.judge.wire.probabilities import ALTERNATIVES, of_verdicts
from worker.judge.wire.protocol import NoCompletion, Price, dumped, judging, label, tokens, with_schema
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
        body: dict[str, Any] = {"model": question.model, "messages": messages, **params}
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
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise NoCompletion
        choice = next((choice for choice in body["choices"] if isinstance(choice, dict)), {})
        message = choice.get("message")
        if not isinstance(message, dict):
            message = {}
        refusal, called_with = message.get("refusal"), _called_with(message)
        content = called_with or _text(message.get("content"))
        logprobs = choice.get("logprobs") if question.wants_probabilities and content and not called_with else None
        listed = logprobs.get("content") if isinstance(logprobs, dict) else None
        used = tokens(body.get("usage"), "prompt_tokens", "prompt_tokens_details", "completion_tokens")
        return Reply(
            content=content,
            finish_reason=label(choice.get("finish_reason")),
            refusal=refusal if isinstance(refusal, str) and refusal else None,
            probabilities=of_verdicts(content or "", listed, question.answer_schema) if listed else {},
            judging=judging(question, effective, body, used, latency_ms=latency_ms, price=price, tier=tier),
        )


def _called_with(message: Mapping[str, Any]) -> str | None:
    """The arguments of the first tool call; None without one."""
    calls = message.get("tool_calls")
    function = calls[0].get("function") if isinstance(calls, list) and calls and isinstance(calls[0], dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return arguments if isinstance(arguments, str) and arguments else None


def _text(content: object) -> str | None:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str)) or None
    return content if isinstance(content, str) else None
