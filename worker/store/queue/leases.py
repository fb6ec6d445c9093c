"""Renewing the lease of claimed jobs, and returning jobs to the queue without an outcome."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, update

from worker.store.budget import accounts
from worker.store.queue.job import Job, _ours, job_table


def renew(connection: Connection, jobs: Sequence[Job], owner: str, now: datetime, lease_s: float) -> int:
    """Extend the lease of jobs by `lease_s` seconds from now.

    Returns:
        How many jobs the owner still holds.
    """
    if not jobs:
        return 0
    statement = (
        update(job_table)
        .where(
            job_table.c.pk.in_([job.pk for job in jobs]),
            job_table.c.state == "leased",
            job_table.c.lease_owner == owner,
        )
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
    """Requeue jobs whose judge was not called, without counting the attempt; their reservations are freed.

    For a worker that is shutting down, or a judge that is down.

    Returns:
        How many jobs the owner still held.
    """
    ours = _ours(connection, jobs, owner)
    if not ours:
        return 0
    returned: accounts.Bookings = defaultdict(float)
    for row in ours.values():
        if row.reserved_day is not None:
            returned[row.account_key(row.reserved_day)] += row.reserved_usd
    for account, amount in sorted(returned.items()):
        accounts.book(connection, *account, reserved=-amount)
    values = {"state": "queued", "attempt": job_table.c.attempt - 1, "reason": reason, "not_before": not_before}
    connection.execute(
        update(job_table).where(job_table.c.pk.in_([pk for pk, _ in ours])).values(**values, **accounts.FORGOTTEN)
    )
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
    """Requeue jobs in another lane after an attempt that gave no result. The attempt counts.

    A late answer is still accepted by `settle_late` while no other worker has claimed the job.

    Args:
        connection: A write transaction.
        jobs: As they were claimed.
        owner: Their lease owner.
        lane: `judge` or `batch`.
        reason: Why the attempt gave no result; stored with the job.
        is_spent: Whether the reservation is presumed spent; otherwise it is freed.
        not_before: Earliest time of the next attempt; None for at once.

    Returns:
        How many jobs the owner still held.
    """
    ours = _ours(connection, jobs, owner)
    held: accounts.Bookings = defaultdict(float)
    for row in ours.values():
        if row.reserved_day is not None:
            held[row.account_key(row.reserved_day)] += row.reserved_usd
    for account, amount in sorted(held.items()):
        spent = amount if is_spent else 0.0
        accounts.book(connection, *account, spent=spent, reserved=-amount, presumed=spent)
    if ours:
        values: dict[str, Any] = {"state": "queued", "lane": lane, "reason": reason, "not_before": not_before}
        values |= {"lease_until": None} if is_spent else accounts.FORGOTTEN
        connection.execute(update(job_table).where(job_table.c.pk.in_([pk for pk, _ in ours])).values(**values))
    return len(ours)


def retry_later(connection: Connection, jobs: Sequence[tuple[Job, datetime, str]], owner: str) -> int:
    """Requeue jobs, each not before a time and with a reason. Reservations are kept, so the retry stays affordable.

    Returns:
        How many jobs the owner still held.
    """
    ours = _ours(connection, [job for job, _, _ in jobs], owner)
    rows = [
        {"b_pk": job.pk, "b_at": not_before, "b_reason": reason}
        for job, not_before, reason in jobs
        if (job.pk, job.attempt) in ours
    ]
    if rows:
        free = {"lease_owner": None, "lease_until": None, "called_at": None}
        statement = (
            update(job_table)
            .where(job_table.c.pk == bindparam("b_pk"))
            .values(**free, state="queued", not_before=bindparam("b_at"), reason=bindparam("b_reason"))
        )
        connection.execute(statement, rows)
    return len(rows)
