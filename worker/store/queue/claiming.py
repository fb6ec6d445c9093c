"""Leasing due jobs; taking back those whose lease ran out."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, or_, select, update

from worker.store.budget import accounts, cuts
from worker.store.budget.accounts import SpendingLimits
from worker.store.budget.reserve import ReservationPlan
from worker.store.queue.job import _LOST, Job, job

_REAP_AT_ONCE = 1_000


class ClaimResult(NamedTuple):
    """What a worker got."""

    jobs: list[Job]
    shed: int = 0
    """Jobs of a night that a budget just cut, for all scorers or for those of one rubric."""
    must_wait: bool = False
    """Nothing fits the budgets while calls in flight hold reservations: ask again soon."""


def claim(
    connection: Connection,
    *,
    now: datetime,
    lane: str,
    scorer_pks: Sequence[int],
    owner: str,
    limit: int,
    lease_s: float,
    max_attempts: int,
    money: SpendingLimits | None = None,
) -> ClaimResult:
    """Lease due jobs in the order of work: oldest night first, then u, a run's scorers together.

    Jobs whose lease ran out are taken back in the same transaction. On PostgreSQL rows that another claim holds are
    skipped; on SQLite the write lock lets one claim at a time. Uses the partial index job_queue.

    Args:
        connection: A write transaction.
        now: The store's time.
        lane: `heuristic`, `judge` or `batch`.
        scorer_pks: Scorers this worker can do.
        owner: Unique name of the worker process.
        limit: Most jobs to lease.
        lease_s: Seconds until others may take the jobs; renew before.
        max_attempts: Jobs that a lost worker held this often count as failed.
        money: The day's budget; None without a cap.
    """
    if money is not None:
        # before any job, and before reap books anything: everybody waits for the money first, and holds nothing then
        accounts.lock_day(connection, money.day, by_month=money.is_by_month)
    reap(connection, now, max_attempts)
    if not scorer_pks or limit <= 0:
        return ClaimResult([])
    due = (
        select(*(_CLAIMED.get(name, job.c[name]) for name in Job._fields))
        .where(
            job.c.state == "queued",
            job.c.lane == lane,
            job.c.scorer_pk.in_(list(scorer_pks)),
            or_(job.c.not_before.is_(None), job.c.not_before <= now),
        )
        .order_by(job.c.night, job.c.u, job.c.run_pk, job.c.scorer_pk)
        .with_for_update(skip_locked=True)
    )
    if money is None:
        got = ClaimResult(_jobs(connection, due.limit(limit)))
    else:
        got = _affordable(connection, due, limit, money, now)
    jobs = [one._replace(attempt=one.attempt + 1) for one in got.jobs]
    _lease(connection, jobs, owner, now, lease_s, is_call=lane != "heuristic")
    return got._replace(jobs=jobs)


_IS_LOST = job.c.called_at.is_not(None)
"""Of a queued job: the worker that called for it is gone, and what stands as reserved is presumed spent."""
_CLAIMED: dict[str, ColumnElement[Any]] = {
    "reserved_usd": case((_IS_LOST, 0.0), else_=job.c.reserved_usd).label("reserved_usd"),
    "reserved_day": case((_IS_LOST, None), else_=job.c.reserved_day).label("reserved_day"),
}
"""Nothing is held for a job that was lost."""


def _jobs(connection: Connection, statement: Select[Any]) -> list[Job]:
    return [Job(*row) for row in connection.execute(statement)]


def _affordable(
    connection: Connection, due: Select[Any], limit: int, money: SpendingLimits, now: datetime
) -> ClaimResult:
    """The due jobs that the budgets allow, with what is reserved for each; nights whose money is gone are cut."""
    plan: ReservationPlan[Job] = ReservationPlan(connection, money)
    others = due
    while True:  # once, and again for every rubric whose money is gone: its jobs must not fill the window
        asked, passed_over = limit - len(plan.fits), len(plan.passed_over)
        window = _jobs(connection, others.limit(asked))
        plan.offer(window)
        if plan.stopped is not None or len(plan.passed_over) == passed_over or len(window) < asked:
            break
        taken = [one.pk for one in plan.fits]
        others = due.where(job.c.scorer_pk.not_in(plan.passed_over_pks), job.c.pk.not_in(taken))
    if (plan.stopped is not None or plan.passed_over) and len(plan.fits) < limit:
        # the first may be waiting for what is held for tries of jobs behind it: their turn stays theirs
        holders = due.where(accounts.HOLDS, job.c.pk.not_in([one.pk for one in plan.fits]))
        latest = (job.c.reserved_day.desc(), job.c.night, job.c.u)
        plan.offer(_jobs(connection, holders.order_by(None).order_by(*latest).limit(limit - len(plan.fits))))
    shed = sum(cuts.cut_night(connection, night, now, pks) for night, pks in plan.spent_out())
    if not plan.fits:
        return ClaimResult([], shed, must_wait=not shed and bool(plan.stopped or plan.passed_over))
    held = plan.book(connection)
    return ClaimResult(
        [
            one._replace(reserved_usd=amount, reserved_day=money.day)
            for one, amount in zip(plan.fits, held, strict=True)
        ],
        shed,
    )


def _lease(
    connection: Connection, jobs: Sequence[Job], owner: str, now: datetime, lease_s: float, *, is_call: bool
) -> None:
    if not jobs:
        return
    values: dict[str, Any] = {
        "state": "leased",
        "attempt": job.c.attempt + 1,
        "lease_owner": owner,
        "lease_until": now + timedelta(seconds=lease_s),
        # a judge's jobs are called as soon as they are claimed: money may be gone from here on
        "called_at": now if is_call else None,
        "reserved_usd": _CLAIMED["reserved_usd"],
        "reserved_day": _CLAIMED["reserved_day"],
    }
    pks = [one.pk for one in jobs]
    connection.execute(update(job).where(job.c.pk.in_(pks)).values(**values))
    if any(one.reserved_day is not None for one in jobs):
        connection.execute(
            update(job)
            .where(job.c.pk == bindparam("b_pk"))
            .values(reserved_usd=bindparam("b_held"), reserved_day=bindparam("b_day")),
            [{"b_pk": one.pk, "b_held": one.reserved_usd, "b_day": one.reserved_day} for one in jobs],
        )


def reap(connection: Connection, now: datetime, max_attempts: int) -> int:
    """Take back jobs whose lease ran out; one whose call had begun is presumed to have cost what was reserved.

    Should its worker come back with a result before another takes the job over, `settle_late` takes it.

    Returns:
        Jobs taken back. Uses the partial index job_leases.
    """
    expired = connection.execute(
        select(job.c.pk, job.c.scorer_pk, job.c.attempt, job.c.called_at, job.c.reserved_usd, job.c.reserved_day)
        .where(job.c.state == "leased", job.c.lease_until < now)
        .limit(_REAP_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    again: list[int] = []
    over: list[int] = []
    presumed: accounts.Bookings = defaultdict(float)
    for pk, scorer_pk, attempt, called_at, reserved_usd, reserved_day in expired:
        (over if attempt >= max_attempts else again).append(pk)
        if called_at is not None and reserved_day is not None:
            presumed[reserved_day, scorer_pk] += reserved_usd
    for account_of, amount in sorted(presumed.items()):
        accounts.book(connection, *account_of, spent=amount, reserved=-amount, presumed=amount)
    # who had it stays written down, and what is presumed: until somebody takes it over, its result may still come
    if again:
        connection.execute(update(job).where(job.c.pk.in_(again)).values(state="queued", lease_until=None))
    if over:
        values = {"state": "failed", "reason": _LOST, "resolved_at": now, "lease_until": None}
        connection.execute(update(job).where(job.c.pk.in_(over)).values(**values))
    return len(expired)
