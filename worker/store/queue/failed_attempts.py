"""The cost of failed attempts: of several calls for one job some were answered, and paid, before another failed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, update

from worker.store.budget import accounts
from worker.store.queue.job import Job, _ours, job_table


class FailedAttemptCost(NamedTuple):
    """What a failed attempt of a job has cost."""

    job: Job
    usd: float
    answers: Mapping[str, bytes]
    """Answers of its calls to keep in the reply cache, by cache key."""


def book_costs(connection: Connection, attempts: Sequence[FailedAttemptCost], owner: str, day: date) -> int:
    """Book the cost of failed attempts and free their reservations; the jobs stay leased.

    The next claim reserves again, so that a repeated attempt stays within the budget too.

    Returns:
        How many jobs the owner still held. The others' leases expired; their whole reservation is presumed spent.
    """
    ours = _ours(connection, [attempt.job for attempt in attempts], owner)
    spent: accounts.Bookings = defaultdict(float)
    freed: accounts.Bookings = defaultdict(float)
    for attempt in attempts:
        held = ours.get((attempt.job.pk, attempt.job.attempt))
        if held is not None:
            booked_on = held.account_key(day)
            spent[booked_on] += attempt.usd
            freed[booked_on] += held.reserved_usd
    for booked_on in sorted(spent):
        accounts.book(connection, *booked_on, spent=spent[booked_on], reserved=-freed[booked_on])
    if ours:
        nothing = {"reserved_usd": 0.0, "reserved_day": None}
        connection.execute(update(job_table).where(job_table.c.pk.in_([pk for pk, _ in ours])).values(**nothing))
    return len(ours)
