"""Server side of the chat-completions wire protocol: answers, errors and completions in OpenAI's JSON shapes."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

MODEL = "simulated-judge"
CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; a simulation needs no better


class Answer(NamedTuple):
    """An HTTP answer of the server, possibly with a fault."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: Mapping[str, Any] | bytes = b""
    """A mapping is sent as JSON."""
    delay_s: float = 0.0
    """Seconds before the first byte."""
    cut: bool = False
    """Announce the whole body, send half of it and close the connection."""
    endless_every_s: float | None = None
    """Repeat the body for ever with this pause in seconds; 0 for as fast as the client reads; None sends it once."""


Answerer = Callable[[dict[str, Any], Mapping[str, str]], Answer | Awaitable[Answer]]
"""Called with the request's JSON and its headers (names in lower case)."""


def refused(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Answer:
    """An error answer in OpenAI's JSON shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return Answer(status, body={"error": {"message": message, "type": kind, "param": param, "code": code}})


def completion(
    content: object,
    *,
    prompt: str = "",
    model: str = MODEL,
    finish_reason: str = "stop",
    refusal: str | None = None,
    tool: str | None = None,
    tokens_out: int | None = None,
) -> Answer:
    """A chat completion with this content, or with a call of `tool` that has the content as its arguments.

    Tokens are estimated as characters / 4, of an answer at least one; those of the answer may be given.
    """
    tokens_in = len(prompt) // CHARS_PER_TOKEN
    if tokens_out is None:
        tokens_out = max(1, len(content) // CHARS_PER_TOKEN) if isinstance(content, str) and content else 0
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal}
    if tool is not None:
        call = {"id": "call-1", "type": "function", "function": {"name": tool, "arguments": content}}
        message |= {"content": None, "tool_calls": [call]}
        finish_reason = "tool_calls"
    return Answer(
        body={
            "id": "chatcmpl-simulated",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "system_fingerprint": "simulated",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        }
    )
