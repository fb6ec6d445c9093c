"""The job ledger: claim, renew, settle, retry, give back. The database is the truth; a Celery message only wakes.

A claim is a lease. Whatever a worker says of a job counts only under the attempt it claimed, so a worker that was
believed dead cannot settle what another has taken over: exactly one outcome a job.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, or_, select, update

from worker.store import bulk
from worker.store import money as purse
from worker.store.money import Money
from worker.store.runs import insert_ignore
from worker.store.tables import JobRow, ScoreRow, core

job, score = core(JobRow), core(ScoreRow)
_REAP_AT_ONCE = 1_000


class Job(NamedTuple):
    """A claimed job."""

    pk: int
    run_pk: int
    scorer_pk: int
    purpose: str
    replicate: int
    night: date
    attempt: int
    """Counted at the claim, from 1; the fence."""
    reserved_usd: float
    reserved_day: date | None


class Claim(NamedTuple):
    """What a worker got."""

    jobs: list[Job]
    shed: int = 0
    """Jobs of a night that the budget just cut."""
    must_wait: bool = False
    """Nothing fits the budget while calls in flight hold reservations: ask again soon."""


class Settled(NamedTuple):
    """The outcome of one claimed job."""

    job: Job
    state: str
    """scored · unscored · failed."""
    reason: str | None
    cost_usd: float | None
    """What the judge cost; None when unknown, and then the reservation counts as spent."""
    scores: Sequence[Mapping[str, Any]]
    """Rows of the score table, without `created_at`."""


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
    money: Money | None = None,
) -> Claim:
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
    reap(connection, now, max_attempts)
    if not scorer_pks or limit <= 0:
        return Claim([])
    due = (
        select(*(job.c[name] for name in Job._fields))
        .where(
            job.c.state == "queued",
            job.c.lane == lane,
            job.c.scorer_pk.in_(list(scorer_pks)),
            or_(job.c.not_before.is_(None), job.c.not_before <= now),
        )
        .order_by(job.c.night, job.c.u, job.c.run_pk, job.c.scorer_pk)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if money is not None:
        # before any job: who cuts a night must not wait for who waits for the money
        purse.lock(connection, money.day, by_month=money.month_cap_usd is not None)
    jobs = [Job(*row) for row in connection.execute(due)]
    if money is not None and jobs:
        held, may_return = purse.reserve(connection, jobs, money)
        if not held and not may_return:
            return Claim([], shed=purse.cut_night(connection, jobs[0].night, now))
        if not held:
            # the first may be waiting for what is held for tries of jobs behind it: their turn stays theirs
            jobs = [Job(*row) for row in connection.execute(due.where(job.c.reserved_day == money.day))]
            held, _ = purse.reserve(connection, jobs, money)
            if not held:
                return Claim([], must_wait=True)
        jobs = [
            one._replace(reserved_usd=amount, reserved_day=money.day) for one, amount in zip(jobs, held, strict=False)
        ]
    jobs = [one._replace(attempt=one.attempt + 1) for one in jobs]
    _lease(connection, jobs, owner, now, lease_s, is_call=lane != "heuristic")
    return Claim(jobs)


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
    presumed: purse.Bookings = defaultdict(float)
    for pk, scorer_pk, attempt, called_at, reserved_usd, reserved_day in expired:
        (over if attempt >= max_attempts else again).append(pk)
        if called_at is not None and reserved_day is not None:
            presumed[reserved_day, scorer_pk] += reserved_usd
    for account_of, amount in sorted(presumed.items()):
        purse.add(connection, *account_of, spent=amount, reserved=-amount, presumed=amount)
    free = {"lease_owner": None, "lease_until": None, "called_at": None, "reserved_usd": 0.0, "reserved_day": None}
    if again:
        connection.execute(update(job).where(job.c.pk.in_(again)).values(state="queued", **free))
    if over:
        values = {"state": "failed", "reason": "worker_lost", "resolved_at": now}
        connection.execute(update(job).where(job.c.pk.in_(over)).values(**values, **free))
    return len(expired)


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


def give_back(
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
    returned: purse.Bookings = defaultdict(float)
    for one in jobs:
        if (one.pk, one.attempt) in ours and one.reserved_day is not None:
            returned[one.reserved_day, one.scorer_pk] += one.reserved_usd
    for account_of, amount in sorted(returned.items()):
        purse.add(connection, *account_of, reserved=-amount)
    connection.execute(
        update(job)
        .where(job.c.pk.in_([pk for pk, _ in ours]))
        .values(
            **_FREE,
            state="queued",
            attempt=job.c.attempt - 1,
            reserved_usd=0.0,
            reserved_day=None,
            reason=reason,
            not_before=not_before,
        )
    )
    return len(ours)


def release(
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
    held: purse.Bookings = defaultdict(float)
    for one in jobs:
        if (one.pk, one.attempt) in ours and one.reserved_day is not None:
            held[one.reserved_day, one.scorer_pk] += one.reserved_usd
    for account_of, amount in sorted(held.items()):
        spent = amount if is_spent else 0.0
        purse.add(connection, *account_of, spent=spent, reserved=-amount, presumed=spent)
    if ours:
        values: dict[str, Any] = {"state": "queued", "lane": lane, "reason": reason, "not_before": not_before}
        values |= {"reserved_usd": 0.0, "reserved_day": None}
        connection.execute(update(job).where(job.c.pk.in_([pk for pk, _ in ours])).values(**_FREE, **values))
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
        statement = (
            update(job)
            .where(job.c.pk == bindparam("b_pk"))
            .values(**_FREE, state="queued", not_before=bindparam("b_at"), reason=bindparam("b_reason"))
        )
        connection.execute(statement, rows)
    return len(rows)


def settle(connection: Connection, done: Sequence[Settled], owner: str, now: datetime, day: date) -> int:
    """Store outcomes and scores, book what they cost, and free what was reserved: one transaction.

    Returns:
        How many counted; the rest had been taken over by another worker and are left alone.
    """
    ours = _ours(connection, [one.job for one in done], owner)
    counted = list({key: one for one in done if (key := (one.job.pk, one.job.attempt)) in ours}.values())
    if not counted:
        return 0
    _store_scores(connection, [row for one in counted for row in one.scores], now)
    statement = (
        update(job)
        .where(job.c.pk == bindparam("b_pk"))
        .values(
            **_FREE,
            state=bindparam("b_state"),
            reason=bindparam("b_reason"),
            resolved_at=now,
            reserved_usd=0.0,
            reserved_day=None,
        )
    )
    connection.execute(
        statement, [{"b_pk": one.job.pk, "b_state": one.state, "b_reason": one.reason} for one in counted]
    )
    spent: purse.Bookings = defaultdict(float)
    freed: purse.Bookings = defaultdict(float)
    for one in counted:
        booked_on = (one.job.reserved_day or day, one.job.scorer_pk)
        spent[booked_on] += one.job.reserved_usd if one.cost_usd is None else one.cost_usd
        freed[booked_on] += one.job.reserved_usd
    for booked_on in sorted(spent):
        purse.add(connection, *booked_on, spent=spent[booked_on], reserved=-freed[booked_on])
    return len(counted)


def _store_scores(connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    if not rows:
        return
    names = tuple(rows[0])
    values = [(*(row[name] for name in names), now) for row in rows]
    if not bulk.add(connection, score, (*names, "created_at"), values):  # a score that is there already stays
        connection.execute(insert_ignore(connection, score), [{**row, "created_at": now} for row in rows])


_FREE: dict[str, Any] = {"lease_owner": None, "lease_until": None, "called_at": None}


def _ours(connection: Connection, jobs: Sequence[Job], owner: str) -> set[tuple[int, int]]:
    """Key and attempt of the jobs still leased to us under the attempt we claimed, locked."""
    claimed = {(one.pk, one.attempt) for one in jobs}
    if not claimed:
        return set()
    statement = (
        select(job.c.pk, job.c.attempt)
        .where(job.c.pk.in_([pk for pk, _ in claimed]), job.c.state == "leased", job.c.lease_owner == owner)
        .order_by(job.c.pk)
        .with_for_update()
    )
    return claimed & {(pk, attempt) for pk, attempt in connection.execute(statement)}


class Held(NamedTuple):
    """Open jobs that nobody may take now, and until when."""

    jobs: int
    until: datetime
    owner: str | None
    """The worker that claimed them; None for those that wait to be tried again."""
    reason: str | None
    """Why the last try came to nothing."""


def held(connection: Connection, now: datetime) -> list[Held]:
    """Open jobs of all lanes that are leased or wait out a back-off, by who holds them or why they wait."""
    leased = (job.c.state == "leased") & (job.c.lease_until >= now)
    by_owner = select(func.count(), func.max(job.c.lease_until), job.c.lease_owner).where(leased)
    later = (job.c.state == "queued") & (job.c.not_before > now)
    by_reason = select(func.count(), func.min(job.c.not_before), job.c.reason).where(later)
    return [
        *(Held(jobs, at, who, None) for jobs, at, who in connection.execute(by_owner.group_by(job.c.lease_owner))),
        *(Held(jobs, at, None, why) for jobs, at, why in connection.execute(by_reason.group_by(job.c.reason))),
    ]


class Waiting(NamedTuple):
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


def waiting(
    connection: Connection,
    now: datetime,
    lane: str,
    nights: tuple[date, date] | None = None,
    scorer_pks: Sequence[int] | None = None,
) -> Waiting:
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
    return Waiting(due + lost, later, held, oldest, next_at)
