"""The wire form of OpenAI's responses: the same forms of answers as chat.completions, under other names."""

from collections.abc import Iterator, Mapping
from typing import Any

from worker.judge.capabilities import RUNGS, CapabilityPlan
from worker.judge.wire.finish_reasons import finish_reason
from worker.judge.wire.probabilities import ALTERNATIVES, of_verdicts
from worker.judge.wire.protocol import NoCompletion, Price, as_text, dumped, judging, label, tokens, with_schema
from worker.records import Question, Reply

LIMIT = "max_output_tokens"

RESERVED = frozenset(
    {"input", "instructions", "model", "text", "stream", "stream_options", "tools", "tool_choice", "store"}
    | {"background", "conversation", "previous_response_id", "prompt", LIMIT}
)
"""What a rubric's parameters cannot set: it would change what is asked or how the answer arrives."""

PROBABILITIES = {"include": ["message.output_text.logprobs"], "top_logprobs": ALTERNATIVES}
_NO_ANSWER_YET = ("queued", "in_progress", "cancelled", "failed")


class ResponsesWire:
    """Questions and answers as /responses has them; a `Wire`."""

    path = "/responses"
    noun = "response"

    def body(self, question: Question, plan: CapabilityPlan) -> tuple[bytes, dict[str, Any]]:
        """The JSON of one request, and the parameters it holds; see `Wire.body`.

        The server is told to keep nothing (`store`): it would be the text of a run.
        """
        requested: dict[str, Any] = {name: value for name, value in question.params.items() if name not in RESERVED}
        requested |= {LIMIT: question.max_output_tokens, "store": False}
        if question.service_tier is not None:
            requested["service_tier"] = question.service_tier
        if question.wants_probabilities and plan.refused.isdisjoint(PROBABILITIES):
            requested |= PROBABILITIES
        params = {name: value for name, value in requested.items() if name not in plan.refused}
        # `system`, not OpenAI's newer `developer`: servers that render a chat template know no other
        messages = [{"role": message.role, "content": message.content} for message in question.messages]
        rung = RUNGS[plan.rung]
        body: dict[str, Any] = {"model": question.model, "input": messages, "stream": False, **params}
        schema = {"name": question.schema_name, "schema": question.answer_schema}
        if rung == "tool":
            function = {"name": question.schema_name, "parameters": question.answer_schema}
            body["tools"] = [{"type": "function", "strict": False, **function}]
            body["tool_choice"] = {"type": "function", "name": question.schema_name}
        elif rung == "json_schema":
            body["text"] = {"format": {"type": rung, "strict": True, **schema}}
        else:
            with_schema(messages, question.answer_schema)
            if rung == "json_object":
                body["text"] = {"format": {"type": rung}}
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
        if not isinstance(body, dict) or not isinstance(body.get("output"), list):
            raise NoCompletion
        if body.get("error") or body.get("status") in _NO_ANSWER_YET:
            raise NoCompletion
        parts = list(_parts(body["output"]))
        texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
        # of one text alone: joined texts have no tokens of their own
        listed = parts[0].get("logprobs") if len(parts) == 1 and texts and question.wants_probabilities else None
        refusals = [part["refusal"] for part in parts if isinstance(part.get("refusal"), str)]
        used = tokens(body.get("usage"), "input_tokens", "input_tokens_details", "output_tokens")
        return Reply(
            content=_called_with(body["output"]) or "".join(texts) or None,
            finish_reason=_finish_reason(body),
            refusal="".join(refusals) or None,
            probabilities=of_verdicts(texts[0], listed, question.answer_schema) if listed else {},
            judging=judging(question, effective, body, used, latency_ms=latency_ms, price=price, tier=tier),
        )


def _parts(output: list[Any]) -> Iterator[dict[str, Any]]:
    """The parts of the final messages, text or refusal; reasoning and commentary are left out."""
    for item in output:
        is_message = isinstance(item, dict) and item.get("type") == "message" and item.get("phase") != "commentary"
        content = item.get("content") if is_message else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                yield part


def _called_with(output: list[Any]) -> str | None:
    """The arguments of the first tool call; None without one."""
    calls = (item for item in output if isinstance(item, dict) and item.get("type") == "function_call")
    arguments = next((call.get("arguments") for call in calls), None)
    return as_text(arguments)


def _finish_reason(body: Mapping[str, Any]) -> str | None:
    """The reason in the words of chat.completions."""
    status, details = label(body.get("status")), body.get("incomplete_details")
    if status == "completed":
        return "stop"
    why = label(details.get("reason")) if isinstance(details, dict) else None
    return finish_reason(why or status)
