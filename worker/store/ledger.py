"""The job ledger: claim, renew, settle, retry, give back. The database is the truth; a Celery message only wakes.

A claim is a lease. Whatever a worker says of a job counts only under the attempt it claimed, so a worker that was
believed dead cannot settle what another has taken over: exactly one outcome a job. What nobody has taken over it may
still settle, late.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, func, or_, select, update

from worker.store import bulk
from worker.store import money as purse
from worker.store.money import SpendingLimits
from worker.store.reserve import ReservationPlan
from worker.store.runs import insert_ignore
from worker.store.tables import JobRow, NightRow, ScoreRow, core

job, score, night_table = core(JobRow), core(ScoreRow), core(NightRow)
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


class ClaimResult(NamedTuple):
    """What a worker got."""

    jobs: list[Job]
    shed: int = 0
    """Jobs of a night that a budget just cut, for all scorers or for those of one rubric."""
    must_wait: bool = False
    """Nothing fits the budgets while calls in flight hold reservations: ask again soon."""


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
    answers: Mapping[str, bytes] = MappingProxyType({})
    """The judge's answers that are worth keeping, by key."""


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
        purse.lock(connection, money.day, by_month=money.is_by_month)
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
        holders = due.where(purse.HOLDS, job.c.pk.not_in([one.pk for one in plan.fits]))
        latest = (job.c.reserved_day.desc(), job.c.night, job.c.u)
        plan.offer(_jobs(connection, holders.order_by(None).order_by(*latest).limit(limit - len(plan.fits))))
    shed = sum(purse.cut_night(connection, night, now, pks) for night, pks in plan.spent_out())
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


_LOST = "worker_lost"
_IS_ORPHAN = or_(job.c.state == "queued", and_(job.c.state == "failed", job.c.reason == _LOST))
"""With an owner: its lease ran out, and nobody has taken it over."""


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
    presumed: purse.Bookings = defaultdict(float)
    for pk, scorer_pk, attempt, called_at, reserved_usd, reserved_day in expired:
        (over if attempt >= max_attempts else again).append(pk)
        if called_at is not None and reserved_day is not None:
            presumed[reserved_day, scorer_pk] += reserved_usd
    for account_of, amount in sorted(presumed.items()):
        purse.add(connection, *account_of, spent=amount, reserved=-amount, presumed=amount)
    # who had it stays written down, and what is presumed: until somebody takes it over, its result may still come
    if again:
        connection.execute(update(job).where(job.c.pk.in_(again)).values(state="queued", lease_until=None))
    if over:
        values = {"state": "failed", "reason": _LOST, "resolved_at": now, "lease_until": None}
        connection.execute(update(job).where(job.c.pk.in_(over)).values(**values))
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
    for one in ours.values():
        if one.reserved_day is not None:
            returned[one.reserved_day, one.scorer_pk] += one.reserved_usd
    for account_of, amount in sorted(returned.items()):
        purse.add(connection, *account_of, reserved=-amount)
    values = {"state": "queued", "attempt": job.c.attempt - 1, "reason": reason, "not_before": not_before}
    connection.execute(update(job).where(job.c.pk.in_([pk for pk, _ in ours])).values(**values, **purse.FORGOTTEN))
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
    held: purse.Bookings = defaultdict(float)
    for one in ours.values():
        if one.reserved_day is not None:
            held[one.reserved_day, one.scorer_pk] += one.reserved_usd
    for account_of, amount in sorted(held.items()):
        spent = amount if is_spent else 0.0
        purse.add(connection, *account_of, spent=spent, reserved=-amount, presumed=spent)
    if ours:
        values: dict[str, Any] = {"state": "queued", "lane": lane, "reason": reason, "not_before": not_before}
        values |= {"lease_until": None} if is_spent else purse.FORGOTTEN
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


def settle(connection: Connection, done: Sequence[Settled], owner: str, now: datetime, day: date) -> int:
    """Store outcomes and scores, book what they cost, and free what was reserved: one transaction.

    Returns:
        How many counted. The rest were not ours any more and are left alone; `settle_late`, in a transaction of its
        own, takes those of them that nobody has taken over.
    """
    ours = _ours(connection, [one.job for one in done], owner)
    counted = _once(done, ours)
    if not counted:
        return 0
    _resolve(connection, list(counted.values()), now)
    spent: purse.Bookings = defaultdict(float)
    freed: purse.Bookings = defaultdict(float)
    for key, one in counted.items():
        booked_on = (ours[key].reserved_day or day, one.job.scorer_pk)
        spent[booked_on] += ours[key].reserved_usd if one.cost_usd is None else one.cost_usd
        freed[booked_on] += ours[key].reserved_usd
    for booked_on in sorted(spent):
        purse.add(connection, *booked_on, spent=spent[booked_on], reserved=-freed[booked_on])
    return len(counted)


def settle_late(connection: Connection, done: Sequence[Settled], owner: str, now: datetime, day: date) -> int:
    """Store outcomes that come after the lease ran out, of jobs that nobody has taken over since.

    Taken are those that were put back or given up as lost under the attempt that this worker claimed; not those that
    were claimed again, shed, or resolved otherwise. What was presumed spent is corrected to what it did cost. In a
    transaction of its own: it holds nights and accounts before jobs, and waits for no job.

    Returns:
        How many counted.
    """
    is_lost = and_(job.c.pk.in_([one.job.pk for one in done]), job.c.lease_owner == owner, _IS_ORPHAN)
    asked = {(one.job.pk, one.job.attempt) for one in done}
    found = _held_for(connection, select(*_HELD).where(is_lost), asked)
    if not found:
        return 0
    # resolved before and after, so that its count of outcomes does not change: it has to be told
    nights = sorted({one.job.night for one in done if (one.job.pk, one.job.attempt) in found})
    stale = {"resolved": -1, "had_open_jobs": True}
    for night in nights:
        connection.execute(update(night_table).where(night_table.c.night == night).values(**stale))
    accounts = {(one.reserved_day or day, one.scorer_pk) for one in found.values()}
    purse.hold(connection, accounts)
    locked = select(*_HELD).where(is_lost).with_for_update(skip_locked=True)
    lost = _held_for(connection, locked, asked)
    counted = _once(done, lost)
    if not counted:
        return 0
    _resolve(connection, list(counted.values()), now)
    for key, one in sorted(counted.items()):
        presumed = lost[key].reserved_usd
        cost = presumed if one.cost_usd is None else one.cost_usd
        booked_on = (lost[key].reserved_day or day, one.job.scorer_pk)
        purse.add(connection, *booked_on, spent=cost - presumed, presumed=-presumed)
    return len(counted)


def _resolve(connection: Connection, counted: Sequence[Settled], now: datetime) -> None:
    """Store scores and final states."""
    _store_scores(connection, [row for one in counted for row in one.scores], now)
    alike: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for one in counted:
        alike[one.state, one.reason].append(one.job.pk)
    for (state, reason), pks in alike.items():  # nearly all are scored, and no reason
        ended = {"state": state, "reason": reason, "resolved_at": now, **purse.FORGOTTEN}
        connection.execute(update(job).where(job.c.pk.in_(pks)).values(**ended))


def _store_scores(connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    if not rows:
        return
    names = tuple(rows[0])
    values = [(*(row[name] for name in names), now) for row in rows]
    if not bulk.add(connection, score, (*names, "created_at"), values):  # a score that is there already stays
        connection.execute(insert_ignore(connection, score), [{**row, "created_at": now} for row in rows])


class _LeasedRow(NamedTuple):
    """What the ledger holds for a job, whatever its worker remembers."""

    pk: int
    attempt: int
    scorer_pk: int
    reserved_usd: float
    reserved_day: date | None


_HELD = [job.c[name] for name in _LeasedRow._fields]
_Holding = dict[tuple[int, int], _LeasedRow]
"""By key and attempt."""


def _ours(connection: Connection, jobs: Sequence[Job], owner: str) -> _Holding:
    """The jobs still leased to us under the attempt we claimed, locked."""
    claimed = {(one.pk, one.attempt) for one in jobs}
    if not claimed:
        return {}
    statement = (
        select(*_HELD)
        .where(job.c.pk.in_([pk for pk, _ in claimed]), job.c.state == "leased", job.c.lease_owner == owner)
        .order_by(job.c.pk)
        .with_for_update()
    )
    return _held_for(connection, statement, claimed)


def _held_for(connection: Connection, statement: Select[Any], claimed: set[tuple[int, int]]) -> _Holding:
    rows = [_LeasedRow(*row) for row in connection.execute(statement)]
    return {(one.pk, one.attempt): one for one in rows if (one.pk, one.attempt) in claimed}


def _once(done: Sequence[Settled], ours: _Holding) -> dict[tuple[int, int], Settled]:
    """The outcomes that count, one a job: the last that is said."""
    return {key: one for one in done if (key := (one.job.pk, one.job.attempt)) in ours}


class BlockedJobs(NamedTuple):
    """Open jobs that nobody may take now, and until when."""

    jobs: int
    until: datetime
    owner: str | None
    """The worker that claimed them; None for those that wait to be tried again."""
    reason: str | None
    """Why the last try came to nothing."""


def held(connection: Connection, now: datetime) -> list[BlockedJobs]:
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


def waiting(
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
