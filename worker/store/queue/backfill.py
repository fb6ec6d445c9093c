"""Scoring drawn nights again: scorers enrolled later, and skipped jobs that come back."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, update

from worker.store.budget.accounts import BACKFILL
from worker.store.queue.enrol import Registered, enqueue, enrol, enrolled, job_table, night_table

_SKIPPED = ("budget", "superseded", "retired")
"""Why a job was skipped that a backfill takes up again."""


class TakenUp(NamedTuple):
    """What a backfill queued."""

    added: int
    """New jobs."""
    back: int
    """Skipped jobs that are queued again."""

    def __add__(self, other: object) -> "TakenUp":
        """Both together."""
        if not isinstance(other, TakenUp):
            return NotImplemented
        return TakenUp(self.added + other.added, self.back + other.back)


def enrol_again(connection: Connection, night: date, scorers: Sequence[Registered], now: datetime) -> TakenUp:
    """Enrol scorers for a drawn night that were not, queue what they have not scored of it, and what they skipped.

    A run that has a score of a scorer gets no job of it. Repeating it queues nothing. Once its jobs have ended the
    night is summarised and compared again.

    Args:
        connection: A write transaction that has locked the night.
        night: A drawn night.
        scorers: Whose scores are wanted.
        now: The store's time.
    """
    before = set(enrolled(connection, [night])[night])
    new = [scorer for scorer in scorers if scorer.pk not in before]
    enrol(connection, night, new, now, "backfill")
    back = _take_back(connection, night, [scorer.pk for scorer in scorers])
    return TakenUp(enqueue(connection, night, scorers, now), back)


def _take_back(connection: Connection, night: date, pks: Sequence[int]) -> int:
    statement = update(job_table).where(
        job_table.c.night == night,
        job_table.c.scorer_pk.in_(list(pks)),
        job_table.c.state == "shed",
        job_table.c.reason.in_(_SKIPPED),
    )
    again = {"state": "queued", "reason": None, "resolved_at": None, "not_before": None, "account": BACKFILL}
    count = connection.execute(statement.values(**again)).rowcount
    if count:
        stale = {"resolved": -1, "had_open_jobs": True}
        connection.execute(update(night_table).where(night_table.c.night == night).values(**stale))
    return count
