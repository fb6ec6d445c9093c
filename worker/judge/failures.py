"""Reading a server's refusals: what is wrong, which of our errors that is, and when to try again."""

import re
from typing import NamedTuple

import orjson

from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.judge.waits import said_wait_s

COMPLAINT_LIMIT = 4000
"""Characters of an error message that are read; only one that echoes the request is longer."""

NO_MODEL = "does not know model"
"""Before the model's name in a refusal; by it a stored line of trouble is known again."""
ANOTHER_MODEL = "take another model, or a plan that has this one"
"""What to do where a plan does not include a model."""
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
    r"insufficient[ _](quota|balance|credits?|funds)|credit balance|(no|out of|not enough) (credits?|funds|money)"
    r"|billing[ _](hard[ _]limit|not[ _]active)|account[\w ]* (suspended|deactivated|not active)"
    r"|arrear(?:s|age)|overdue|欠费|余额不足",
    re.IGNORECASE,
)
"""An account that has to be paid for; in Chinese as Zhipu and others say it."""
_LIMITED = re.compile(r"billing|exceeded your current quota", re.IGNORECASE)
"""Words of a bill, which some say of a limit by the minute; then they say when it ends, or by what time it counts."""
_BY_TIME = re.compile(
    r"per[ _-]?(second|minute|hour|day|min|model)|requests?[ _]?per|tokens?[ _]?per|\b(rpm|tpm|rpd|rps|qps)\b"
    r"|rate.?limit|PerMinute|PerDay",
    re.IGNORECASE,
)
_EMPTY_ACCOUNT = re.compile(
    r"your credit balance is too low|insufficient[ _](balance|credits|funds)\b|\Aarrearage\b", re.IGNORECASE
)
"""Anthropic's, DeepSeek's and Alibaba's bill, with a 400: a sentence or the code, since a 400 may echo a run."""
_LIMITED_RATE = re.compile(
    r"\b[rt]p[ms]\b.{0,20}\b(?:limit|exceeded)|rate limit (?:exceeded|reached)|too many requests", re.IGNORECASE
)
"""SiliconFlow says so with a 403."""
_LATER = re.compile(r"please (wait|retry|try again)|(try|retry) (again )?(later|in|after)|wait before", re.IGNORECASE)
"""Bedrock throttles with `Too many tokens, please wait before trying again`."""
_THROTTLED = re.compile(
    r"\A(?:an error occurred \(throttling|throttlingexception|too many tokens, please wait|too many requests\b"
    r"|rate exceeded)",
    re.IGNORECASE,
)
"""AWS's JSON protocol throttles with a 400; at the beginning, since the rest of a 400 may echo a run."""
_FLAGGED = re.compile(r"\b(?:input|prompt|message|content|request)s?\b.{0,40}\bflagged\b", re.IGNORECASE)
"""OpenRouter's 403 where a run's texts are held back, and not the key."""
_NO_QUOTA = re.compile(
    r"\blimit['\"]?\s{0,2}[:=]?\s{0,2}0(?![\d.,]\d|\d|\s{0,2}(?:requests?\s|tokens?\s)?(?:remaining|left|of\b))",
    re.IGNORECASE,
)
"""A limit of nothing, as Gemini has for models that a plan does not include; it also says `retry in 24s`."""
_ADDRESS = re.compile(r"https?://\S+")
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
    wait_s: float | None = None
    """How long its words ask to wait, seconds."""


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
        text = one_line(raw[:COMPLAINT_LIMIT].decode("utf-8", "replace"))
        return Complaint(text, wait_s=said_wait_s(text))
    said_s = said_wait_s(raw[:COMPLAINT_LIMIT].decode("utf-8", "replace"))
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict):
        body = next((body[key] for key in ("error", "detail") if body.get(key)), body)
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return Complaint(one_line(str(body)), wait_s=said_s)
    location = body.get("loc")
    param = body.get("param") or (location[-1] if isinstance(location, list) and location else "")
    codes = [str(body[key]) for key in ("code", "type", "status", "__type") if body.get(key)]
    message = body.get("message") or body.get("msg") or ""
    return Complaint(
        message=one_line(str(message)),
        code=" ".join(codes).lower()[:COMPLAINT_LIMIT],
        param=re.split(r"[.\[]", str(param), maxsplit=1)[0][:COMPLAINT_LIMIT],
        wait_s=said_s,
    )


def status_of(complaint: Complaint) -> int:
    """The HTTP status for an error that came with a 200, from its code; 502 where the code says nothing."""
    named = re.search(r"\b[45]\d\d\b", complaint.code)
    if named:
        return int(named[0])
    if "rate_limit" in complaint.code or _LIMITED_RATE.search(complaint.message):
        return 429
    if _NO_MONEY.search(complaint.message):
        return 402
    if re.search(r"insufficient_|billing|payment", complaint.code):
        return 402
    if re.search(r"api_key|authentication|permission", complaint.code):
        return 401
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


_TOO_FAST = frozenset({420, 429, 498})
"""The server takes no more now: 498 is Groq's for its flex tier, 420 an older word for 429."""
_PASSING = _TOO_FAST | {408, 409, 425, 440, 449, 460, 499}
"""Nothing is wrong with the question: a time-out, a conflict, or somebody between us and the server hung up."""


def error_in(body: object) -> object:
    """What is said to have gone wrong in a body that came with a 200: of the whole, or of the answer; None without it.

    Some gateways report their own upstream's error so, and OpenRouter one that came when half of the answer was there.
    """
    if not isinstance(body, dict):
        return None
    if body.get("error"):
        return body["error"]
    if body.get("object") == "error":  # vLLM's older form
        return body
    choices = body.get("choices")
    if isinstance(choices, list) and choices:
        return choices[0].get("error") or None if isinstance(choices[0], dict) else None
    if isinstance(status := body.get("base_resp"), dict) and status.get("status_code"):  # MiniMax
        return {"code": status["status_code"], "message": status.get("status_msg")}
    is_told = bool(body.get("msg") or body.get("message")) and body.get("code") not in (None, 0, 200, "0", "200")
    return body if is_told or (body.get("detail") and "output" not in body) else None


def has_no_quota(complaint: Complaint) -> bool:
    """Whether a limit is nought, so that no wait helps.

    Example:
        >>> has_no_quota(Complaint("Quota exceeded for metric: requests, limit: 0, model: m. Please retry in 24s."))
        True
        >>> has_no_quota(Complaint("Limit: 0.5 requests per second")), has_no_quota(Complaint("limit: 05"))
        (False, False)
    """
    return _NO_QUOTA.search(complaint.message) is not None


def is_bill(complaint: Complaint) -> bool:
    """Whether a 429 means that the account must be paid for, and not that it was asked too fast.

    Some servers use the words of a bill for a limit by the minute; then they say when it is over, or by which time the
    limit counts. An empty account is named as such, whatever else is said.

    Example:
        >>> is_bill(Complaint("You exceeded your current quota, please check your plan and billing details."))
        True
        >>> is_bill(Complaint("You exceeded your current quota. Please retry in 4.2s.", wait_s=4.2))
        False
    """
    about = _ADDRESS.sub(" ", f"{complaint.code} {complaint.message}")
    if _NO_MONEY.search(about) or has_no_quota(complaint):
        return True
    return bool(_LIMITED.search(about)) and complaint.wait_s is None and not _BY_TIME.search(about)


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
    if status == 403 and _FLAGGED.search(complaint.message):
        return VerdictUnreadable(f"the judge at {judge} will not read this run: {message}", reason="content_filter")
    if status == 403 and _LIMITED_RATE.search(complaint.message):
        status = 429
    if (status in (401, 403) and not is_rejected) or (is_rejected and _BAD_KEY.search(about)):
        said = f": {message}" if status == 403 else ""  # which may be about something else than the key
        return JudgeRefusesUs(
            f"the judge at {judge} refuses the key for model {model!r} ({status}){said}; check OPENAI_API_KEY"
        )
    if is_rejected and ("throttl" in complaint.code or _THROTTLED.search(complaint.message)):
        status, is_rejected = 429, False
    is_broke = (status == 429 and is_bill(complaint)) or ((is_rejected or status == 429) and _BUDGET.search(about))
    is_broke = is_broke or (is_rejected and _EMPTY_ACCOUNT.search(about))
    wait_s = complaint.wait_s if wait_s is None else wait_s
    if status == 429 and has_no_quota(complaint):
        return JudgeRefusesUs(
            f"the judge at {judge} gives this account no quota for model {model!r} (a limit of 0, {status}): {message};"
            f" {ANOTHER_MODEL}"
        )
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
    is_too_long = (is_rejected or (status == 429 and not _LATER.search(about))) and _TOO_LONG.search(about)
    if status == 413 or is_too_long or (status == 500 and "exceed_context_size" in complaint.code):
        return VerdictUnreadable(f"too long for model {model!r} at {judge}: {message}", reason="too_long")
    if status in _PASSING or status >= 500 or status < 300:
        # a 503 that says when to come back is a 429 by another name
        is_full = status in _TOO_FAST
        return JudgeUnavailable(
            f"the judge at {judge} answers {status}: {message}",
            retry_after_s=wait_s,
            is_for_all=is_full,
            is_refusal=is_full or (status in (503, 529) and wait_s is not None),
        )
    if _FILTERED.search(about):
        return VerdictUnreadable(f"the judge at {judge} will not read this run: {message}", reason="content_filter")
    return VerdictUnreadable(f"the judge at {judge} answers {status}: {message}", reason="bad_request")
