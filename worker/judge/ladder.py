"""What a server can do: the rungs from a strict schema down to a plain prompt, and the parameters it refuses.

The first questions find it out: what a server refuses, or passes over in silence, is asked for in an easier way.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, Self

import orjson

from worker.judge.complaint import Complaint
from worker.records import Question, Reply

Rung = Literal["json_schema", "tool", "json_object", "prompt"]
RUNGS: tuple[Rung, ...] = ("json_schema", "tool", "json_object", "prompt")

LIMITS = ("max_tokens", "max_completion_tokens")
"""Both names of the output cap; the first is the one that older servers know."""

RESERVED = frozenset(
    {"messages", "model", "response_format", "stream", "stream_options", "n", "tools", "tool_choice", *LIMITS}
)
"""What a rubric's parameters cannot set: it would change what is asked or how the answer arrives."""

SCHEMA_REQUEST = "Answer with one JSON object that satisfies this JSON Schema, and with nothing else:\n"

_FORMAT = re.compile(r"response_format|json_schema|json_object|structured output", re.IGNORECASE)
_TOOLS = re.compile(r"\btools?\b|tool_choice|function.?call|jinja", re.IGNORECASE)
"""llama.cpp without its templates says `tools param requires --jinja flag`, and says it with a 500."""


class Plan(NamedTuple):
    """How to ask one model on one server."""

    rung: int = 0
    """Index into RUNGS."""
    refused: frozenset[str] = frozenset()
    """Parameters that the server refused."""
    limits: tuple[str, ...] = LIMITS
    """Names of the output cap, in the order in which to try them."""

    def lower(self) -> "Plan | None":
        """The next rung down; None from the last one."""
        return self._replace(rung=self.rung + 1) if self.rung < len(RUNGS) - 1 else None

    def dumped(self) -> dict[str, Any]:
        """As JSON, by the names of things, so that a later version reads it."""
        return {"rung": RUNGS[self.rung], "refused": sorted(self.refused), "limits": list(self.limits)}

    @classmethod
    def loaded(cls, said: Mapping[str, Any]) -> "Plan":
        """From `dumped`.

        Raises:
            ValueError, KeyError, TypeError: It is none of ours.
        """
        return cls(RUNGS.index(said["rung"]), frozenset(map(str, said["refused"])), tuple(map(str, said["limits"])))

    def joined(self, other: Self) -> "Plan":
        """The plan that avoids what either of two had to avoid."""
        return Plan(max(self.rung, other.rung), self.refused | other.refused, self.limits)


def request_body(question: Question, plan: Plan) -> tuple[bytes, dict[str, Any]]:
    """The JSON of one request, and the parameters it holds (`params_effective`).

    Below the strict rung the schema goes to the end of the last user message, behind everything that could be cached.
    """
    params = {
        name: value for name, value in question.params.items() if name not in RESERVED and name not in plan.refused
    }
    limit = next((name for name in plan.limits if name not in plan.refused), None)
    if limit is not None:
        params[limit] = question.max_output_tokens
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
        _append_schema(messages, question.answer_schema)
        if rung == "json_object":
            body["response_format"] = {"type": rung}
    return _dumped(body, messages), {**params, "response_format": rung}


def _append_schema(messages: list[dict[str, str]], schema: Mapping[str, Any]) -> None:
    request = SCHEMA_REQUEST + orjson.dumps(schema, default=dict).decode()
    last = next((message for message in reversed(messages) if message["role"] == "user"), None)
    if last is None:
        messages.append({"role": "user", "content": request})
    else:
        last["content"] = f"{last['content']}\n\n{request}"


def _dumped(body: dict[str, Any], messages: list[dict[str, str]]) -> bytes:
    try:
        return orjson.dumps(body, default=dict)
    except orjson.JSONEncodeError:  # a lone surrogate from some run, which UTF-8 cannot carry
        for message in messages:
            message["content"] = message["content"].encode("utf-8", "replace").decode()
        return orjson.dumps(body, default=dict)


def refuses_tools(plan: Plan, complaint: Complaint) -> bool:
    """Whether the server says, with whatever status, that it cannot be asked for a tool call."""
    about = f"{complaint.message} {complaint.code} {complaint.param}"
    return RUNGS[plan.rung] == "tool" and _TOOLS.search(about) is not None


def ignores_form(reply: Reply) -> bool:
    """Whether an answer is prose, though JSON was asked for: servers that do not know a form often pass over it.

    Half an object is none: that is a slip of a server that knows the form.
    """
    content = (reply.content or "").strip()
    is_whole = reply.refusal is None and reply.finish_reason not in ("length", "content_filter")
    return is_whole and bool(content) and not content.startswith(("{", "```"))


def easier(plan: Plan, complaint: Complaint, sent: Collection[str]) -> Plan | None:
    """The plan to try after the server refused this one; None when the complaint is about something else.

    Args:
        plan: What was tried.
        complaint: What the server answered, with status 400 or 422.
        sent: Names of the parameters that were sent.
    """
    named = complaint.param
    if named in sent and named != "response_format":
        return plan._replace(refused=plan.refused | {named})
    is_about_form = _FORMAT.search(f"{complaint.message} {complaint.code} {named}") or refuses_tools(plan, complaint)
    if is_about_form and (lower := plan.lower()) is not None:
        return lower
    for name in sent:
        if name != "response_format" and re.search(rf"\b{re.escape(name)}\b", complaint.message):
            return plan._replace(refused=plan.refused | {name})
    return None
