"""Reading a server's refusals: what is wrong, which of our errors that is, and when to try again."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import orjson

from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable

RETRY_AFTER_LIMIT_S = 3600.0
"""Longest wait that a server can ask for, seconds."""

COMPLAINT_LIMIT = 4000
"""Characters of an error message that are read; only one that echoes the request is longer."""

NO_MODEL = "does not know model"
"""Before the model's name in a refusal; by it a stored line of trouble is known again."""
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|maximum context|(prompt|input|request)[\w ]* too (long|large)|too many tokens"
    r"|reduce the length|string_above_max_length",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[_ ](filter|policy)|policy_violation|bio_policy|content management policy|responsibleai|safety system"
    r"|moderation",
    re.IGNORECASE,
)
_NO_SUCH_MODEL = re.compile(
    r"model_not_found|model_decommissioned|unknown_model|(unknown|invalid) model\b"
    r"|model\b.{0,100}(not exist|not found|decommissioned)",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"(invalid|incorrect|expired)[\w ]*api[ _]key|api[ _]key[\w ]*(not valid|invalid|expired)", re.IGNORECASE
)
_NO_MONEY = re.compile(
    r"insufficient_quota|insufficient[ _](balance|credit)|billing|exceeded your current quota", re.IGNORECASE
)
_BUDGET = re.compile(r"budget_exceeded|budget has been exceeded|billing_hard_limit", re.IGNORECASE)
"""LiteLLM's budgets, with a 400 or a 429; a 400 may echo a run, so one word is not enough."""


class Complaint(NamedTuple):
    """An error body, as far as it could be read."""

    message: str = ""
    """One line; may hold anything, so it is scrubbed and cut before anybody reads it."""
    code: str = ""
    """Code and type, in lower case."""
    param: str = ""
    """The parameter that it names, outermost part only."""


def read_complaint(raw: bytes) -> Complaint:
    """Reads an error body of any server: OpenAI's shape, FastAPI's, a bare string, or no JSON at all.

    Example:
        >>> read_complaint(b'{"error": {"message": "No such model", "code": "model_not_found"}}').code
        'model_not_found'
        >>> read_complaint(b"<h1>Bad gateway</h1>").message
        '<h1>Bad gateway</h1>'
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Complaint(one_line(raw[:COMPLAINT_LIMIT].decode("utf-8", "replace")))
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict):
        body = next((body[key] for key in ("error", "detail") if body.get(key)), body)
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return Complaint(one_line(str(body)))
    location = body.get("loc")
    param = body.get("param") or (location[-1] if isinstance(location, list) and location else "")
    codes = [str(body[key]) for key in ("code", "type", "status") if body.get(key)]
    message = body.get("message") or body.get("msg") or ""
    return Complaint(
        message=one_line(str(message)),
        code=" ".join(codes).lower()[:COMPLAINT_LIMIT],
        param=re.split(r"[.\[]", str(param), maxsplit=1)[0][:COMPLAINT_LIMIT],
    )


def status_of(complaint: Complaint) -> int:
    """The HTTP status for an error that came with a 200, from its code; 502 where the code says nothing."""
    named = re.search(r"\b[45]\d\d\b", complaint.code)
    if named:
        return int(named[0])
    if "rate_limit" in complaint.code:
        return 429
    return 400 if re.search(r"invalid_prompt|_policy", complaint.code) else 502


def refuses_probabilities(complaint: Complaint) -> bool:
    """Whether it is about logprobs, which only some models give."""
    return "logprobs" in complaint.message.lower()


def says_tier_is_full(complaint: Complaint) -> bool:
    """Whether only the cheaper service tier is full: OpenAI's flex answers 429 then."""
    return "resource_unavailable" in complaint.code or "resource unavailable" in complaint.message.lower()


def one_line(text: str) -> str:
    """The start of a text, without line breaks and control characters."""
    printable = "".join(char if char.isprintable() else " " for char in text[:COMPLAINT_LIMIT])
    return " ".join(printable.split())


def causes_of(error: BaseException) -> list[BaseException]:
    """An error and what is behind it: the SDK says that there is no connection, and the last one says why."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes


def described(error: BaseException) -> str:
    """The kind of an error, and its words where it has any; not to be shown before it is scrubbed.

    Example:
        >>> described(ConnectionError()), described(ConnectionError("reset"))
        ('ConnectionError', 'ConnectionError: reset')
    """
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def error_for(
    status: int, complaint: Complaint, *, judge: str, model: str, message: str, wait_s: float | None
) -> JudgeError:
    """What to raise for an answer that is no completion.

    Args:
        status: HTTP status.
        complaint: The error body, unscrubbed.
        judge: The server's address as it may be shown.
        model: The model that was asked.
        message: The complaint's message as it may be shown.
        wait_s: Seconds that the server asks us to wait; None where it does not say.
    """
    about = f"{complaint.code} {complaint.message}"
    # OpenAI says 403 where a model may not be asked for logprobs, with the very key that may ask it anything else
    is_rejected = status in (400, 422) or (status == 403 and refuses_probabilities(complaint))
    if (status in (401, 403) and not is_rejected) or (is_rejected and _BAD_KEY.search(about)):
        return JudgeRefusesUs(
            f"the judge at {judge} refuses the key for model {model!r} ({status}); check OPENAI_API_KEY"
        )
    is_broke = (status == 429 and _NO_MONEY.search(about)) or ((is_rejected or status == 429) and _BUDGET.search(about))
    if status == 402 or is_broke:
        return JudgeRefusesUs(
            f"the judge at {judge} says the account has no quota left ({status}): {message}; check its billing"
        )
    if status == 404 or (is_rejected and (complaint.param == "model" or _NO_SUCH_MODEL.search(about))):
        refusal = JudgeRefusesUs(
            f"the judge at {judge} {NO_MODEL} {model!r}, or is not at this address ({status}): {message};"
            " check SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL"
        )
        refusal.model = model
        refusal.is_model_missing = complaint.param == "model" or _NO_SUCH_MODEL.search(about) is not None
        return refusal
    if 300 <= status < 400 or status == 405:
        return JudgeRefusesUs(f"the judge is not at {judge} ({status}); check OPENAI_BASE_URL")
    is_too_long = (is_rejected or status == 429) and _TOO_LONG.search(about)
    if status == 413 or is_too_long or (status == 500 and "exceed_context_size" in complaint.code):
        return VerdictUnreadable(f"too long for model {model!r} at {judge}: {message}", reason="too_long")
    if status in (408, 409, 425, 429) or status >= 500 or status < 300:
        # a 503 that says when to come back is a 429 by another name
        is_refusal = status == 429 or (status in (503, 529) and wait_s is not None)
        return JudgeUnavailable(
            f"the judge at {judge} answers {status}: {message}",
            retry_after_s=wait_s,
            is_for_all=status == 429,
            is_refusal=is_refusal,
        )
    if _FILTERED.search(about):
        return VerdictUnreadable(f"the judge at {judge} will not read this run: {message}", reason="content_filter")
    return VerdictUnreadable(f"the judge at {judge} answers {status}: {message}", reason="bad_request")


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long a server asks us to wait.

    `retry-after-ms`, then `Retry-After` (seconds or an HTTP date), then the reset of an OpenAI rate limit that is used
    up (`6m0s`), then `x-ratelimit-reset` (seconds, or the epoch second).

    Args:
        headers: Of the answer; looked up in lower case.
        now: For dates.

    Returns:
        Seconds, 0 to RETRY_AFTER_LIMIT_S; None when it does not say.

    Example:
        >>> now = datetime(2026, 11, 23, tzinfo=UTC)
        >>> retry_after_s({"retry-after": "Mon, 23 Nov 2026 00:00:30 GMT"}, now)
        30.0
        >>> retry_after_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m2.5s"}, now)
        62.5

    Source: RFC 9110 §10.2.3; OpenAI, "Rate limits", headers.
    """
    waits = [
        _scaled(_number(headers.get("retry-after-ms")), 0.001),
        _seconds_or_date(headers.get("retry-after"), now),
        used_up_s(headers),
        _until(_number(headers.get("x-ratelimit-reset")), now),
    ]
    wait_s = next((wait for wait in waits if wait is not None), None)
    return None if wait_s is None else min(max(wait_s, 0.0), RETRY_AFTER_LIMIT_S)


def _number(text: str | None) -> float | None:
    stripped = (text or "").strip()
    return float(stripped) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", stripped) else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _seconds_or_date(text: str | None, now: datetime) -> float | None:
    seconds = _number(text)
    if not text or seconds is not None:
        return seconds
    try:
        at = parsedate_to_datetime(text)
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    except (
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
    ):  # the last three: dates that the email package does not survive
        return None


def used_up_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until a used-up rate limit resets; None while something of each limit is left."""
    return max(filter(None, (_used_up(headers, kind) for kind in ("requests", "tokens"))), default=None)


def _used_up(headers: Mapping[str, str], kind: str) -> float | None:
    """Seconds to the reset of one limit; None while something of it is left."""
    text = headers.get(f"x-ratelimit-reset-{kind}", "")
    match = _DURATION.fullmatch(text)
    if not text or match is None or headers.get(f"x-ratelimit-remaining-{kind}", "0") != "0":
        return None
    hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def _until(value: float | None, now: datetime) -> float | None:
    """Seconds to a reset that is given in seconds, or as an epoch second."""
    is_epoch = value is not None and value > 1_000_000_000
    return value - now.timestamp() if is_epoch and value is not None else value
