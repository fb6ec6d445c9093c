"""What a server sent with a 200, as JSON: also where one parser takes it and another refuses it, or it was streamed.

Every answer goes through the strict parser first; what follows is for those that it refuses. Nothing is guessed: a
stream without its end, and two answers in one body, are no answer.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

_HALF = re.compile("[\ud800-\udfff]")
_MOST_DOCUMENTS = 50_000
"""Events of a stream; an answer has some thousand tokens."""
_FIELDS = ("content", "reasoning_content", "reasoning", "refusal")
"""Texts of a message that arrive in pieces."""


def parsed(raw: bytes) -> object:
    r"""The JSON value of a body; None where it has none.

    Half an emoji becomes U+FFFD, NaN becomes null, a byte order mark is skipped, comments and `[DONE]` of an event
    stream are left out, the pieces of one streamed completion are put together where its end is there, and of a JSON
    text that holds JSON the inner one is taken.

    Args:
        raw: The body, of bounded size.

    Example:
        >>> parsed(b'{"choices": [{"message": {"content": "half \\ud83d"}}]}')
        {'choices': [{'message': {'content': 'half \ufffd'}}]}
        >>> parsed(b': keep-alive\n\ndata: {"choices": []}\n\ndata: [DONE]\n')
        {'choices': []}
    """
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    else:
        if isinstance(value, str) and value.lstrip().startswith("{"):
            return parsed(value.encode())
        return value
    text = raw.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if text.startswith("<"):
        return None
    try:
        return _lenient(text)
    except (ValueError, RecursionError):
        pass
    try:
        documents = list(_documents(text))
    except (ValueError, RecursionError):
        return None
    if not documents or len(documents) > _MOST_DOCUMENTS:
        return None
    if len(documents) == 1 and not (isinstance(documents[0], dict) and documents[0].get("choices")):
        return documents[0]
    is_stream = all(isinstance(each, dict) and _is_chunk(each) for each in documents)
    return _joined(documents) if is_stream else documents[0] if len(documents) == 1 else None


def _lenient(text: str) -> object:
    value: object = json.loads(text, parse_constant=lambda name: None, strict=False)
    return _whole(value)


def _whole(value: Any) -> Any:  # noqa: ANN401 any JSON value
    """The value with U+FFFD for every half of a character."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    return value


def _documents(text: str) -> Iterator[object]:
    """The JSON values of an event stream, of lines of JSON, or of one value with `[DONE]` behind it.

    Raises:
        ValueError: Something in it is none of these.
    """
    for number, block in enumerate(_blocks(text)):
        if number >= _MOST_DOCUMENTS:
            raise ValueError("too many")
        if block != "[DONE]":
            yield _lenient(block)


def _blocks(text: str) -> Iterator[str]:
    """Data of the events: lines that begin with `data:`, joined within an event, or lines without a name."""
    held: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        name, colon, rest = line.partition(":")
        if line.startswith(":") or (colon and name in ("event", "id", "retry")):
            continue
        data = rest.strip() if name == "data" and colon else line
        is_new = not line or (held and data == "[DONE]") or (name == "data" and data.startswith("{"))
        if is_new and held and _is_complete("\n".join(held)):
            yield "\n".join(held)
            held = []
        if data:
            held.append(data)
    if held:
        yield "\n".join(held)


def _is_complete(text: str) -> bool:
    return text.endswith(("}", "]"))


def _is_chunk(document: Any) -> bool:  # noqa: ANN401 any JSON object
    choices = document.get("choices")
    if not isinstance(choices, list):
        return False
    return all(isinstance(choice, dict) and "delta" in choice and "message" not in choice for choice in choices)


def _joined(chunks: list[Any]) -> object:
    """A streamed completion as one; None where its end is missing."""
    whole: dict[str, Any] = {"object": "chat.completion"}
    message: dict[str, Any] = {}
    calls: dict[int, list[str]] = {}
    reason: object = None
    for chunk in chunks:
        for key in ("id", "model", "system_fingerprint", "service_tier", "usage", "error"):
            if chunk.get(key) is not None:
                whole[key] = chunk[key]
        for choice in chunk["choices"]:
            if choice.get("index", 0) != 0:
                return None
            delta = choice["delta"] if isinstance(choice["delta"], dict) else {}
            for field in _FIELDS:
                if isinstance(delta.get(field), str):
                    message.setdefault(field, []).append(delta[field])
            _add_calls(calls, delta.get("tool_calls"))
            reason = choice.get("finish_reason") or reason
    if reason is None and "error" not in whole:
        return None
    texts: dict[str, Any] = {field: "".join(pieces) for field, pieces in message.items()}
    if calls:
        texts["tool_calls"] = [{"function": {"arguments": "".join(pieces)}} for _, pieces in sorted(calls.items())]
    whole["choices"] = [{"message": texts, "finish_reason": reason}] if reason is not None else []
    return whole


def _add_calls(calls: dict[int, list[str]], pieces: object) -> None:
    for piece in pieces if isinstance(pieces, list) else ():
        function = piece.get("function") if isinstance(piece, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        place = piece.get("index", 0) if isinstance(piece, dict) else 0
        if isinstance(arguments, str) and isinstance(place, int):
            calls.setdefault(place, []).append(arguments)
