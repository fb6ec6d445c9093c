"""Counts of the jobs that are not resolved yet, by lane, and why some of them cannot be taken now."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from worker.store.queue.job import WAITS_FOR_MONEY, job_table


class BlockedJobs(NamedTuple):
    """Open jobs that no worker may take now, with a common cause."""

    jobs: int
    until: datetime
    """Leased jobs: when the last of the leases ends. Waiting jobs: when the first of them may be taken."""
    owner: str | None
    """The worker that holds the lease; None for jobs that wait for their next attempt."""
    reason: str | None
    """Why the last attempt failed; None for leased jobs."""


def blocked_jobs(connection: Connection, now: datetime) -> list[BlockedJobs]:
    """Open jobs of all lanes that are leased (one row a lease owner) or wait for their retry time (one row a reason).

    Empty when every open job could be taken now.
    """
    leased = (job_table.c.state == "leased") & (job_table.c.lease_until >= now)
    by_owner = select(func.count(), func.max(job_table.c.lease_until), job_table.c.lease_owner).where(leased)
    later = (job_table.c.state == "queued") & (job_table.c.not_before > now)
    by_reason = select(func.count(), func.min(job_table.c.not_before), job_table.c.reason).where(later)
    return [
        *(
            BlockedJobs(jobs, at, who, None)
            for jobs, at, who in connection.execute(by_owner.group_by(job_table.c.lease_owner))
        ),
        *(
            BlockedJobs(jobs, at, None, why)
            for jobs, at, why in connection.execute(by_reason.group_by(job_table.c.reason))
        ),
    ]


class Backlog(NamedTuple):
    """Counts of the open jobs of a lane."""

    due: int
    """Queued and due now, or leased to a worker that is gone."""
    later: int
    """Queued, but not before a later retry time."""
    leased: int
    oldest_at: datetime | None
    """When the oldest due job was queued; None without due jobs."""
    next_at: datetime | None
    """The earliest retry time; None when no job waits for one."""


def lane_backlog(
    connection: Connection,
    now: datetime,
    lane: str,
    nights: tuple[date, date] | None = None,
    scorer_pks: Sequence[int] | None = None,
    account: str | None = None,
) -> Backlog:
    """Count the open jobs of a lane.

    Uses the partial indexes job_queue and job_leases, so the cost does not grow with resolved jobs.

    Args:
        connection: A read transaction.
        now: The store's time.
        lane: `heuristic`, `judge` or `batch`.
        nights: First and last night, included; None for all.
        scorer_pks: Only these scorers; None for all.
        account: Only jobs of `nightly` or of `backfill`; None for both.

    Returns:
        Zeros and None for an empty lane.
    """
    within = [job_table.c.lane == lane] + ([] if nights is None else [job_table.c.night.between(*nights)])
    within += [] if scorer_pks is None else [job_table.c.scorer_pk.in_(list(scorer_pks))]
    within += [] if account is None else [job_table.c.account == account]
    is_due = or_(job_table.c.not_before.is_(None), job_table.c.not_before <= now)
    queued = select(
        func.count().filter(is_due),
        func.count().filter(~is_due),
        func.min(job_table.c.created_at).filter(is_due),
        func.min(job_table.c.not_before).filter(~is_due),
    ).where(job_table.c.state == "queued", *within)
    is_held = job_table.c.lease_until >= now
    leased = select(
        func.count().filter(is_held), func.count().filter(~is_held), func.min(job_table.c.created_at).filter(~is_held)
    ).where(job_table.c.state == "leased", *within)
    due, later, oldest_at, next_at = connection.execute(queued).one()
    held, lost, oldest_lost_at = connection.execute(leased).one()
    oldest = min((at for at in (oldest_at, oldest_lost_at) if at is not None), default=None)
    return Backlog(due + lost, later, held, oldest, next_at)


def waiting_for_money(connection: Connection, now: datetime) -> int:
    """How many jobs of backfills wait for the next day's money."""
    waits = (job_table.c.state == "queued", job_table.c.reason == WAITS_FOR_MONEY, job_table.c.not_before > now)
    return connection.execute(select(func.count()).where(*waits)).scalar_one()
