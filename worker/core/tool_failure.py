"""Whether a tool call failed, and what says so: one decision for flags, rates, alerts and scorers."""

import re
from collections.abc import Mapping
from typing import Any

from worker.core.intake.values import says_no_error, truth
from worker.core.wrapped_text import MAX_CHARS, json_value, plain_text
from worker.records import Step

_HEAD = 400
_TAIL = 2_000
_BLOCKS = 50
"""Blocks of a list that are looked at."""
_DEPTH = 4

_NOTHING = r"""(?! \s* (?:none|null|nil|nan|false|n/a|0|""|'')? [\s.,;]* (?:\n|$) )"""
_SAYS_ERROR = re.compile(
    rf"""[\s*#>`❌⚠️]* (?: (?:error|fatal) (?:\*\*)? \s? : {_NOTHING}
              | [\[<](?:error|fatal|tool_use_error)[\]>]
              | error \s (?:executing|calling|running|invoking|in|while|during|from|code|occurred|posting|[45]\d\d)\b
              | an? \s (?:\w{{1,20}}\s)? error \s (?:has\s)? occurred\b
              | traceback \s \(most\ recent\ call\ last\)
              | (?:\w{{1,40}}\.){{0,6}} \w{{0,60}} (?-i:Error|Exception) : \s {_NOTHING}
              | exit \s? code :? \s -? [1-9]
              | (?: http (?:/\d (?:\.\d)?)? (?:\s (?:error|status))? | (?:status|response) \s code )
                :? \s [45]\d\d \b
              | (?:4(?:0[0134589]|10|22|29)|50[0-4]) \s
                (?:client\serror|server\serror|service\sunavailable|internal\sserver|bad\s(?:request|gateway)|too\smany
                |not\s(?:found|allowed|acceptable|implemented)|unauthorized|forbidden|gateway\stime|request\stime|gone
                |conflict|payment\srequired|unprocessable|method\snot) \b
              | (?:request|call|query) \s failed \s with \s (?:status|code|http|error)\b
              | (?:mcp|rpc|api|http|network|internal\sserver|server|connection|timeout)
                \s error \b (?= \s* (?:[-:(\d]|$) )
              | (?:unknown|invalid|no\ such) \s tool\b
              | tool \s ['"`]? [\w.-]{{1,80}} ['"`]? \s (?:not\sfound|does\snot\sexist|is\snot\savailable)\b
              | (?:tool|command|function) \s (?:execution|call) \s failed\b
              | (?:the\s)? (?:request|connection|operation|tool|tool\scall|command) \s
                (?:has\s)? (?:timed\sout|was\srefused|refused|reset\sby\speer)\b
              )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How a result begins that only reports a failure."""

_FINE = frozenset({"ok", "0", "200", "success"})
"""Codes of an `error` object that says that there was none."""

_CRASH = re.compile(r"(?:\w{1,40}\.){0,6}\w{0,60}(?:Error|Exception|Interrupt|Exit)(?::|$)")
"""The last line of a Python traceback."""

_IPYTHON = re.compile(
    r"^(?:-{20,80}\n\w{1,60}[ \t]{1,80}Traceback \(most recent call last\)"
    r"|[ \t]{0,4}Cell In ?\[\d{1,6}\], line \d{1,6}$)",
    re.MULTILINE,
)
"""How IPython begins a traceback, which may stand between other output."""

_FIRST_WORDS = re.compile(
    r'\s*\[?\s*\{[^{}\[\]]{0,120}?"(?:text|content)"\s*:\s*(?:\[\s*\{[^{}\[\]]{0,120}?"text"\s*:\s*)?"'
)
"""What precedes the words of a wrapper that is cut or too long to be parsed."""

_TELLING = (
    "rror",
    "uccess",
    "tatus",
    "xit",
    "ode",
    '"ok"',
    '"text"',
    '"content"',
    '"parts"',
    '"kwargs"',
    '"res',
    '"out',
)
"""Letters of which JSON that reports a failure holds some; other JSON is not parsed."""

_FAILED: Mapping[str, bool] = {
    **dict.fromkeys(("iserror", "haserror"), True),
    **dict.fromkeys(("success", "ok", "succeeded", "issuccess"), False),
}
"""Fields, in small letters and without `_`, that say by true or false whether a call failed: what means that it did."""
_HTTP_STATUS = ("status", "statuscode", "httpstatus", "httpstatuscode", "httpcode", "responsecode")
_EXIT_CODE = ("exitcode", "returncode", "exitstatus")
_INNER = ("result", "output", "response", "kwargs", "data", "toolresult", "functionresponse", "value")
"""Fields of a wrapper in which the result proper stands."""
_OF_A_WRAPPER = frozenset({
    *_INNER, "jsonrpc", "id", "name", "type", "lc", "role", "toolcallid", "toolname", "tooluseid", "state", "input",
    "providerexecuted", "dynamic", "callid", "args", "arguments",
})  # fmt: skip
"""Fields of a wrapper, besides which it has no other; a list of rows, or an order, is none."""


def failure(step: Step) -> str | None:
    """What says that a tool call failed; None when nothing does.

    Args:
        step: A step of kind `tool`.

    Returns:
        The step's error, or the words of its result that report the failure: the beginning, an object that is one, or
        the last line of a traceback. Reads at most `MAX_CHARS` characters of JSON, and head and tail of a longer text.

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
    return _failure_told(step.result) if step.result else None


def _failure_told(result: str) -> str | None:
    words = result
    if result[:_HEAD].lstrip()[:1] in ("{", "[", '"') and any(word in result for word in _TELLING):
        if len(result) > MAX_CHARS or (document := json_value(result)) is None:
            begun = _FIRST_WORDS.match(result[:_HEAD])
            words = result[begun.end() :] if begun else result
        else:
            words = plain_text(result)
            if _is_failed(document, _DEPTH):
                return words.strip() or result
            inner = json_value(words) if words is not result else None
            if inner is not None and _is_failed(inner, _DEPTH):
                return words
            if isinstance(document, dict) and isinstance(told := _told_inside(document, _DEPTH), str):
                words = told
    elif result.startswith("content="):
        words = plain_text(result)
        if " status='error'" in result[-_TAIL:]:
            return words
    return words if _SAYS_ERROR.match(words[:_HEAD]) else _crash(words)


def _is_failed(document: Any, depth: int) -> bool:  # noqa: ANN401 any JSON value
    """Whether a result as JSON says that the call failed: the object, its wrapper, or a block of a list."""
    if depth == 0:
        return False
    if isinstance(document, list):  # rows of a table may tell of errors; content blocks tell of their own
        return any(
            _said(block, ("iserror",)) or str(block.get("state")) == "output-error"
            for block in document[:_BLOCKS]
            if isinstance(block, dict)
        )
    if not isinstance(document, dict):
        return False
    fields = {str(name).replace("_", "").casefold(): value for name, value in list(document.items())[:_BLOCKS]}
    return (
        _says_failed(fields)
        or _is_failed(fields.get("content"), 1)
        or (
            fields.keys() <= _OF_A_WRAPPER
            and any(_is_failed(fields[name], depth - 1) for name in _INNER if isinstance(fields.get(name), dict))
        )
    )


def _says_failed(fields: Mapping[str, Any]) -> bool:
    status = fields.get("status")
    return (
        any(name in fields and truth(fields[name]) is meant for name, meant in _FAILED.items())
        or _has_content(fields.get("error"))
        or any(_is_http_failure(fields.get(name)) for name in _HTTP_STATUS)
        or any(_number(fields.get(name)) not in (None, 0) for name in _EXIT_CODE)
        or (status == "error" and (_has_content(fields.get("message")) or "content" in fields))
        or (_is_http_failure(fields.get("code")) and isinstance(fields.get("message"), str))
        or (bool(fields.get("errors")) and "data" in fields and fields["data"] is None)  # GraphQL
        or str(fields.get("type")) in ("error-text", "error-json", "tool_result_error", "tool-error")
        or fields.get("state") == "output-error"
    )


def _said(block: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return any(str(name).replace("_", "").casefold() in names and truth(value) is True for name, value in block.items())


def _told_inside(document: Mapping[str, Any], depth: int) -> object:
    """The text in a wrapper's one field for the result; None without one."""
    fields = {str(name).replace("_", "").casefold(): value for name, value in list(document.items())[:_BLOCKS]}
    if depth == 0 or not fields.keys() <= _OF_A_WRAPPER:
        return None
    inner = next((fields[name] for name in _INNER if fields.get(name) is not None), None)
    return _told_inside(inner, depth - 1) if isinstance(inner, dict) else inner


def _is_http_failure(value: object) -> bool:
    number = _number(value)
    return number is not None and 400 <= number <= 599


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdecimal() and len(value) <= 5:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _has_content(error: object) -> bool:
    if isinstance(error, str):
        return not says_no_error(error)
    if isinstance(error, dict):  # an envelope may have one with every success
        code = next((error[name] for name in ("code", "status", "type") if name in error), None)
        return bool(error) and not (str(code).casefold() in _FINE or all(not value for value in error.values()))
    return error is True or (isinstance(error, list) and bool(error))


def _crash(result: str) -> str | None:
    """What tells of a traceback: IPython's, or the last line where it ends Python's; else None."""
    head = result[:MAX_CHARS]
    if ("Traceback (most" in head or "Cell In" in head) and (found := _IPYTHON.search(head)):
        return result[found.start() :]
    lines = result[-_TAIL:].rstrip().splitlines()
    if not lines or not _CRASH.match(lines[-1]) or "Traceback (most recent call last)" not in result:
        return None
    return lines[-1]
