"""How probable each verdict was, from the probabilities of the tokens that a judge wrote.

A probability is given only where it is exact. It is left out where the tokens do not add up to the answer, where the
place of a verdict is not certain, and where an alternative token could have become either of two verdicts.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

ALTERNATIVES = 5
"""Alternatives asked for at each token: more than most scales have verdicts, and the most that some servers give."""
UNCLEAR = 0.005
"""An ambiguous alternative below this probability is neglected."""
MIN_TOTAL = 0.5
"""Together the verdicts must be at least this probable; else the tokens are not about them."""
_TOKENS = 12
"""Tokens that one verdict is written in, at most."""
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def of_verdicts(content: str, listed: object, schema: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Probabilities of the verdicts in an answer.

    Args:
        content: The answer's text.
        listed: Its tokens as chat.completions and responses list them, each with `top_logprobs`; may be anything.
        schema: Of the answer: by criterion an object with an enum `verdict`.

    Returns:
        By criterion the probability of each verdict that the schema offers, together 1; those that cannot be told
        exactly are left out.
    """
    tokens = [_bytes(token) for token in listed] if isinstance(listed, list) else []
    readable = [token for token in tokens if token is not None]
    raw, stream = content.encode("utf-8", "surrogatepass"), b"".join(readable)
    start = stream.find(raw) if raw and len(readable) == len(tokens) else -1
    if not isinstance(listed, list) or start < 0 or stream.find(raw, start + 1) >= 0:
        return {}
    starts = list(accumulate((len(token) for token in readable), initial=0))[:-1]
    offered, result = _offered(schema), {}
    for criterion, (verdict, at) in _verdicts(content).items():
        options = offered.get(criterion, ())
        place = start + len(content[:at].encode("utf-8", "surrogatepass"))
        first = bisect_right(starts, place) - 1
        head = stream[starts[first] : place]
        shares = _shares(listed[first : first + _TOKENS], readable[first:], head, options) if verdict in options else {}
        if shares.get(verdict):
            result[criterion] = shares
    return result


def _offered(schema: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The verdicts of each criterion."""
    offered: dict[str, Sequence[str]] = {}
    for criterion, inner in (schema.get("properties") or {}).items():
        verdict = (inner.get("properties") or {}).get("verdict") or {}
        if isinstance(verdict.get("enum"), list | tuple):
            offered[criterion] = verdict["enum"]
    return offered


def _verdicts(content: str) -> dict[str, tuple[str, int]]:
    """Each criterion's verdict as it is written, and the place of its first letter; empty where it is no object."""
    try:
        outer = [(criterion, at) for criterion, at, _ in _members(content, content.index("{")) if content[at] == "{"]
        return {
            criterion: (content[start + 1 : end - 1], start + 1)
            for criterion, at in outer
            for key, start, end in _members(content, at)
            if key == "verdict" and content[start] == '"'
        }
    except (ValueError, IndexError, RecursionError):
        return {}


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Key, and start and end of the value, of each member of the JSON object that begins at a place."""
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError("no value")
        start = _skip(text, at + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield str(key), start, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    spaces = _SPACE.match(text, at)
    return spaces.end() if spaces else at


def _shares(listed: Sequence[Any], tokens: Sequence[bytes], head: bytes, options: Sequence[str]) -> dict[str, float]:
    """The probability of each option at the place where one was written; empty when it cannot be told.

    The first token that differs between two options decides between them; one that may still become either passes its
    probability on to what is written after it.

    Args:
        listed: The tokens from the one that holds the first letter.
        tokens: Their bytes.
        head: What the first of them holds before the first letter.
        options: What could be written.
    """
    ends = {option: f'{option}"'.encode() for option in options}
    shares, mass, written = dict.fromkeys(options, 0.0), 1.0, b""
    for token, taken in zip(listed, tokens, strict=False):
        passed_on = None
        for text, p in _alternatives(token, taken).items():
            if not text.startswith(head):
                continue  # the same place in another spelling, or something else altogether
            so_far = written + text[len(head) :]
            fitting = [option for option, end in ends.items() if end.startswith(so_far) or so_far.startswith(end)]
            if len(fitting) == 1:
                shares[fitting[0]] += mass * p
            elif fitting and text == taken:
                passed_on = mass * p
            elif fitting and mass * p > UNCLEAR:
                return {}
        if passed_on is None:
            break
        mass, written, head = passed_on, written + taken[len(head) :], b""
    total = math.fsum(shares.values())
    return {option: p / total for option, p in shares.items()} if MIN_TOTAL <= total <= 1.01 else {}


def _alternatives(token: Mapping[str, Any], taken: bytes) -> dict[bytes, float]:
    """The texts that were possible at a token, with their probabilities; empty when the list cannot be read."""
    top = token.get("top_logprobs")
    alternatives: dict[bytes, float] = {}
    for alternative in top if isinstance(top, list) else ():
        text, p = _bytes(alternative), _probability(alternative)
        if text is None or p is None:
            return {}
        alternatives[text] = alternatives.get(text, 0.0) + p
    if taken not in alternatives and (p := _probability(token)) is not None:
        alternatives[taken] = p
    return alternatives if top else {}


def _bytes(token: object) -> bytes | None:
    """A token's bytes; its text where the server gives none. None when it is no token."""
    if not isinstance(token, dict):
        return None
    raw, text = token.get("bytes"), token.get("token")
    if isinstance(raw, list):
        are_bytes = all(isinstance(byte, int) and 0 <= byte <= 255 for byte in raw)
        return bytes(raw) if are_bytes else None
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else None


def _probability(token: Mapping[str, Any]) -> float | None:
    value = token.get("logprob")
    if not isinstance(value, int | float) or isinstance(value, bool) or not value <= 0.001:
        return None
    return math.exp(min(float(value), 0.0)) if value > -1000 else 0.0
