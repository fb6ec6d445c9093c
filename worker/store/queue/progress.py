"""What is open now, by scorer, and how jobs ended: figures that are asked for again and again."""

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
    """Queued, waiting out a back-off."""
    leased: int
    lost: int
    """Leased to a worker that is gone; another takes them with its next claim."""
    oldest_at: datetime | None
    """When the oldest of those that are due or lost was queued, by the schedule's clock."""
    next_at: datetime | None
    """When the next back-off ends."""


def open_jobs(connection: Connection, now: datetime) -> list[OpenJobs]:
    """Everything that is not resolved, by scorer and lane.

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
    found: dict[tuple[int, str], OpenJobs] = {}
    for pk, lane, due, later, oldest_at, next_at in connection.execute(queued.group_by(*keys)):
        found[pk, lane] = OpenJobs(pk, lane, due, later, 0, 0, oldest_at, next_at)
    for pk, lane, held, lost, oldest_at in connection.execute(leased.group_by(*keys)):
        one = found.get((pk, lane), OpenJobs(pk, lane, 0, 0, 0, 0, None, None))
        found[pk, lane] = one._replace(leased=held, lost=lost, oldest_at=_first(one.oldest_at, oldest_at))
    return [found[key] for key in sorted(found)]


def total_backlog(each: Sequence[OpenJobs]) -> Backlog:
    """Several together, as `ledger.waiting` tells a lane."""
    oldest = next_at = None
    for one in each:
        oldest, next_at = _first(oldest, one.oldest_at), _first(next_at, one.next_at)
    due, later, leased = (sum(getattr(one, name) for one in each) for name in ("due", "later", "leased"))
    return Backlog(due + sum(one.lost for one in each), later, leased, oldest, next_at)


def _first(*times: datetime | None) -> datetime | None:
    return min((at for at in times if at is not None), default=None)


class Outcomes(NamedTuple):
    """Jobs of one scorer that share lane, state and reason."""

    scorer_pk: int
    lane: str
    state: str
    reason: str | None
    """As far as its first colon: what follows is different with every job."""
    jobs: int


def outcomes(connection: Connection, since: date) -> list[Outcomes]:
    """Jobs of the nights from one on, by scorer, lane, state and reason. Uses job_counts."""
    keys = (job.c.scorer_pk, job.c.lane, job.c.state)
    resolved = job.c.state.in_(("unscored", "failed", "shed"))
    reason = case((resolved, _before_colon(connection)))
    statement = select(*keys, reason, func.count()).where(job.c.night >= since).group_by(*keys, reason)
    return [Outcomes(*row) for row in connection.execute(statement)]


def _before_colon(connection: Connection) -> ColumnElement[str]:
    if connection.dialect.name == "postgresql":
        return func.split_part(job.c.reason, ":", 1)
    return func.substr(job.c.reason, 1, func.instr(job.c.reason + ":", ":") - 1)
