"""Beat without a memory."""

import logging
from datetime import timedelta
from typing import Any

from celery import beat

from worker.celery import broker
from worker.celery.config import QUEUES, _settings

log = logging.getLogger("spotcheck")


class Ticker(beat.Scheduler):  # type: ignore[misc]  # celery ships no types
    """Beat without a memory: the database knows which nights are due, so everything is sent at the start and then on.

    It keeps no file, so beat runs on a read-only disk, and a beat that is restarted every few seconds still ticks.
    """

    def setup_schedule(self) -> None:
        """Take our entries, all due now."""
        self.merge_inplace(self.app.conf.beat_schedule)
        for entry in self.schedule.values():
            entry.last_run_at = self.app.now() - timedelta(days=1)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:  # noqa: ANN401 as celery's own
        """Send one, unless nobody has taken the last ones."""
        if not broker.room(_settings(), QUEUES["control"]):
            return
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            log.warning("beat: %s", str(error).splitlines()[0])
