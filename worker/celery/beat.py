"""The scheduler that `celery beat` runs: it sends our entries, and keeps no file about it."""

import logging
from datetime import timedelta
from typing import Any

from celery import beat

from worker.celery import broker
from worker.celery.config import QUEUES
from worker.celery.process import this_process

log = logging.getLogger("spotcheck")


class Ticker(beat.Scheduler):  # type: ignore[misc]  # celery ships no types
    """Sends every entry once at its start, and then at its interval. Which nights are due the database knows.

    Celery's own keeps the last sending times in a file. Ours keeps none, so beat runs on a read-only disk, and a beat
    that is restarted every few seconds still ticks.
    """

    def setup_schedule(self) -> None:
        """Take over the entries of the configuration, all of them due now."""
        self.merge_inplace(self.app.conf.beat_schedule)
        for entry in self.schedule.values():
            entry.last_run_at = self.app.now() - timedelta(days=1)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:  # noqa: ANN401 as celery's own
        """Send one, unless the queue is full of those that no worker took."""
        if not broker.room(this_process.settings, QUEUES["control"]):
            return
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            log.warning("beat: %s", str(error).splitlines()[0])
