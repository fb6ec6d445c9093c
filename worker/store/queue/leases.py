"""Holding on to jobs, and returning them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, update

from worker.store.budget import accounts
from worker.store.queue.job import Job, _ours, job


def renew(connection: Connection, jobs: Sequence[Job], owner: str, now: datetime, lease_s: float) -> int:
    """Hold on to jobs for longer.

    Returns:
        How many are still ours.
    """
    if not jobs:
        return 0
    statement = (
        update(job)
        .where(job.c.pk.in_([one.pk for one in jobs]), job.c.state == "leased", job.c.lease_owner == owner)
        .values(lease_until=now + timedelta(seconds=lease_s))
    )
    return connection.execute(statement).rowcount


def release_untried(
    connection: Connection,
    jobs: Sequence[Job],
    owner: str,
    reason: str | None = None,
    *,
    not_before: datetime | None = None,
) -> int:
    """Return jobs untried, the attempt with them: a worker that is told to stop, or a judge that answers nobody.

    Returns:
        How many were still ours.
    """
    ours = _ours(connection, jobs, owner)
    if not ours:
        return 0
    returned: accounts.Bookings = defaultdict(float)
    for one in ours.values():
        if one.reserved_day is not None:
            returned[one.reserved_day, one.scorer_pk] += one.reserved_usd
    for account_of, amount in sorted(returned.items()):
        accounts.book(connection, *account_of, reserved=-amount)
    values = {"state": "queued", "attempt": job.c.attempt - 1, "reason": reason, "not_before": not_before}
    connection.execute(update(job).where(job.c.pk.in_([pk for pk, _ in ours])).values(**values, **accounts.FORGOTTEN))
    return len(ours)


def requeue_in_lane(
    connection: Connection,
    jobs: Sequence[Job],
    owner: str,
    lane: str,
    reason: str | None,
    *,
    is_spent: bool,
    not_before: datetime | None = None,
) -> int:
    """Queue jobs in another lane: what was asked there has come to nothing. The try counts.

    What is presumed spent may still be answered: `settle_late` takes it while nobody else has taken the job.

    Args:
        connection: A write transaction.
        jobs: As they were claimed.
        owner: Who holds them.
        lane: Where they go.
        reason: Why.
        is_spent: Whether what was reserved is presumed spent; else it is free again.
        not_before: When they may be taken; None at once.

    Returns:
        How many were still the owner's.
    """
    ours = _ours(connection, jobs, owner)
    held: accounts.Bookings = defaultdict(float)
    for one in ours.values():
        if one.reserved_day is not None:
            held[one.reserved_day, one.scorer_pk] += one.reserved_usd
    for account_of, amount in sorted(held.items()):
        spent = amount if is_spent else 0.0
        accounts.book(connection, *account_of, spent=spent, reserved=-amount, presumed=spent)
    if ours:
        values: dict[str, Any] = {"state": "queued", "lane": lane, "reason": reason, "not_before": not_before}
        values |= {"lease_until": None} if is_spent else accounts.FORGOTTEN
        connection.execute(update(job).where(job.c.pk.in_([pk for pk, _ in ours])).values(**values))
    return len(ours)


def retry_later(connection: Connection, jobs: Sequence[tuple[Job, datetime, str]], owner: str) -> int:
    """Queue jobs again, not before a time each; what is reserved for them stays reserved, so their turn stays theirs.

    Returns:
        How many were still ours.
    """
    ours = _ours(connection, [one for one, _, _ in jobs], owner)
    rows = [
        {"b_pk": one.pk, "b_at": not_before, "b_reason": reason}
        for one, not_before, reason in jobs
        if (one.pk, one.attempt) in ours
    ]
    if rows:
        free = {"lease_owner": None, "lease_until": None, "called_at": None}
        statement = (
            update(job)
            .where(job.c.pk == bindparam("b_pk"))
            .values(**free, state="queued", not_before=bindparam("b_at"), reason=bindparam("b_reason"))
        )
        connection.execute(statement, rows)
    return len(rows)
