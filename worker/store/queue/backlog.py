"""What is open, and why it waits."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from worker.store.queue.job import job


class BlockedJobs(NamedTuple):
    """Open jobs that nobody may take now, and until when."""

    jobs: int
    until: datetime
    owner: str | None
    """The worker that claimed them; None for those that wait to be tried again."""
    reason: str | None
    """Why the last try came to nothing."""


def blocked_jobs(connection: Connection, now: datetime) -> list[BlockedJobs]:
    """Open jobs of all lanes that are leased or wait out a back-off, by who holds them or why they wait."""
    leased = (job.c.state == "leased") & (job.c.lease_until >= now)
    by_owner = select(func.count(), func.max(job.c.lease_until), job.c.lease_owner).where(leased)
    later = (job.c.state == "queued") & (job.c.not_before > now)
    by_reason = select(func.count(), func.min(job.c.not_before), job.c.reason).where(later)
    return [
        *(
            BlockedJobs(jobs, at, who, None)
            for jobs, at, who in connection.execute(by_owner.group_by(job.c.lease_owner))
        ),
        *(BlockedJobs(jobs, at, None, why) for jobs, at, why in connection.execute(by_reason.group_by(job.c.reason))),
    ]


class Backlog(NamedTuple):
    """What is open in a lane."""

    due: int
    """Queued and due now, or leased to a worker that is gone."""
    later: int
    """Queued, waiting out a back-off."""
    leased: int
    oldest_at: datetime | None
    """When the oldest due job was queued."""
    next_at: datetime | None
    """When the next back-off ends."""


def lane_backlog(
    connection: Connection,
    now: datetime,
    lane: str,
    nights: tuple[date, date] | None = None,
    scorer_pks: Sequence[int] | None = None,
) -> Backlog:
    """How much is open in a lane, of all nights or of some (bounds included), of all scorers or of some.

    Uses the partial indexes job_queue and job_leases, so that what was resolved long ago costs nothing.
    """
    within = [job.c.lane == lane] + ([] if nights is None else [job.c.night.between(*nights)])
    within += [] if scorer_pks is None else [job.c.scorer_pk.in_(list(scorer_pks))]
    is_due = or_(job.c.not_before.is_(None), job.c.not_before <= now)
    queued = select(
        func.count().filter(is_due),
        func.count().filter(~is_due),
        func.min(job.c.created_at).filter(is_due),
        func.min(job.c.not_before).filter(~is_due),
    ).where(job.c.state == "queued", *within)
    is_held = job.c.lease_until >= now
    leased = select(
        func.count().filter(is_held), func.count().filter(~is_held), func.min(job.c.created_at).filter(~is_held)
    ).where(job.c.state == "leased", *within)
    due, later, oldest_at, next_at = connection.execute(queued).one()
    held, lost, oldest_lost_at = connection.execute(leased).one()
    oldest = min((at for at in (oldest_at, oldest_lost_at) if at is not None), default=None)
    return Backlog(due + lost, later, held, oldest, next_at)
