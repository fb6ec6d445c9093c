"""The time the schedule goes by: real, or a rehearsal's, which starts elsewhere and may run faster.

A rehearsal plays weeks in minutes. Its clock is a formula in one variable, counted from a real moment that the variable
names: processes that were started at different moments, on different hosts, still read the same time. Leases, budgets
and message expiry always go by real time.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

VARIABLE = "SPOTCHECK_CLOCK"
_FORM = re.compile(r"([^@\s]+)@([^@\s]+)(?:\s+x(\d+(?:\.\d+)?))?")
_HOW = 'write START@REAL_START xN, like "2026-11-16T00:00Z@2026-11-23T09:30:00Z x5000", both with a time zone'
MOST = 100_000
"""Days of rehearsal in a real day, at most."""


@dataclass(frozen=True)
class Clock:
    """What time it is. Without fields it is the real time.

    Example:
        >>> week = read_clock("2026-11-16T00:00Z@2026-11-23T09:30Z x5000")
        >>> str(week.at(datetime(2026, 11, 23, 9, 32, tzinfo=UTC)))
        '2026-11-22 22:40:00+00:00'
        >>> str(week)
        '2026-11-16T00:00:00+00:00@2026-11-23T09:30:00+00:00 x5000'
    """

    start: datetime | None = None
    """The time it shows at first, UTC; None for real time."""
    real_start: datetime | None = None
    """The real moment it starts to run from there, UTC; before that it stands still."""
    speed: float = 1.0
    """Its seconds in a real second, above 0."""

    @property
    def is_real(self) -> bool:
        """Whether this is no rehearsal."""
        return self.start is None or self.real_start is None

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self.at(datetime.now(UTC))

    def at(self, real: datetime) -> datetime:
        """The time this clock shows at a real moment, aware UTC; stays at the calendar's end once there."""
        if self.start is None or self.real_start is None:
            return real
        gone = max(timedelta(0), real - self.real_start)
        try:
            return self.start + gone * self.speed
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC) - timedelta(days=2)  # two: local times must not leave the calendar

    def real(self, shown: datetime) -> datetime:
        """The real moment at which this clock shows a time; its start for all times before."""
        if self.start is None or self.real_start is None:
            return shown
        return self.real_start + max(timedelta(0), shown - self.start) / self.speed

    def is_running(self, real: datetime) -> bool:
        """Whether it moves at a real moment; before its real start it stands still, and tells nothing's age."""
        return self.real_start is None or real >= self.real_start

    def beat_s(self, every_s: float) -> float:
        """Real seconds between two beats that are to come every so many of its seconds; one at least."""
        return min(every_s, max(1.0, every_s / self.speed))

    def warning(self) -> str | None:
        """What every process says at its start, so that nobody leaves it on unnoticed; None in real time."""
        if self.is_real:
            return None
        return (
            f"REHEARSAL: {VARIABLE} is set, nights are counted by {self.now():%Y-%m-%d %H:%M} UTC, "
            f"{self.speed:g} times as fast; unset it for real work"
        )

    def __str__(self) -> str:
        """As the variable is written."""
        if self.start is None or self.real_start is None:
            return "real time"
        return f"{self.start.isoformat()}@{self.real_start.isoformat()} x{self.speed:g}"


REAL = Clock()


def read_clock(text: object) -> Clock:
    """A clock from its variable; an empty one is real time.

    Raises:
        ValueError: It is of another form, without a time zone, or too fast; says how to write it.
    """
    if isinstance(text, Clock):
        return text
    if not isinstance(text, str):
        raise ValueError(f"not a clock; {_HOW}")
    if not text.strip():
        return REAL
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a clock; {_HOW}")
    start, real_start = (_moment(found[number]) for number in (1, 2))
    speed = float(found[3] or 1)
    if not 0 < speed <= MOST:
        raise ValueError(f"x{speed:g} must be above 0 and at most {MOST}")
    return Clock(start, real_start, speed)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; {_HOW}") from None
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; {_HOW}")
    return at.astimezone(UTC)
