"""When to ask a server again: what it says in headers and in words, in whatever unit.

A wait is believed up to RETRY_AFTER_LIMIT_S where a standard says what it means, and up to UNKNOWN_LIMIT_S where the
unit is a guess: too short a wait costs one more refusal, too long a one a night.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_LIMIT_S = 3600.0
"""Longest wait that a server can ask for, seconds."""
UNKNOWN_LIMIT_S = 60.0
"""Longest wait that is read from a number whose unit nobody says."""
_READ_CHARS = 4_000

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = {"ms": 0.001, "millisecond": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0}
_UNITS |= {"minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0}
_PART = r"\d{1,9}(?:\.\d{1,9})?\s{0,2}(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)(?![a-z])"
_SAID = re.compile(
    rf"(?:retry|try|again|wait|available|resets?|cool\s?down|back)\b(?:[^.\n]{{0,60}}?\b(?:in|after|for|within))?:?\s{{1,3}}"
    rf"(?:about\s|at least\s|another\s)?((?:{_PART}(?:\s{{0,2}}(?:and\s)?)?){{1,4}})",
    re.IGNORECASE,
)
_RETRY_INFO = re.compile(r'"retry_?(?:delay|after|in)"\s*:\s*"?(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s)?"?', re.IGNORECASE)
_ONE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


def said_wait_s(text: str) -> float | None:
    """How long the words of a refusal ask to wait: `Please retry in 4.2s`, `try again in 1m30s`, `"retryDelay": "4s"`.

    Args:
        text: An error body; its first 4,000 characters are read.

    Returns:
        Seconds, 0 to RETRY_AFTER_LIMIT_S; None when it does not say.

    Example:
        >>> said_wait_s("Rate limit reached. Please try again in 1m30.5s. Visit the docs.")
        90.5
        >>> said_wait_s('{"error": {"details": [{"retryDelay": "4s"}]}}'), said_wait_s("slow down")
        (4.0, None)
    """
    text = text[:_READ_CHARS]
    if info := _RETRY_INFO.search(text):
        return _bounded(float(info[1]) * (0.001 if (info[2] or "").lower() == "ms" else 1.0))
    if said := _SAID.search(text):
        parts = [(float(number), unit.lower()) for number, unit in _ONE.findall(said[1])]
        return _bounded(sum(number * _UNITS.get(unit, _UNITS.get(unit.rstrip("s"), 0.0)) for number, unit in parts))
    return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_S)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long a server asks us to wait.

    `retry-after-ms`, then `Retry-After` (seconds or an HTTP date), then the reset of an OpenAI rate limit that is used
    up (`6m0s`), then `x-ratelimit-reset` (seconds, a duration, a date, or an epoch stamp of any unit).

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
        _reset(headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset"), now),
    ]
    wait_s = next((wait for wait in waits if wait is not None), None)
    return None if wait_s is None else min(max(wait_s, 0.0), RETRY_AFTER_LIMIT_S)


def _number(text: str | None) -> float | None:
    stripped = (text or "").strip()
    return float(stripped) if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,9})?", stripped) else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _seconds_or_date(text: str | None, now: datetime) -> float | None:
    """Seconds as RFC 9110 has them, a date, or what some send instead of either: an epoch stamp or `30s`."""
    number = _number(text)
    if not text:
        return None
    if number is not None:
        return number if number < _EPOCH else _until(number, now)
    if (match := _DURATION.fullmatch(text.strip())) is not None:
        return _seconds(match)
    return _until_date(text, now)


def _until_date(text: str, now: datetime) -> float | None:
    """Seconds to a date as HTTP or ISO 8601 writes it; None for anything else."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(text.strip()[:64])
            return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):  # the email package does not survive all dates
            continue
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
    return _seconds(match)


def _seconds(duration: re.Match[str]) -> float:
    hours, minutes, seconds, millis = (float(part or 0) for part in duration.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


_DAY_S = 86_400.0
_EPOCH = 1e9
"""Numbers from here on are stamps: as seconds to wait they would be thirty years."""


def _until(value: float | None, now: datetime) -> float | None:
    """Seconds to a reset that is given in seconds to wait, or as an epoch stamp of any unit.

    Seconds, milli-, micro- and nanoseconds of our time lie a factor of 1,000 apart, so a stamp tells its unit.
    """
    if value is None or value < _EPOCH:
        return None if value is None else min(value, UNKNOWN_LIMIT_S)
    while value >= _EPOCH * 100:
        value /= 1000
    wait_s = value - now.timestamp()
    return wait_s if -_DAY_S <= wait_s <= RETRY_AFTER_LIMIT_S else UNKNOWN_LIMIT_S


def _reset(text: str | None, now: datetime) -> float | None:
    """Seconds to a reset whose unit no standard says: a number, a duration or a date."""
    number = _number(text)
    if number is not None or not text:
        return _until(number, now)
    match = _DURATION.fullmatch(text.strip())
    return _seconds(match) if match is not None else _until_date(text, now)
