"""What an answer or a tool's result says, whatever its framework wraps it in.

Runs hold answers and results as text; one that was no text is JSON: content blocks (Anthropic, OpenAI, MCP), parts
(Gemini), messages (chat.completions, LangChain's two serialised forms), or a list of them. Rules about words must read
the words, not the wrapper.
"""

import ast
import json
import re
from typing import Any

import orjson

MAX_CHARS = 65_536
"""A longer text is taken as it is: a wrapper of that size holds a document, whose words no rule reads to the end."""
_DEPTH = 6
_REPR = re.compile(r"""content=(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:\s|$)""", re.DOTALL)
"""How LangChain writes a message as text: `content='…' name='…'`."""
_PYTHON = re.compile(r"\s*(?:\[\s*)?\{'")
"""How Python writes an object as text, which frameworks do that call `str` on a result."""
_MAX_PYTHON = 16_384
"""Characters of such a text that are read: it takes ten times as long as JSON."""
_ESCAPES = re.compile(r"\\(?![\\'\"abfnrtvxuUN0-7\n])|0[xXoObB][\da-fA-F_]{1000}")
"""What `repr` never writes: escapes that Python warns of, and numbers too long to be written again."""
_TEXTS = ("text", "output_text", "input_text", "summary_text")
_WORDLESS = (
    *(
        "tool_use",
        "tool_call",
        "function_call",
        "server_tool_use",
        "image",
        "image_url",
        "input_image",
        "audio",
        "file",
    ),
    *("thinking", "redacted_thinking", "reasoning", "step-start", "tool-call", "document", "resource", "resource_link"),
)
_CARRIERS = frozenset({"content", "parts", "tool_calls", "function_call"})
_MESSAGE = frozenset({
    "role", "content", "parts", "type", "id", "name", "status", "tool_calls", "tool_call_id",
    "invalid_tool_calls", "function_call", "refusal", "annotations", "audio", "additional_kwargs",
    "response_metadata", "usage_metadata", "artifact", "example", "isError", "is_error", "structuredContent",
    "_meta", "meta", "reasoning", "reasoning_content", "stop_reason", "stop_sequence", "model", "usage",
    "finish_reason", "logprobs", "index", "createdAt", "phase", "toolCallId", "tool_use_id",
})  # fmt: skip
"""Fields of a message or a tool's result, besides which it has no other."""


def plain_text(text: str | None) -> str:
    """The words of a text that may be wrapped.

    Args:
        text: An answer, an input or a tool's result; None counts as empty.

    Returns:
        The words, one block a line; empty for a message without words. A text that is no known wrapper is returned as
        it is, also other JSON: an agent's answer may be an object.

    Example:
        >>> plain_text('[{"type": "text", "text": "Error: no such order"}]')
        'Error: no such order'
        >>> plain_text('{"role": "assistant", "content": null, "tool_calls": []}')
        ''
        >>> plain_text('{"total": 83.2}')
        '{"total": 83.2}'
    """
    if not text:
        return ""
    document = json_value(text)
    if document is None:
        return _of_repr(text) if text.startswith("content=") else text
    if isinstance(document, str):
        inner = json_value(document)
        if inner is None or isinstance(inner, str):
            return document
        text, document = document, inner
    return words_of(document, text)


def words_of(document: Any, text: str) -> str:  # noqa: ANN401 any JSON value
    """The words of an object or a list; the text that it was read from where it is no known wrapper."""
    said = _said(document, _DEPTH)
    return text if said is None else said


def json_value(text: str) -> Any:  # noqa: ANN401 any JSON object or list
    """The object, list or quoted text that a text is, as JSON or as Python writes it.

    None where it is none, or longer than MAX_CHARS.
    """
    if len(text) > MAX_CHARS or not text[:200].lstrip().startswith(("{", "[", '"')):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        if text[-200:].rstrip()[-1:] not in ("}", "]", '"'):
            return None
    if _PYTHON.match(text):
        return _of_python(text)
    try:
        return json.loads(text, strict=False)  # half an emoji, a bare line break
    except (ValueError, RecursionError):
        return None


def _of_python(text: str) -> Any:  # noqa: ANN401 any value
    """The object or list that a text is in Python's own notation; None where it is none."""
    if len(text) > _MAX_PYTHON or _ESCAPES.search(text.replace(r"\\", "")):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _of_repr(text: str) -> str:
    found = _REPR.match(text[:MAX_CHARS])
    if found is None or _ESCAPES.search(found["text"].replace(r"\\", "")):
        return text
    try:
        return str(ast.literal_eval(found["text"]))
    except (ValueError, SyntaxError):
        return text


def _said(value: Any, depth: int) -> str | None:  # noqa: ANN401 any JSON value
    """The words of a wrapper; None for what is none."""
    if depth == 0:
        return None
    if isinstance(value, list):
        texts = [each if isinstance(each, str) else _said(each, depth - 1) for each in value]
        is_wrapper = bool(value) and any(isinstance(each, dict) for each in value)
        return "\n".join(text for text in texts if text) if is_wrapper and None not in texts else None
    if not isinstance(value, dict):
        return None
    kind = value.get("type")
    if kind in _TEXTS or (value.keys() == {"text"}):
        return _text(value.get("text"))
    if (kind in _WORDLESS and "content" not in value) or (
        len(value) == 1 and value.keys() <= {"functionCall", "function_call", "inlineData"}
    ):
        return ""
    if kind == "constructor" and isinstance(value.get("kwargs"), dict):  # LangChain's dumps
        return _content(value["kwargs"], depth)
    if isinstance(value.get("data"), dict) and value.keys() <= {"type", "data"}:  # LangChain's messages_to_dict
        return _content(value["data"], depth)
    if kind in ("tool-result", "tool_result") and isinstance(value.get("output"), dict):  # Vercel's AI SDK
        return _result(value["output"], depth)
    if isinstance(value.get("choices"), list) and value["choices"] and isinstance(value["choices"][0], dict):
        return _said(value["choices"][0].get("message"), depth - 1)
    if isinstance(value.get("messages"), list) and len(value) == 1 and value["messages"]:
        return _said(value["messages"][-1], depth - 1)
    is_message = bool(value.keys() & _CARRIERS) and value.keys() <= _MESSAGE
    return _content(value, depth) if is_message else None


def _result(output: dict[str, Any], depth: int) -> str | None:
    inner = output.get("value")
    return inner if isinstance(inner, str) else _said(inner, depth - 1)


def _text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("value")
    return value if isinstance(value, str) else "" if value is None else None


def _content(message: dict[str, Any], depth: int) -> str | None:
    """The words of a message's content; what it refused counts as words."""
    content = message.get("content", message.get("parts"))
    if content is None or content == []:
        refusal = message.get("refusal")
        return refusal if isinstance(refusal, str) else ""
    return content if isinstance(content, str) else _said(content, depth - 1)
