"""Tries of a job that came to nothing and cost something all the same: one judge answered, another did not."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, update

from worker.store.budget import accounts
from worker.store.queue.job import Job, _ours, job


class FailedAttemptCost(NamedTuple):
    """What a try cost that came to nothing."""

    job: Job
    usd: float
    answers: Mapping[str, bytes]
    """Of its calls, those that were answered and are worth keeping, by key."""


def book_costs(connection: Connection, paid: Sequence[FailedAttemptCost], owner: str, day: date) -> int:
    """Book what tries cost that will be made again; their jobs stay leased, and nothing is held for them any more.

    The next claim reserves anew, so that a try that is repeated stays within the caps too.

    Returns:
        How many were still ours; a job whose lease ran out is presumed to have cost all that was reserved.
    """
    ours = _ours(connection, [one.job for one in paid], owner)
    spent: accounts.Bookings = defaultdict(float)
    freed: accounts.Bookings = defaultdict(float)
    for one in paid:
        held = ours.get((one.job.pk, one.job.attempt))
        if held is not None:
            booked_on = (held.reserved_day or day, held.scorer_pk)
            spent[booked_on] += one.usd
            freed[booked_on] += held.reserved_usd
    for booked_on in sorted(spent):
        accounts.book(connection, *booked_on, spent=spent[booked_on], reserved=-freed[booked_on])
    if ours:
        nothing = {"reserved_usd": 0.0, "reserved_day": None}
        connection.execute(update(job).where(job.c.pk.in_([pk for pk, _ in ours])).values(**nothing))
    return len(ours)
