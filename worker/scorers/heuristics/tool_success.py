"""The share of tool calls that worked."""

import json
import re
from typing import Any

from worker.records import Outcome, Run, Step, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt
from worker.scorers.protocol import Context

_HEAD = 400
_TAIL = 2_000
_JSON_MAX = 65_536
"""A longer object is not parsed; only how it begins is read."""

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

_NO_ERROR = {"", "none", "null", "false", "no", "no error", "ok", "0"}


class ToolSuccess(Heuristic):
    """1 − failed tool calls ÷ tool calls; unscored where there were none.

    A call failed when its step carries an error, or when its result plainly says so: it begins with `Error:`,
    `SomeError: …`, `Traceback …` or a non-zero exit code; it ends in a Python traceback; or it is a JSON object with
    `isError`/`is_error` true, `success` or `ok` false, a non-empty text, list or object under `error`, or `status:
    error` beside a `message`. A number under `error` is taken for a measurement, a list under `errors` for a finding.

    Cannot see: whether the right tool was called, or whether it returned what was wanted (an empty search succeeds). A
    log file that begins with `Error:` looks like a failure, a failure told in a friendly sentence does not. A failed
    call that the agent recovers from may be good work: in some task types runs with tool errors do better than those
    without.
    """

    name = "tool_success"
    version = "1"

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Count the tool calls that failed."""
        calls = [step for step in run.steps if step.kind == "tool"]
        if not calls:
            return unscored("no_tool_calls")
        failures = [(step, text) for step in calls if (text := failure(step)) is not None]
        if not failures:
            return scored(1.0, rationale=f"all {len(calls)} tool calls worked")
        step, text = failures[0]
        rationale = f"{len(failures)} of {len(calls)} tool calls failed, first step {step.seq} {excerpt(step.name, 40)}"
        return scored(1 - len(failures) / len(calls), rationale=f"{rationale}: “{excerpt(text)}”")


def failure(step: Step) -> str | None:
    """What says that a tool call failed; None when nothing does.

    Example:
        >>> failure(Step(seq=0, kind="tool", result='{"error": "no such order"}'))
        '{"error": "no such order"}'
        >>> failure(Step(seq=0, kind="tool", result='{"value": 3.1, "error": 0.05}')) is None
        True
    """
    if step.error and step.error.strip():
        return step.error
    result = step.result or ""
    if _SAYS_ERROR.match(result[:_HEAD]) or _is_failed_object(result):
        return result
    return _crash(result)


def _is_failed_object(result: str) -> bool:
    if len(result) > _JSON_MAX or not result[:_HEAD].lstrip().startswith("{"):
        return False
    try:
        document: dict[str, Any] = json.loads(result)  # an object, since it begins with a brace
    except (ValueError, RecursionError):
        return False
    return (
        document.get("isError") is True
        or document.get("is_error") is True
        or document.get("success") is False
        or document.get("ok") is False
        or _has_content(document.get("error"))
        or (document.get("status") == "error" and _has_content(document.get("message")))
    )


def _has_content(error: object) -> bool:
    if isinstance(error, str):
        return error.strip().casefold() not in _NO_ERROR
    return error is True or (isinstance(error, dict | list) and bool(error))


def _crash(result: str) -> str | None:
    """The last line of a result, where it ends a Python traceback; else None."""
    lines = result[-_TAIL:].rstrip().splitlines()
    if not lines or not _CRASH.match(lines[-1]) or "Traceback (most recent call last)" not in result:
        return None
    return lines[-1]
