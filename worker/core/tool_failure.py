"""Whether a tool call failed, and what says so: one decision for flags, rates, alerts and scorers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from worker.core.failure_words import HEAD, NOTHING, TAIL, begins, ending, reports
from worker.core.intake.names import spelt
from worker.core.intake.values import says_no_error, truth
from worker.core.wrapped_text import MAX_CHARS, json_value, plain_text, words_of
from worker.records import Step

_BLOCKS = 50
"""Blocks of a list that are looked at."""
_DEPTH = 4
_LINES = 8
"""Lines up to which the result of a tool that reads may be about its own failure; more are what was read."""
_READERS = frozenset({
    "browse", "cat", "crawl", "fetch", "grep", "log", "logs", "read", "rg", "scrape", "search", "tail", "view",
})  # fmt: skip
"""Words in the name of a tool that gives back what others wrote, which may be errors and tracebacks."""

_FINE = frozenset({"ok", "0", "200", "success"})
"""Codes of an `error` object that says that there was none."""

_FIRST_WORDS = re.compile(
    r'\s*\[?\s*\{[^{}\[\]]{0,120}?"(?:text|content)"\s*:\s*(?:\[\s*\{[^{}\[\]]{0,120}?"text"\s*:\s*)?"'
)
"""What precedes the words of a wrapper that is cut or too long to be parsed."""
_CUT = re.compile(
    rf"""\s* \{{ \s* (?:
          "(?:error|error_?message|exception)" \s* : \s*
            (?: " {NOTHING} (?! (?:none|null|nil|false|no|ok|n/a|success|0)? " )
              | \{{ \s* "(?:message|msg)" \s* : \s* "[^"] )
        | "is_?error" \s* : \s* true | "(?:success|ok)" \s* : \s* false
        )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How JSON begins that reports a failure, where it was cut and cannot be parsed."""

_TELLING = (
    *("rror", "xception", "raceback", "ault", "uccess", "ailed", "tatus", "tate", "xit", "ode", "etail", "essage"),
    *('"ok"', "'ok'", "text", "ontent", "parts", "kwargs", "res", "out", "tderr"),
)
"""Letters of which JSON that reports a failure holds some; other JSON is not parsed."""

_FAILED: Mapping[str, bool] = {
    **dict.fromkeys(("iserror", "haserror", "failed"), True),
    **dict.fromkeys(("success", "ok", "succeeded", "issuccess"), False),
}
"""Fields, in small letters and without `_`, that say by true or false whether a call failed: what means that it did."""
_BAD_STATUS = frozenset({"error", "errored", "exception", "fail", "failed", "failure", "timeout", "timedout"})
_STATUS = ("status", "state", "outcome")
_HTTP_STATUS = ("status", "statuscode", "httpstatus", "httpstatuscode", "httpcode", "responsecode")
_HTTP_CODES = frozenset({*range(400, 432), 451, *range(500, 512), *range(520, 531), 598, 599})
_EXIT_CODE = ("exitcode", "returncode", "exitstatus")
_TOLD = ("message", "msg", "detail", "details", "reason", "error", "errormessage", "errormsg")
_MESSAGES = ("errormessage", "errormsg", "errmsg", "errordescription")
_CODES = ("errorcode", "errcode", "code")
_THROWN = ("exception", "exceptiontype", "traceback", "stacktrace")
_INNER = ("result", "output", "response", "kwargs", "data", "toolresult", "functionresponse", "value")
"""Fields of a wrapper in which the result proper stands."""
_OF_A_WRAPPER = frozenset({
    *_INNER, "jsonrpc", "id", "name", "type", "lc", "role", "toolcallid", "toolname", "tooluseid", "state", "input",
    "providerexecuted", "dynamic", "callid", "args", "arguments",
})  # fmt: skip
"""Fields of a wrapper, besides which it has no other; a list of rows, or an order, is none."""
_OF_AN_ERROR = frozenset({
    *_TOLD, *_MESSAGES, *_CODES, "cause", "correlationid", "documentationurl", "errno", "errors", "errortype",
    "extensions", "helpurl", "hint", "instance", "jsonapi", "links", "meta", "moreinfo", "ok", "outcome", "param",
    "path", "requestid", "retryafter", "state", "status", "statuscode", "success", "syscall", "timestamp", "title",
    "traceid", "type",
})  # fmt: skip
"""Fields of an object that is an error; one with others may be a record that was asked for: a build, a payment."""
_LOOKED_AT = frozenset({*_FAILED, *_STATUS, *_HTTP_STATUS, *_EXIT_CODE, *_TOLD, *_MESSAGES, *_CODES, *_THROWN}) | {
    *("errors", "type", "fault", "stdout", "title", "name"),
}
"""Fields that may say that a call failed; an object with none of them is looked at no further."""
_OF_A_FINDING = frozenset({"line", "row", "column", "col", "file", "filename", "lineno", "rule"})
"""Fields of what a linter finds: the list of errors that was asked for."""
_ERROR_CODE = re.compile(
    r"E[A-Z]{4,20}|(?i:.{0,60}(?:error|exception|fault|invalid|not_?found|denied|exceeded|unauth|forbidden|failed"
    r"|failure|timed?_?out|unavailable|missing|not_allowed|throttl|expired).{0,60})"
)
_CLASS = re.compile(r"(?:[\w#]{1,80}[.#:/])*\w{0,80}(?:Error|Exception|Fault)\b|Traceback \(most", re.ASCII)


def failure(step: Step) -> str | None:
    """What says that a tool call failed; None when nothing does.

    Args:
        step: A step of kind `tool`.

    Returns:
        The step's error, or the words of its result that report the failure: the beginning, an object that is one, an
        exit code, or the last line of a traceback. Reads at most `MAX_CHARS` characters of JSON, and head and tail of
        a longer text.

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
    return _failure_told(step.result, step.name) if step.result else None


def _failure_told(result: str, tool: str) -> str | None:
    words = result
    if result[:HEAD].lstrip()[:1] in ("{", "[", '"') and any(word in result for word in _TELLING):
        if len(result) > MAX_CHARS or (document := json_value(result)) is None:
            if _CUT.match(result[:HEAD]):
                return result
            begun = _FIRST_WORDS.match(result[:HEAD])
            words = result[begun.end() :] if begun else result
        else:
            words = plain_text(result) if isinstance(document, str) else words_of(document, result)
            if _is_failed(document, _DEPTH):
                return words.strip() or result
            inner = json_value(words) if words is not result else None
            if inner is not None and _is_failed(inner, _DEPTH):
                return words
            if isinstance(document, dict) and isinstance(told := _told_inside(document, _DEPTH), str):
                words = told
            if words is result:
                return None  # an object that says nothing of a failure
    elif result.startswith("content="):
        words = plain_text(result)
        if " status='error'" in result[-TAIL:]:
            return words
    if _is_read(words, tool):
        return None
    return words if begins(words) else ending(words)


def _is_read(words: str, tool: str) -> bool:
    """Whether a result is what a tool has read: longer than what it would say of its own failure."""
    return words.count("\n") >= _LINES and not _READERS.isdisjoint(spelt(tool).split("_"))


def _is_failed(document: Any, depth: int) -> bool:  # noqa: ANN401 any JSON value
    """Whether a result as JSON says that the call failed: the object, its wrapper, or a block of a list."""
    if depth == 0:
        return False
    if isinstance(document, list):  # rows of a table may tell of errors; content blocks tell of their own
        return any(
            truth(block.get("isError", block.get("is_error"))) is True or block.get("state") == "output-error"
            for block in document[:_BLOCKS]
            if isinstance(block, dict)
        )
    if not isinstance(document, dict):
        return False
    fields = _folded(document)
    return (
        (not _LOOKED_AT.isdisjoint(fields) and (_says_failed(fields) or _is_an_error(fields)))
        or _is_failed(fields.get("content"), 1)
        or (
            fields.keys() <= _OF_A_WRAPPER
            and any(_is_failed(fields[name], depth - 1) for name in _INNER if isinstance(fields.get(name), dict))
        )
    )


def _folded(document: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of an object in small letters and without `_` and `-`."""
    return {
        str(name).replace("_", "").replace("-", "").casefold(): value
        for name, value in list(document.items())[:_BLOCKS]
    }


def _says_failed(fields: Mapping[str, Any]) -> bool:
    """Whether a field says that the call failed, whatever else an object holds."""
    status = fields.get("status")
    return (
        any(name in fields and truth(fields[name]) is meant for name, meant in _FAILED.items())
        or _has_content(fields.get("error"))
        or any(_is_http_failure(fields.get(name)) for name in _HTTP_STATUS)
        or any(_number(fields.get(name)) not in (None, 0) for name in _EXIT_CODE)
        or (_is_word(status, ("error",)) and (_has_content(fields.get("message")) or "content" in fields))
        or (_is_http_failure(fields.get("code")) and isinstance(fields.get("message"), str))
        or (bool(fields.get("errors")) and "data" in fields and fields["data"] is None)  # GraphQL
        or str(fields.get("type")) in ("error-text", "error-json", "tool_result_error", "tool-error")
        or fields.get("state") == "output-error"
        or (any(_has_content(fields.get(name)) for name in _MESSAGES) and not _is_fine(fields))
        or any(_is_class(fields.get(name)) for name in _THROWN)
        or (_is_class(fields.get("name")) and "message" in fields and "stack" in fields)  # JavaScript
        or (_is_class(fields.get("type")) and isinstance(fields.get("message"), str))  # AWS: __type
        or (isinstance(fields.get("fault"), dict) and "faultstring" in fields["fault"])
        or _has_failed_silently(fields)
    )


def _is_an_error(fields: Mapping[str, Any]) -> bool:
    """Whether an object is an error and nothing else, as APIs answer with: of JSON:API, FastAPI, RFC 9457, Spring."""
    data = fields.get("data")
    if not fields.keys() - {"data"} <= _OF_AN_ERROR or (data and not isinstance(data, dict)):
        return False
    texts = [fields[name] for name in _TOLD if isinstance(fields.get(name), str)]
    if any(_is_word(fields.get(name), _BAD_STATUS) for name in _STATUS):
        return "data" in fields or any(fields.get(name) for name in _TOLD)
    if data and texts and any(_is_http_failure(_folded(data).get(name)) for name in _HTTP_STATUS):  # WordPress
        return True
    if data or any(_is_word(fields.get(name), _FINE) for name in _STATUS):
        return False
    code = fields.get("code", fields.get("type"))
    return (
        (bool(texts) and (_is_word(fields.get("type"), _BAD_STATUS) or fields.get("success", fields.get("ok")) == 0))
        or (bool(texts) and "data" in fields and _number(code) not in (None, 0, 1, 200) and not says_no_error(texts[0]))
        or _are_errors(fields.get("errors"))
        or _are_refusals(fields.get("detail"))
        or (len(texts) == 1 and reports(texts[0]))
        or (isinstance(code, str) and len(code) <= HEAD and bool(texts) and _ERROR_CODE.fullmatch(code) is not None)
        or ("hint" in fields and "code" in fields and bool(texts))  # PostgREST
        or ("title" in fields and "instance" in fields)  # RFC 9457
    )


def _are_errors(errors: object) -> bool:
    """Whether `errors` is what went wrong, and not what a linter or a validator was asked for."""
    if isinstance(errors, dict):
        return any(errors.values()) and not any(isinstance(value, int) for value in errors.values())
    return (
        isinstance(errors, list)
        and bool(errors)
        and all(isinstance(one, str) or (isinstance(one, dict) and not _OF_A_FINDING & one.keys()) for one in errors)
    )


def _are_refusals(detail: object) -> bool:
    """Whether a `detail` is FastAPI's list of what a request lacked."""
    return isinstance(detail, list) and any(isinstance(one, dict) and {"loc", "msg"} <= one.keys() for one in detail)


def _has_failed_silently(fields: Mapping[str, Any]) -> bool:
    """Whether a program wrote nothing but an error, and its exit code is not said."""
    told = fields.get("stderr")
    return isinstance(told, str) and fields.get("stdout") == "" and (begins(told) or ending(told) is not None)


def _is_word(value: object, words: Sequence[str] | frozenset[str]) -> bool:
    return isinstance(value, str) and value.replace("_", "").casefold() in words


def _is_class(value: object) -> bool:
    return isinstance(value, str) and _CLASS.match(value) is not None


def _is_fine(fields: Mapping[str, Any]) -> bool:
    code = next((fields[name] for name in _CODES if name in fields), "unknown")
    return str(code).casefold() in _FINE or set(str(code)) == {"0"}


def _told_inside(document: Mapping[str, Any], depth: int) -> object:
    """The text in a wrapper's one field for the result; None without one."""
    fields = _folded(document)
    if depth == 0 or not fields.keys() <= _OF_A_WRAPPER:
        return None
    inner = next((fields[name] for name in _INNER if fields.get(name) is not None), None)
    return _told_inside(inner, depth - 1) if isinstance(inner, dict) else inner


def _is_http_failure(value: object) -> bool:
    return _number(value) in _HTTP_CODES


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdecimal() and len(value) <= 5:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _has_content(error: object) -> bool:
    if isinstance(error, str):
        return not says_no_error(error)
    if isinstance(error, dict):  # an envelope may have one with every success
        code = next((error[name] for name in ("code", "status", "type") if name in error), "unknown")
        return bool(error) and not (str(code).casefold() in _FINE or all(not value for value in error.values()))
    return error is True or (isinstance(error, list) and bool(error))
