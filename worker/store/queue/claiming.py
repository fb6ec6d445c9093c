"""Claiming due jobs under a lease, and returning jobs whose lease expired to the queue."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, or_, select, update

from worker.store.budget import accounts, cuts
from worker.store.budget.accounts import SpendingLimits
from worker.store.budget.reserve import ReservationPlan
from worker.store.queue.job import _LOST, WAITS_FOR_MONEY, Job, job_table

_REAP_AT_ONCE = 1_000


class ClaimResult(NamedTuple):
    """The jobs a worker has claimed, and why it may have got fewer than it asked for."""

    jobs: list[Job]
    shed: int = 0
    """Jobs skipped because this claim found the budget spent."""
    must_wait: bool = False
    """Whether nothing fits the budget only because calls in flight hold reservations: claim again soon."""

    def __add__(self, other: object) -> "ClaimResult":
        """Both together."""
        if not isinstance(other, ClaimResult):
            return NotImplemented
        return ClaimResult(self.jobs + other.jobs, self.shed + other.shed, self.must_wait or other.must_wait)


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
    run_pk: int | None = None,
) -> ClaimResult:
    """Lease due jobs in the order of work: oldest night first, then sample key / threshold, a run's scorers together.

    Jobs of backfills are claimed only where no other job is due.

    Jobs whose lease expired are requeued in the same transaction. On PostgreSQL rows locked by another claim are
    skipped; on SQLite the write lock allows one claim at a time. Uses the partial index job_queue.

    Args:
        connection: A write transaction.
        now: The store's time.
        lane: `heuristic`, `judge` or `batch`.
        scorer_pks: Scorers this worker can run; none gives no jobs.
        owner: Unique name of the worker process.
        limit: The most jobs to lease.
        lease_s: Seconds after which other workers may take the jobs; renew the lease before.
        max_attempts: A job whose lease expired in its last allowed attempt becomes failed.
        money: The spending limits of the day; None without a cap.
        run_pk: Only jobs of this run; None for all.
    """
    if money is not None:
        # accounts are locked before jobs, and before `reap` books anything: one lock order everywhere, so no deadlock
        accounts.lock_day(connection, money.day, by_month=money.is_by_month)
    reap(connection, now, max_attempts)
    if not scorer_pks or limit <= 0:
        return ClaimResult([])
    result = ClaimResult([])
    for account in (accounts.NIGHTLY, accounts.BACKFILL):
        left = limit - len(result.jobs)
        if left > 0:
            which = [job_table.c.lane == lane, job_table.c.account == account]
            which += [] if run_pk is None else [job_table.c.run_pk == run_pk]
            result += _claimable(connection, account, scorer_pks, which, left, money, now)
    jobs = [job._replace(attempt=job.attempt + 1) for job in result.jobs]
    _lease(connection, jobs, owner, now, lease_s, is_call=lane != "heuristic")
    return result._replace(jobs=jobs)


def _claimable(
    connection: Connection,
    account: str,
    scorer_pks: Sequence[int],
    which: Sequence[ColumnElement[bool]],
    limit: int,
    money: SpendingLimits | None,
    now: datetime,
) -> ClaimResult:
    """The due jobs of one account, with their reservations where there are caps; they are not leased yet."""
    due = (
        select(*(_CLAIMED.get(name, job_table.c[name]) for name in Job._fields))
        .where(
            job_table.c.state == "queued",
            *which,
            job_table.c.scorer_pk.in_(list(scorer_pks)),
            or_(job_table.c.not_before.is_(None), job_table.c.not_before <= now),
        )
        .order_by(job_table.c.night, job_table.c.u, job_table.c.run_pk, job_table.c.scorer_pk)
        .with_for_update(skip_locked=True)
    )
    if money is None:
        return ClaimResult(_jobs(connection, due.limit(limit)))
    return _affordable(connection, due, limit, money, now, account)


_IS_LOST = job_table.c.called_at.is_not(None)
"""A queued job whose worker died during the call: its reservation has been booked as presumed spent."""
_CLAIMED: dict[str, ColumnElement[Any]] = {
    "reserved_usd": case((_IS_LOST, 0.0), else_=job_table.c.reserved_usd).label("reserved_usd"),
    "reserved_day": case((_IS_LOST, None), else_=job_table.c.reserved_day).label("reserved_day"),
}
"""The columns of a claimed job; a job that was lost has no reservation any more."""


def _jobs(connection: Connection, statement: Select[Any]) -> list[Job]:
    return [Job(*row) for row in connection.execute(statement)]


def _affordable(
    connection: Connection, due: Select[Any], limit: int, money: SpendingLimits, now: datetime, account: str
) -> ClaimResult:
    """The due jobs that fit the budget, with their reservations.

    Nights for which the budget is spent are cut; jobs of a backfill wait for the next day's money.
    """
    plan: ReservationPlan[Job] = ReservationPlan(connection, money, account)
    candidates = due
    while True:  # once more for every rubric whose own cap is spent: its jobs must not fill the window
        requested, passed_over = limit - len(plan.fits), len(plan.passed_over)
        window = _jobs(connection, candidates.limit(requested))
        plan.offer(window)
        if plan.stopped is not None or len(plan.passed_over) == passed_over or len(window) < requested:
            break
        fitting_pks = [job.pk for job in plan.fits]
        candidates = due.where(job_table.c.scorer_pk.not_in(plan.passed_over_pks), job_table.c.pk.not_in(fitting_pks))
    if (plan.stopped is not None or plan.passed_over) and len(plan.fits) < limit:
        # jobs that already hold a reservation from an earlier attempt may go ahead of the first that does not fit
        holders = due.where(accounts.HOLDS, job_table.c.pk.not_in([job.pk for job in plan.fits]))
        latest = (job_table.c.reserved_day.desc(), job_table.c.night, job_table.c.u)
        plan.offer(_jobs(connection, holders.order_by(None).order_by(*latest).limit(limit - len(plan.fits))))
    spent_for = list(plan.nights_to_cut())
    shed = postponed = 0
    for night, pks in spent_for:
        if account == accounts.NIGHTLY:
            shed += cuts.cut_night(connection, night, now, pks)
        else:
            postponed += _postpone(connection, due, pks, money.resumes_at or now + timedelta(hours=1))
    if not plan.fits:
        must_wait = not shed and not postponed and bool(plan.stopped or plan.passed_over)
        return ClaimResult([], shed, must_wait=must_wait)
    held = plan.book(connection)
    return ClaimResult(
        [
            job._replace(reserved_usd=amount, reserved_day=money.day)
            for job, amount in zip(plan.fits, held, strict=True)
        ],
        shed,
    )


def _postpone(connection: Connection, due: Select[Any], scorer_pks: Sequence[int] | None, until: datetime) -> int:
    """Let due jobs of a backfill wait for money; those that hold a reservation keep their place. Gives how many."""
    of_scorers = [] if scorer_pks is None else [job_table.c.scorer_pk.in_(list(scorer_pks))]
    assert due.whereclause is not None
    statement = update(job_table).where(due.whereclause, ~accounts.HOLDS, *of_scorers)
    return connection.execute(statement.values(not_before=until, reason=WAITS_FOR_MONEY)).rowcount


def _lease(
    connection: Connection, jobs: Sequence[Job], owner: str, now: datetime, lease_s: float, *, is_call: bool
) -> None:
    if not jobs:
        return
    values: dict[str, Any] = {
        "state": "leased",
        "attempt": job_table.c.attempt + 1,
        "lease_owner": owner,
        "lease_until": now + timedelta(seconds=lease_s),
        # a judge is called right after the claim, so from here on the call may have cost money
        "called_at": now if is_call else None,
        "reserved_usd": _CLAIMED["reserved_usd"],
        "reserved_day": _CLAIMED["reserved_day"],
    }
    pks = [job.pk for job in jobs]
    connection.execute(update(job_table).where(job_table.c.pk.in_(pks)).values(**values))
    if any(job.reserved_day is not None for job in jobs):
        connection.execute(
            update(job_table)
            .where(job_table.c.pk == bindparam("b_pk"))
            .values(reserved_usd=bindparam("b_held"), reserved_day=bindparam("b_day")),
            [{"b_pk": job.pk, "b_held": job.reserved_usd, "b_day": job.reserved_day} for job in jobs],
        )


def reap(connection: Connection, now: datetime, max_attempts: int) -> int:
    """Requeue jobs whose lease expired, or fail them after their last attempt.

    A job whose call had begun is presumed to have cost its reservation. If its worker still delivers a result before
    another worker claims the job, `settle_late` accepts it. Uses the partial index job_leases.

    Returns:
        How many jobs were requeued or failed; at most 1,000 a call.
    """
    expired = connection.execute(
        select(
            job_table.c.pk,
            job_table.c.scorer_pk,
            job_table.c.account,
            job_table.c.attempt,
            job_table.c.called_at,
            job_table.c.reserved_usd,
            job_table.c.reserved_day,
        )
        .where(job_table.c.state == "leased", job_table.c.lease_until < now)
        .limit(_REAP_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    requeued: list[int] = []
    failed: list[int] = []
    presumed: accounts.Bookings = defaultdict(float)
    for pk, scorer_pk, account, attempt, called_at, reserved_usd, reserved_day in expired:
        (failed if attempt >= max_attempts else requeued).append(pk)
        if called_at is not None and reserved_day is not None:
            presumed[reserved_day, scorer_pk, account] += reserved_usd
    for key, amount in sorted(presumed.items()):
        accounts.book(connection, *key, spent=amount, reserved=-amount, presumed=amount)
    # lease_owner and the presumed amount stay: until another worker claims the job, its late result is accepted
    if requeued:
        connection.execute(
            update(job_table).where(job_table.c.pk.in_(requeued)).values(state="queued", lease_until=None)
        )
    if failed:
        values = {"state": "failed", "reason": _LOST, "resolved_at": now, "lease_until": None}
        connection.execute(update(job_table).where(job_table.c.pk.in_(failed)).values(**values))
    return len(expired)
