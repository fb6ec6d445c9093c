"""Nights (local calendar days) and ISO weeks."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def night_of(at: datetime, zone: ZoneInfo) -> date:
    """The local calendar day of a time; a day of 23 or 25 hours is one night like any other.

    Example:
        >>> from datetime import UTC
        >>> night_of(datetime(2026, 11, 22, 23, 30, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
        datetime.date(2026, 11, 23)
    """
    return at.astimezone(zone).date()


def begins_at(night: date, zone: ZoneInfo) -> datetime:
    """When a local calendar day begins.

    Example:
        >>> begins_at(date(2026, 11, 23), ZoneInfo("Europe/Berlin")).isoformat()
        '2026-11-23T00:00:00+01:00'
    """
    return datetime.combine(night, time.min, zone)


def week_of(night: date) -> str:
    """The ISO week of a night.

    Example:
        >>> week_of(date(2026, 1, 1)), week_of(date(2027, 1, 1))
        ('2026-W01', '2026-W53')
    """
    year, week, _ = night.isocalendar()
    return f"{year}-W{week:02}"


def nights_of_week(week: str) -> tuple[date, date]:
    """The Monday and the Sunday of an ISO week.

    Example:
        >>> nights_of_week("2026-W47")
        (datetime.date(2026, 11, 16), datetime.date(2026, 11, 22))
    """
    monday = date.fromisocalendar(int(week[:4]), int(week[6:]), 1)
    return monday, monday + timedelta(days=6)


def nights_between(since: date, until: date) -> Iterator[date]:
    """Every night from `since` to `until`, bounds included; none when `until` is before `since`."""
    for offset in range((until - since).days + 1):
        yield since + timedelta(days=offset)


def weeks_before(night: date, weeks: int) -> date:
    """The same weekday, `weeks` weeks earlier."""
    return night - timedelta(weeks=weeks)
