"""Storing the outcomes of claimed jobs: scores, final state, cost and kept answers in one transaction.

An outcome counts only under the attempt that the worker claimed. So a worker that was believed dead cannot settle a
job that another worker has claimed since, and every job gets exactly one outcome. A job that no other worker has
claimed may still be settled late (`settle_late`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, or_, select, update

from worker.records import PackedJudgment
from worker.store import bulk
from worker.store.budget import accounts
from worker.store.insert import insert_ignore
from worker.store.queue import judgments
from worker.store.queue.job import _HELD, _LOST, Job, _held_for, _Holding, _ours, job_table, night_table, score


class Settled(NamedTuple):
    """The outcome of one claimed job."""

    job: Job
    state: str
    """scored · unscored · failed."""
    reason: str | None
    cost_usd: float | None
    """What the judge cost, US dollars; None when unknown, and then the reservation counts as spent."""
    scores: Sequence[Mapping[str, Any]]
    """Rows of the score table, without `created_at`."""
    answers: Mapping[str, bytes] = MappingProxyType({})
    """The judge's answers to keep in the reply cache, by cache key."""
    judgment: PackedJudgment | None = None
    """What was asked and answered; None without a call. The caller stores its static part (`judgments.put_statics`)."""


_IS_ORPHAN = or_(job_table.c.state == "queued", and_(job_table.c.state == "failed", job_table.c.reason == _LOST))
"""Together with its lease owner: the lease expired, and no other worker has claimed the job."""


def settle(connection: Connection, done: Sequence[Settled], owner: str, now: datetime, day: date) -> int:
    """Store outcomes and scores, book their cost and free their reservations, in the caller's transaction.

    Returns:
        How many outcomes counted. The owner no longer held the others' jobs; call `settle_late` for those, in a
        transaction of its own.
    """
    ours = _ours(connection, [outcome.job for outcome in done], owner)
    counted = _last_outcomes(done, ours)
    if not counted:
        return 0
    _resolve(connection, list(counted.values()), now)
    spent: accounts.Bookings = defaultdict(float)
    freed: accounts.Bookings = defaultdict(float)
    for key, outcome in counted.items():
        booked_on = ours[key].account_key(day)
        spent[booked_on] += ours[key].reserved_usd if outcome.cost_usd is None else outcome.cost_usd
        freed[booked_on] += ours[key].reserved_usd
    for booked_on in sorted(spent):
        accounts.book(connection, *booked_on, spent=spent[booked_on], reserved=-freed[booked_on])
    return len(counted)


def settle_late(connection: Connection, done: Sequence[Settled], owner: str, now: datetime, day: date) -> int:
    """Store outcomes that come after their lease expired, for jobs that no other worker has claimed since.

    Accepted are jobs requeued or failed as lost under the attempt that this worker claimed, not those claimed again,
    skipped or resolved otherwise. The presumed cost is corrected to the real one. Needs a transaction of its own: it
    locks nights and accounts before jobs, and waits for no job.

    Returns:
        How many outcomes counted.
    """
    is_lost = and_(
        job_table.c.pk.in_([outcome.job.pk for outcome in done]), job_table.c.lease_owner == owner, _IS_ORPHAN
    )
    claimed = {(outcome.job.pk, outcome.job.attempt) for outcome in done}
    orphans = _held_for(connection, select(*_HELD).where(is_lost), claimed)
    if not orphans:
        return 0
    # the job counts as resolved before and after, so the night's counts do not change: mark its summary as out of date
    nights = sorted({outcome.job.night for outcome in done if (outcome.job.pk, outcome.job.attempt) in orphans})
    stale = {"resolved": -1, "had_open_jobs": True}
    for night in nights:
        connection.execute(update(night_table).where(night_table.c.night == night).values(**stale))
    accounts.lock_accounts(connection, {orphan.account_key(day) for orphan in orphans.values()})
    locked = select(*_HELD).where(is_lost).with_for_update(skip_locked=True)
    locked_orphans = _held_for(connection, locked, claimed)
    counted = _last_outcomes(done, locked_orphans)
    if not counted:
        return 0
    _resolve(connection, list(counted.values()), now)
    for key, outcome in sorted(counted.items()):
        presumed = locked_orphans[key].reserved_usd
        cost = presumed if outcome.cost_usd is None else outcome.cost_usd
        booked_on = locked_orphans[key].account_key(day)
        accounts.book(connection, *booked_on, spent=cost - presumed, presumed=-presumed)
    return len(counted)


def _resolve(connection: Connection, counted: Sequence[Settled], now: datetime) -> None:
    """Store scores and the final states of jobs."""
    _store_scores(connection, [row for outcome in counted for row in outcome.scores], now)
    judged = [(outcome.job, outcome.judgment) for outcome in counted if outcome.judgment is not None]
    judgments.put_many(connection, judged, now)
    alike: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for outcome in counted:
        alike[outcome.state, outcome.reason].append(outcome.job.pk)
    for (state, reason), pks in alike.items():  # few groups: nearly all are scored, without a reason
        ended = {"state": state, "reason": reason, "resolved_at": now, **accounts.FORGOTTEN}
        connection.execute(update(job_table).where(job_table.c.pk.in_(pks)).values(**ended))


def _store_scores(connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    if not rows:
        return
    names = tuple(rows[0])
    values = [(*(row[name] for name in names), now) for row in rows]
    if not bulk.add(connection, score, (*names, "created_at"), values):  # a score that is stored already stays
        connection.execute(insert_ignore(connection, score), [{**row, "created_at": now} for row in rows])


def _last_outcomes(done: Sequence[Settled], ours: _Holding) -> dict[tuple[int, int], Settled]:
    """The outcomes that count, by job and attempt; of several for one job the last."""
    return {key: outcome for outcome in done if (key := (outcome.job.pk, outcome.job.attempt)) in ours}
