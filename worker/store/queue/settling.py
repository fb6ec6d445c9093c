"""The job ledger: claim, renew, settle, retry, give back. The database is the truth; a Celery message only wakes.

A claim is a lease. Whatever a worker says of a job counts only under the attempt it claimed, so a worker that was
believed dead cannot settle what another has taken over: exactly one outcome a job. What nobody has taken over it may
still settle, late.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, or_, select, update

from worker.store import bulk
from worker.store.budget import accounts as purse
from worker.store.insert import insert_ignore
from worker.store.queue.job import _HELD, _LOST, Job, _held_for, _Holding, _ours, job, night_table, score


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


_IS_ORPHAN = or_(job.c.state == "queued", and_(job.c.state == "failed", job.c.reason == _LOST))
"""With an owner: its lease ran out, and nobody has taken it over."""


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
        purse.book(connection, *booked_on, spent=spent[booked_on], reserved=-freed[booked_on])
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
    purse.lock_accounts(connection, accounts)
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
        purse.book(connection, *booked_on, spent=cost - presumed, presumed=-presumed)
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


def _once(done: Sequence[Settled], ours: _Holding) -> dict[tuple[int, int], Settled]:
    """The outcomes that count, one a job: the last that is said."""
    return {key: one for one in done if (key := (one.job.pk, one.job.attempt)) in ours}
