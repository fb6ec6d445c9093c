"""Values in another form than ours ("$0.031", "1.2s", "12", "None"), taken where they can mean one thing only."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from worker.core.intake.names import MUST_SAY, UNITS, field_of, spelt

LARGEST: Mapping[str, float] = {
    **dict.fromkeys(("input_tokens", "output_tokens", "seq", "result_size"), 1e15),
    **dict.fromkeys(("duration_ms", "latency_ms"), 1e11),
    "cost_usd": 1e9,
}
"""Beyond this a number is a mistake of the source: three years are no duration, but milliseconds since 1970 may be."""

_COUNTS = frozenset({"input_tokens", "output_tokens", "seq", "result_size"})
_LONGEST = 64
"""Characters of a text that may be a number; longer ones are none."""
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_DOLLARS = re.compile(
    rf"(?:US\s?)?\$\s?({_NUMBER})(?:\s?USD)?|({_NUMBER})\s?(?:US\$|USD|\$|dollars?)|USD\s?({_NUMBER})", re.A | re.I
)
_TIMED = re.compile(rf"({_NUMBER})\s?([a-zµμ]+)", re.I)
_MS = {
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), 1e-6),
    **dict.fromkeys(("us", "µs", "μs", "micros", "microseconds"), 1e-3),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1e3),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 6e4),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3.6e6),
}
"""Milliseconds of a unit of time; `m` stands for minutes only beside hours or seconds."""
_COMPOUND = re.compile(r"(?:PT)?(?:(\d{1,9})\s?h)?\s?(?:(\d{1,9})\s?m)?\s?(?:(\d{1,9}(?:\.\d+)?)\s?s)?", re.A | re.I)
"""`1m30s` as Go, `PT1M30S` as ISO 8601 writes it."""
_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d(?:\.\d+)?)", re.A)
"""`0:00:01.200000`, as Python writes a timedelta."""

_NOTHING = frozenset({"", "none", "null", "nan", "nil", "undefined", "n/a", "<na>", "<null>", "nat"})
_NO_ERROR = _NOTHING | {"false", "no", "ok", "okay", "success", "successful", "0", "-", "{}", "[]", '""'}
_NONE_FOUND = re.compile(
    r"no(?:ne)?(?: (?:errors?|problems?|issues?))?(?: (?:was|were))?(?: (?:found|detected|occurred|reported|raised))?"
)
_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_write_input_tokens")
"""What Anthropic's API and Bedrock count beside `input_tokens`, which everybody else counts within."""
_APART = {
    "candidates_token_count": ("thoughts_token_count", "output_tokens"),
    "prompt_token_count": ("tool_use_prompt_token_count", "input_tokens"),
}
"""What Gemini counts beside its tokens, and the field that it belongs to."""
_SHORT = {
    **dict.fromkeys(("input", "prompt"), "input_tokens"),
    **dict.fromkeys(("output", "completion"), "output_tokens"),
}
USAGE = frozenset({"usage", "token_usage", "usage_metadata", "tokens"})
"""Fields that hold the tokens as an object."""


class RunTokens(NamedTuple):
    """Tokens of a call; None where they are not said."""

    input_tokens: int | None
    output_tokens: int | None


def says_nothing(value: object) -> bool:
    """Whether a value is nothing, written as a word by whoever had to write something.

    Example:
        >>> says_nothing("None"), says_nothing("nan"), says_nothing(" "), says_nothing("0"), says_nothing(0)
        (True, True, True, False, False)
    """
    if isinstance(value, str):
        return len(value) <= _LONGEST and value.strip().casefold() in _NOTHING
    return value is None or (isinstance(value, float) and math.isnan(value))


def says_no_error(value: object) -> bool:
    """Whether an `error` says that there was none: nothing, false, 0, an empty list or object, or a word for it.

    Example:
        >>> says_no_error("None"), says_no_error(False), says_no_error({}), says_no_error("timeout")
        (True, True, True, False)
    """
    if isinstance(value, str):
        word = value.strip().rstrip(".!").casefold() if len(value) <= _LONGEST else value
        return word in _NO_ERROR or (word[:2] == "no" and _NONE_FOUND.fullmatch(word) is not None)
    return not value or says_nothing(value)


def number(field: str, name: str, value: object) -> float | int | None:
    """A number of a field, whatever way it is written, where it can mean one thing only.

    Args:
        field: Ours: a duration in ms, a cost in US dollars, a count of tokens, or a place.
        name: What the source calls it, which may say another unit.
        value: Any JSON value.

    Returns:
        0 <= number <= `LARGEST`, an int for a count; None for what is none, negative, beyond any run, a truth value, of
        another currency, with a comma (1,5 may be 1.5 or 15), or of a unit that neither name nor value says.

    Example:
        >>> number("cost_usd", "cost_usd", "$0.031"), number("duration_ms", "latency", "1.2s")
        (0.031, 1200.0)
        >>> number("duration_ms", "latency", 1.2), number("input_tokens", "tokens_in", "1,5")
        (None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        found = None if spelt(name) in MUST_SAY else value * UNITS.get(spelt(name), 1)
    elif isinstance(value, str) and len(value) <= _LONGEST:
        found = _from_text(field, name, value.strip())
    else:
        return None
    if found is None or not 0 <= found <= LARGEST[field]:  # also false of NaN
        return None
    if field in _COUNTS:
        return int(found) if found == int(found) else None
    return found


def _from_text(field: str, name: str, text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return None if spelt(name) in MUST_SAY else float(text) * UNITS.get(spelt(name), 1)
    if field == "cost_usd":
        dollars = _DOLLARS.fullmatch(text)
        return float(next(filter(None, dollars.groups()))) if dollars else None
    return _duration(text) if field in ("duration_ms", "latency_ms") else None


def _duration(text: str) -> float | None:
    """Milliseconds of a text that says its unit; None where it does not."""
    timed = _TIMED.fullmatch(text)
    if timed and timed[2].casefold() in _MS:
        return float(timed[1]) * _MS[timed[2].casefold()]
    parts = _CLOCK.fullmatch(text) or _COMPOUND.fullmatch(text)
    if parts is None or sum(part is not None for part in parts.groups()) < (1 if text[:2].upper() == "PT" else 2):
        return None
    return sum(float(part or 0) * ms for part, ms in zip(parts.groups(), (3.6e6, 6e4, 1e3), strict=True))


def truth(value: object) -> bool | None:
    """A truth value, also written as a word; None where it is none.

    Example:
        >>> truth("True"), truth(False), truth("no"), truth(1)
        (True, False, None, None)
    """
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().casefold()[:_LONGEST])
    return value if isinstance(value, bool) else None


def usage(value: Mapping[str, object]) -> RunTokens:
    """Tokens of an object as model servers send it, cached input included.

    Example:
        >>> usage({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15})
        RunTokens(input_tokens=12, output_tokens=3)
        >>> usage({"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5})
        RunTokens(input_tokens=100, output_tokens=5)
    """
    said = {spelt(name): count for name, count in list(value.items())[:_LONGEST]}
    if isinstance(unit := said.get("unit"), str) and spelt(unit) not in ("token", "tokens"):
        return RunTokens(None, None)
    found: dict[str, int] = {}
    for name, count in said.items():
        field = token_field(name)
        if field is not None and field not in found and (read := _count(count)) is not None:
            found[field] = read
    for beside, (apart, field) in _APART.items():
        if beside in said and field in found:
            found[field] += _count(said.get(apart)) or 0
    cached = sum(_count(said.get(name)) or 0 for name in _CACHED)
    if (
        "input_tokens" in found
        and "prompt_tokens" not in said
        and _count(said.get("total_tokens")) != sum(found.values())
    ):
        found["input_tokens"] += cached
    return RunTokens(found.get("input_tokens"), found.get("output_tokens"))


def token_field(name: str) -> str | None:
    """Which of the two counts a name within such an object stands for; None for another.

    Example:
        >>> token_field("completion"), token_field("promptTokens"), token_field("total_tokens")
        ('output_tokens', 'input_tokens', None)
    """
    field = _SHORT.get(name) or field_of("step", name)
    return field if field in RunTokens._fields else None


def _count(value: object) -> int | None:
    found = number("input_tokens", "input_tokens", value)
    return None if found is None else int(found)
