"""Which night is over and which is due to be drawn, in local time, also when the clock changes.

When the clock changes, a local time of day is skipped or comes twice. So days are compared by the instants at which
they begin and end, not by local time of day.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from worker.core.calendar import night_of

_DAY = timedelta(days=1)


def last_over(now: datetime, zone: ZoneInfo) -> date:
    """The newest night that is over.

    Where a clock is set back across midnight the old day comes again; it is over at its second end.

    Example:
        >>> last_over(datetime(2026, 11, 23, 0, 5, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
        datetime.date(2026, 11, 22)
    """
    night = night_of(now, zone) - _DAY
    ends = datetime.combine(night + _DAY, time(), zone).replace(fold=1)
    return night if now >= ends.astimezone(UTC) else night - _DAY


def last_due(now: datetime, at: time, zone: ZoneInfo) -> date:
    """The newest night that is due: it is over, and the local time of the day after it has reached `at`.

    Where `at` comes twice the first one counts; where it is skipped, the moment of the clock change.

    Args:
        now: An aware time.
        at: Local time of day of the draw.
        zone: Where nights are counted.

    Example:
        >>> berlin = ZoneInfo("Europe/Berlin")
        >>> [str(last_due(datetime(2026, 11, 23, hour, 59, tzinfo=UTC), time(2), berlin)) for hour in (0, 1)]
        ['2026-11-21', '2026-11-22']
    """
    night = last_over(now, zone)
    draw_at = datetime.combine(night + _DAY, at)
    has_passed = now >= draw_at.replace(tzinfo=zone).astimezone(UTC)
    is_jumped = now.astimezone(zone).replace(tzinfo=None, fold=0) >= draw_at
    return night if has_passed or is_jumped else night - _DAY


def due_from(night: date, at: time, zone: ZoneInfo) -> datetime:
    """The first whole second at which a night is due, aware UTC; by bisection over `last_due`.

    Example:
        >>> str(due_from(date(2026, 3, 28), time(2, 30), ZoneInfo("Europe/Berlin")))
        '2026-03-29 01:00:00+00:00'
    """
    around = int(datetime.combine(night, time(), UTC).timestamp())
    early, late = around - 86_400, around + 4 * 86_400
    while late - early > 1:
        middle = (early + late) // 2
        if last_due(datetime.fromtimestamp(middle, UTC), at, zone) >= night:
            late = middle
        else:
            early = middle
    return datetime.fromtimestamp(late, UTC)
