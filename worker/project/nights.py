"""Nights of one project: which one a time belongs to, which are over or due, and when scoring began."""

from datetime import date, datetime, timedelta

from worker.core import calendar, schedule
from worker.settings import Settings
from worker.store import meta
from worker.store.engine import Store

_START = "start_night"


class Nights:
    """The project's calendar. Night D is the local calendar day D in the schedule's time zone."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Read nothing yet.

        Args:
            settings: For the time zone, the time of day and the clock.
            store: Where the project's first night is kept.
        """
        self._settings, self._store = settings, store
        self.is_replaying = False
        """While history is replayed night by night: findings are stored, and nothing is sent outside."""

    def of(self, at: datetime) -> date:
        """The night a time belongs to: its local calendar day in the schedule's time zone."""
        return calendar.night_of(at, self._settings.zone)

    def begins_at(self, day: date) -> datetime:
        """When a calendar day begins in the schedule's time zone."""
        return calendar.begins_at(day, self._settings.zone)

    def last_over(self, now: datetime) -> date:
        """The newest night that is over, and may be drawn on request."""
        return schedule.last_over(now, self._settings.zone)

    def last_due(self, now: datetime) -> date:
        """The newest night that beat draws by itself: over, and past the schedule's time of day."""
        return schedule.last_due(now, self._settings.schedule.at, self._settings.zone)

    def start(self) -> date | None:
        """The project's first night; None before its first tick."""
        with self._store.read() as connection:
            text = meta.get_meta(connection, _START)
        return None if text is None else date.fromisoformat(text)

    def first_tick(self, now: datetime) -> date:
        """Store the night of the first tick, once: from the one just over on, nights are scored without a request.

        Returns:
            The project's first night.
        """
        start = self.start()
        if start is None:
            with self._store.write() as connection:
                start = date.fromisoformat(meta.set_meta_once(connection, _START, self.last_over(now).isoformat()))
        return start

    def is_backfill(self, night: date) -> bool:
        """Whether nobody waits for a night's scores: it is older than the lookback, or is being replayed."""
        since = self.last_over(self._settings.clock.now()) - timedelta(days=self._settings.sampling.lookback_nights)
        return self.is_replaying or night < since
