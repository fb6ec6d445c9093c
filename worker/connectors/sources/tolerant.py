"""JSON that one reader takes and another refuses: the second try at a line that orjson does not read."""

import json
import math
from typing import Any, NamedTuple

_MOST_DIGITS = 20
"""Digits up to which a whole number is read exactly; orjson reads longer ones as floats, and so does this."""
_BEFORE, _AFTER = " \t\ufeff\x1e", " \t\r\n,"
"""What stands around an object where files were joined, as RFC 7464 has it, or in the lines of an array."""
NOT_A_NUMBER = "NaN or Infinity, which JSON does not have"
HALF_CHARACTER = "half a character (\\ud83d or the like)"
NOT_UTF8 = "bytes that are not UTF-8"


class Repaired(NamedTuple):
    """What a line holds, and what was repaired to read it."""

    value: Any
    repairs: dict[str, str]
    """What was found, and what became of it; empty where only this reader was needed."""


def may_read(raw: bytes) -> bool:
    """Whether a line may be an object at all; only such are tried a second time."""
    return raw[:8].lstrip(b" \t\xef\xbb\xbf\x1e")[:1] == b"{"


def loads(raw: bytes) -> Repaired:
    """One JSON object of a line; NaN and infinities become null, half a character and foreign bytes U+FFFD.

    JavaScript, Python and others write all of these, and RFC 8259 allows the escape of half a character.

    Args:
        raw: A line, at most `intake.max_line_bytes`.

    Raises:
        ValueError: It is no JSON for this reader either.
        RecursionError: It is nested too deeply.

    Example:
        >>> loads(b'{"cost_usd": NaN}').value
        {'cost_usd': None}
    """
    repairs: dict[str, str] = {}

    def not_a_number(_: str) -> None:
        repairs[NOT_A_NUMBER] = "read as null"

    def as_float(digits: str) -> float | None:
        number = float(digits)
        if math.isfinite(number):
            return number
        not_a_number(digits)
        return None

    def as_int(digits: str) -> int | float | None:
        return int(digits) if len(digits) <= _MOST_DIGITS else as_float(digits)

    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        repairs[NOT_UTF8] = "replaced by U+FFFD"
    text = text.rstrip(_AFTER).lstrip(_BEFORE)
    value = json.loads(text, parse_constant=not_a_number, parse_float=as_float, parse_int=as_int, strict=False)
    if "\\u" in text:
        whole = _whole(value)
        if whole != value:
            repairs[HALF_CHARACTER] = "replaced by U+FFFD"
            value = whole
    return Repaired(value, repairs)


def _whole(value: Any) -> Any:  # noqa: ANN401 any JSON value
    """The same without halves of characters, in keys too."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value
