"""A moment, however it is written: ISO 8601, seconds to nanoseconds since 1970, e-mail dates, MongoDB and Firestore."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST = 64
"""Characters of a text that may be a time."""
_NUMERIC = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE]\+?\d{1,2})?", re.ASCII)
_EXACT = re.compile(r"\d{10,20}", re.ASCII)
_ZONED = re.compile(r"(?P<time>\d{4}-.+\d)\s(?:UTC|GMT)", re.ASCII)
"""`2026-11-20 10:00:00 UTC`, as BigQuery writes it; `+0000 UTC`, as Go does, is left with its offset."""
_ZONE_NAMED = re.compile(r"(?P<time>\d{4}-[^\[]+(?:Z|[+-]\d{2}:?\d{2}))\[[\w/+-]{1,40}\]", re.ASCII)
"""`2026-11-20T10:00:00+01:00[Europe/Berlin]`, as Java writes it: the offset says all."""
_SLASHED = re.compile(r"(?P<year>\d{4})/(?P<month>\d{2})/(?P<rest>\d{2}[ T].+)", re.ASCII)
"""`2026/11/20 10:00:00Z`: with the year first there is one order only."""
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))
"""Below this a number counts so many parts of a second; until the year 5138 no two units overlap after 1973."""
_MICRO = 1_000_000
BELIEVABLE = range(2000, 2200)
"""Years of a moment in a run: earlier a clock was never set, later digits were no count of seconds."""


def stamp(value: object) -> datetime | None:
    """A moment in UTC; None for what is none, is outside the calendar, or has no time zone.

    Args:
        value: Any JSON value, or a datetime. Of a number the size tells the unit: seconds, ms, µs or ns since 1970.

    Example:
        >>> stamp(1795168801) == stamp(1795168801000) == stamp("1795168801000000") == stamp("2026-11-20T10:00:01Z")
        True
        >>> stamp("2026-11-20T10:00:01"), stamp(True), stamp("yesterday")
        (None, None, None)
    """
    try:
        if isinstance(value, str) and value[4:5] == "-" and len(value) <= _LONGEST:  # nearly all, and in a hurry
            found: datetime | None = _text(value)
        else:
            found = _read(value)
        return None if found is None or found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def believable(value: object) -> datetime | None:
    """A moment of `BELIEVABLE`; None for others: 120 ms since a run began are no time of 1970, and no date in digits.

    Example:
        >>> believable(120), believable("20261120100000"), believable("0001-01-01T00:00:00Z")
        (None, None, None)
    """
    found = stamp(value)
    return found if found is not None and found.year in BELIEVABLE else None


def _read(value: object) -> datetime | None:
    if isinstance(value, str):
        if len(value) > _LONGEST:
            return None
        text = value.strip()
        return _epoch(int(text) if _EXACT.fullmatch(text) else float(text)) if _NUMERIC.fullmatch(text) else _text(text)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _epoch(value)
    if isinstance(value, datetime):
        return value
    return _nested(value) if isinstance(value, Mapping) else None


def _epoch(number: float) -> datetime | None:
    if not math.isfinite(number):
        return None
    per_second = next((parts for limit, parts in _UNITS if abs(number) < limit), None)
    if per_second is None:
        return None
    if isinstance(number, int):  # a float would round nanoseconds
        seconds, rest = divmod(number, per_second)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * _MICRO // per_second)
    return datetime.fromtimestamp(number / per_second, UTC)


def _text(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        text = text.strip()
    if slashed := _SLASHED.fullmatch(text):
        return _text(f"{slashed['year']}-{slashed['month']}-{slashed['rest']}")
    if text[-1:] in ("z", "Z"):  # in small, or after a space
        return datetime.fromisoformat(f"{text[:-1].rstrip()}+00:00")
    if zoned := _ZONED.fullmatch(text):
        time = zoned["time"]
        has_offset = re.search(r"[+-]\d{2}:?\d{2}$", time) is not None and ":" in time
        return datetime.fromisoformat(time.replace(" +", "+").replace(" -", "-") if has_offset else f"{time}+00:00")
    if named := _ZONE_NAMED.fullmatch(text):
        return datetime.fromisoformat(named["time"])
    if text.endswith(" -0000"):  # RFC 5322: the time is UTC, of a machine that does not say where it stands
        text = f"{text[:-5]}+0000"
    return parsedate_to_datetime(text) if text[:1].isalpha() or text[:1].isdigit() else None


def _nested(value: Mapping[str, object]) -> datetime | None:
    """`{"$date": …}` as MongoDB exports it, `{"seconds": …, "nanos": …}` as protobuf's JSON and Firestore do."""
    if "$date" in value:
        date = value["$date"]
        return _read(date["$numberLong"] if isinstance(date, Mapping) and "$numberLong" in date else date)
    names = ("seconds", "nanos", "_seconds", "_nanoseconds", "nanoseconds")
    if not set(value) <= set(names):
        return None
    seconds = value.get("seconds", value.get("_seconds"))
    nanos = value.get("nanos", value.get("nanoseconds", value.get("_nanoseconds", 0)))
    if isinstance(seconds, str) and _EXACT.fullmatch(seconds):
        seconds = int(seconds)
    if type(seconds) is not int or type(nanos) is not int or not 0 <= nanos < 10**9:
        return None
    return _epoch(seconds * 10**9 + nanos)
