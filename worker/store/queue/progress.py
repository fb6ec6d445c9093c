"""Counts of open jobs by scorer and lane, and of how jobs ended, for the status view and the metrics."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from worker.store.queue.backlog import Backlog
from worker.store.tables import JobRow, core

job = core(JobRow)
LANES = ("heuristic", "judge", "batch")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class OpenJobs(NamedTuple):
    """Jobs of one scorer in one lane that are not resolved."""

    scorer_pk: int
    lane: str
    due: int
    """Queued and due now."""
    later: int
    """Queued, but not before a later retry time."""
    leased: int
    lost: int
    """Leased to a worker that is gone; the next claim requeues them."""
    oldest_at: datetime | None
    """When the oldest due or lost job was queued, by the schedule's clock; None without any."""
    next_at: datetime | None
    """The earliest retry time; None when no job waits for one."""


def open_jobs(connection: Connection, now: datetime) -> list[OpenJobs]:
    """All unresolved jobs, sorted by scorer and lane; empty when every job is resolved.

    Uses the partial indexes job_queue and job_leases; the conditions on their first columns see to that.
    """
    keys = (job.c.scorer_pk, job.c.lane)
    is_due = or_(job.c.not_before.is_(None), job.c.not_before <= now)
    queued = select(
        *keys,
        func.count().filter(is_due),
        func.count().filter(~is_due),
        func.min(job.c.created_at).filter(is_due),
        func.min(job.c.not_before).filter(~is_due),
    ).where(job.c.state == "queued", job.c.lane.in_(LANES))
    is_held = job.c.lease_until >= now
    leased = select(
        *keys,
        func.count().filter(is_held),
        func.count().filter(~is_held),
        func.min(job.c.created_at).filter(~is_held),
    ).where(job.c.state == "leased", job.c.lease_until > _LONG_AGO)
    by_key: dict[tuple[int, str], OpenJobs] = {}
    for pk, lane, due, later, oldest_at, next_at in connection.execute(queued.group_by(*keys)):
        by_key[pk, lane] = OpenJobs(pk, lane, due, later, 0, 0, oldest_at, next_at)
    for pk, lane, held, lost, oldest_at in connection.execute(leased.group_by(*keys)):
        jobs = by_key.get((pk, lane), OpenJobs(pk, lane, 0, 0, 0, 0, None, None))
        by_key[pk, lane] = jobs._replace(leased=held, lost=lost, oldest_at=_first(jobs.oldest_at, oldest_at))
    return [by_key[key] for key in sorted(by_key)]


def total_backlog(parts: Sequence[OpenJobs]) -> Backlog:
    """The sum of several counts, in the form of `backlog.lane_backlog`; zeros and None for none."""
    oldest = next_at = None
    for part in parts:
        oldest, next_at = _first(oldest, part.oldest_at), _first(next_at, part.next_at)
    due, later, leased = (sum(getattr(part, name) for part in parts) for name in ("due", "later", "leased"))
    return Backlog(due + sum(part.lost for part in parts), later, leased, oldest, next_at)


def _first(*times: datetime | None) -> datetime | None:
    return min((at for at in times if at is not None), default=None)


class Outcomes(NamedTuple):
    """Jobs of one scorer that share lane, state and reason."""

    scorer_pk: int
    lane: str
    state: str
    reason: str | None
    """Up to its first colon; what follows differs from job to job."""
    jobs: int


def outcomes(connection: Connection, since: date, until: date | None = None) -> list[Outcomes]:
    """Jobs of some nights, by scorer, lane, state and reason. Uses job_counts.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included; None for the newest.
    """
    nights = (job.c.night >= since,) if until is None else (job.c.night.between(since, until),)
    keys = (job.c.scorer_pk, job.c.lane, job.c.state)
    resolved = job.c.state.in_(("unscored", "failed", "shed"))
    reason = case((resolved, _before_colon(connection)))
    statement = select(*keys, reason, func.count()).where(*nights).group_by(*keys, reason)
    return [Outcomes(*row) for row in connection.execute(statement)]


def _before_colon(connection: Connection) -> ColumnElement[str]:
    if connection.dialect.name == "postgresql":
        return func.split_part(job.c.reason, ":", 1)
    return func.substr(job.c.reason, 1, func.instr(job.c.reason + ":", ":") - 1)
