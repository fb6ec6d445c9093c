"""Whether a tool call failed, and what says so: one decision for flags, rates, alerts and scorers."""

import re
from typing import Any

from worker.core.intake.values import says_no_error
from worker.core.wrapped_text import json_value, plain_text
from worker.records import Step

_HEAD = 400
_TAIL = 2_000

_SAYS_ERROR = re.compile(
    r"""\s* (?: (?:error|fatal) \s? :  |  \[(?:error|fatal)\]
              | error \s (?:executing|calling|running|invoking|in|while|during|from|code|occurred)\b
              | traceback \s \(most\ recent\ call\ last\)
              | (?:\w{1,40}\.){0,6} \w{0,60} (?-i:Error|Exception) : \s
              | exit \s? code :? \s -? [1-9]
              | (?:unknown|invalid|no\ such) \s tool\b
              | (?:tool|command) \s (?:execution|call) \s failed\b
              )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How a result begins that only reports a failure."""

_CRASH = re.compile(r"(?:\w{1,40}\.){0,6}\w{0,60}(?:Error|Exception|Interrupt|Exit)(?::|$)")
"""The last line of a Python traceback."""

_TELLING = ("rror", '"success"', '"ok"', '"text"', '"content"', '"parts"')
"""Words of which JSON that reports a failure holds one; other JSON is not parsed."""


def failure(step: Step) -> str | None:
    """What says that a tool call failed; None when nothing does.

    Args:
        step: A step of kind `tool`.

    Returns:
        The step's error, or the words of its result that report the failure: the beginning, an object that is one, or
        the last line of a traceback.

    Example:
        >>> failure(Step(seq=0, kind="tool", result='{"error": "no such order"}'))
        '{"error": "no such order"}'
        >>> failure(Step(seq=0, kind="tool", result='[{"type": "text", "text": "Error: no such order"}]'))
        'Error: no such order'
        >>> failure(Step(seq=0, kind="tool", result='{"value": 3.1, "error": 0.05}')) is None
        True
    """
    if step.error and not says_no_error(step.error):
        return step.error
    result = step.result or ""
    if not result:
        return None
    if result[:_HEAD].lstrip()[:1] in ("{", "[") and any(word in result for word in _TELLING):
        words = plain_text(result)
        if _tells_failure(json_value(result)) or (words is not result and _tells_failure(json_value(words))):
            return words or result
        result = words
    return result if _SAYS_ERROR.match(result[:_HEAD]) else _crash(result)


def _tells_failure(document: Any) -> bool:  # noqa: ANN401 any JSON value
    """Whether JSON reports a failure; of a list only a block that is marked does, since its rows may tell of errors."""
    if isinstance(document, list):
        return any(isinstance(each, dict) and each.get("is_error") is True for each in document[:50])
    return isinstance(document, dict) and (
        document.get("isError") is True
        or document.get("is_error") is True
        or document.get("success") is False
        or document.get("ok") is False
        or _has_content(document.get("error"))
        or (document.get("status") == "error" and (_has_content(document.get("message")) or "content" in document))
    )


def _has_content(error: object) -> bool:
    if isinstance(error, str):
        return not says_no_error(error)
    return error is True or (isinstance(error, dict | list) and bool(error))


def _crash(result: str) -> str | None:
    """The last line of a result, where it ends a Python traceback; else None."""
    lines = result[-_TAIL:].rstrip().splitlines()
    if not lines or not _CRASH.match(lines[-1]) or "Traceback (most recent call last)" not in result:
        return None
    return lines[-1]
