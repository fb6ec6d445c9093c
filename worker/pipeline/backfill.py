"""Drawn nights scored by scorers that they were not drawn with, and what a budget left out of them."""

from collections.abc import Sequence
from datetime import date, datetime

from worker.project.project import Project
from worker.store.queue import backfill as ledger
from worker.store.queue.backfill import TakenUp
from worker.store.queue.enrol import Registered
from worker.store.runs import draws


def backfill(project: Project, nights: Sequence[date], scorers: Sequence[Registered], now: datetime) -> TakenUp:
    """Enrol scorers for drawn nights, and queue what they have not scored of them; a transaction a night.

    Repeating it, also after a process that was killed, queues only what is still missing.

    Args:
        project: Whose nights.
        nights: Those that are not drawn are left alone.
        scorers: As they are stored.
        now: The time.
    """
    with project.store.read() as connection:
        drawn = draws.drawn_subset(connection, nights)
    total = TakenUp(0, 0)
    for night in sorted(drawn):
        with project.store.write() as connection:
            draws.lock_night(connection, night)
            total += ledger.enrol_again(connection, night, scorers, now)
    return total
