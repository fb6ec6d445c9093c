"""Scoring drawn nights again: scorers enrolled later, and skipped jobs that come back."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, false, func, or_, select, true, update

from worker.records import Stratum
from worker.records.job import ASKED
from worker.store.budget.accounts import BACKFILL, FORGOTTEN
from worker.store.insert import insert_ignore
from worker.store.queue.enrol import (
    Registered,
    admits,
    cut,
    enqueue,
    enrol,
    enrolled,
    enrolment,
    job_table,
    night_table,
    run,
    sample,
)
from worker.store.queue.job import WAITS_FOR_MONEY
from worker.store.runs import draws

_SKIPPED = ("budget", "superseded", "retired", "rate")
"""Why a job was skipped that a backfill takes up again."""
Limits = Mapping[Stratum, float]
"""By stratum of a night, the sample key below which its drawn runs are wanted, 0..1."""


class TakenUp(NamedTuple):
    """What a backfill queued."""

    added: int = 0
    """New jobs."""
    back: int = 0
    """Skipped or failed jobs that are queued again."""

    def __add__(self, other: object) -> "TakenUp":
        """Both together."""
        if not isinstance(other, TakenUp):
            return NotImplemented
        return TakenUp(self.added + other.added, self.back + other.back)


class Missing(NamedTuple):
    """What a scorer has left to do on one drawn night."""

    unscored: int
    """Drawn runs that it applies to and has no score of, nor an open job; those that a backfill would queue."""
    queued: int
    """Its open jobs."""
    unpaid: int = 0
    """Those of its open jobs that spend the money of backfills."""


def missing(
    connection: Connection, night: date, scorer: Registered, limits: Limits | None = None, *, with_failed: bool = False
) -> Missing:
    """What `enrol_again` would queue for one scorer on a drawn night, and what is open already; writes nothing.

    Args:
        connection: Any transaction.
        night: A drawn night.
        scorer: As it is stored.
        limits: Of the part of the sample that is wanted; None for all of it.
        with_failed: Whether failed jobs count.
    """
    own = (
        (job_table.c.run_pk == sample.c.run_pk)
        & (job_table.c.scorer_pk == scorer.pk)
        & (job_table.c.purpose == "production")
        & (job_table.c.replicate == 0)
    )
    statement = (
        select(func.count())
        .select_from(sample)
        .join(run, run.c.pk == sample.c.run_pk)
        .outerjoin(job_table, own)
        .where(
            sample.c.night == night,
            admits(scorer.applies_to),
            _within(limits),
            or_(job_table.c.pk.is_(None), _comes_back(with_failed=with_failed)),
        )
    )
    is_open = (job_table.c.night == night, job_table.c.scorer_pk == scorer.pk, job_table.c.purpose == "production")
    own_money = func.count().filter(job_table.c.account == BACKFILL)
    still = select(func.count(), own_money).where(*is_open, job_table.c.state.in_(("queued", "leased")))
    return Missing(connection.execute(statement).scalar_one(), *connection.execute(still).one())


def shed_by_budget(connection: Connection, nights: Sequence[date]) -> dict[int, list[date]]:
    """Scorers of which a budget skipped jobs on these nights: the nights by scorer key, oldest first."""
    statement = (
        select(enrolment.c.scorer_pk, enrolment.c.night)
        .where(
            enrolment.c.night.in_(list(nights)),
            select(job_table.c.pk)
            .where(
                job_table.c.night == enrolment.c.night,
                job_table.c.scorer_pk == enrolment.c.scorer_pk,
                job_table.c.state == "shed",
                job_table.c.reason == "budget",
            )
            .exists(),
        )
        .order_by(enrolment.c.scorer_pk, enrolment.c.night)
    )
    found: dict[int, list[date]] = {}
    for pk, night in connection.execute(statement):
        found.setdefault(pk, []).append(night)
    return found


def never_enrolled(
    connection: Connection, nights: Sequence[date], scorers: Sequence[Registered]
) -> dict[int, list[date]]:
    """Scorers that do not score some of these drawn nights: the nights by scorer key, oldest first.

    Nights without a sample have nothing to score and are none of them.
    """
    sampled = select(sample.c.night).where(sample.c.night.in_(list(nights))).distinct()
    drawn = sorted(connection.execute(sampled).scalars())
    by_night = enrolled(connection, drawn)
    found = {scorer.pk: [night for night in drawn if scorer.pk not in by_night[night]] for scorer in scorers}
    return {pk: without for pk, without in found.items() if without}


def enrol_again(
    connection: Connection,
    night: date,
    scorers: Sequence[Registered],
    now: datetime,
    limits: Limits | None = None,
    *,
    with_failed: bool = False,
) -> TakenUp:
    """Enrol scorers for a drawn night that were not, queue what they have not scored of it, and what they skipped.

    A run that has a score of a scorer gets no job of it. Repeating it queues nothing. Once its jobs have ended the
    night is summarised and compared again.

    Args:
        connection: A write transaction that has locked the night.
        night: A drawn night.
        scorers: Whose scores are wanted.
        now: The store's time.
        limits: Of the part of the sample that is wanted. Stored as cuts, so that every estimate knows the smaller
            probability; one that a scorer had before is only raised. None for the whole sample.
        with_failed: Whether failed jobs are tried again, as if they never had been.
    """
    before = set(enrolled(connection, [night])[night])
    new = [scorer for scorer in scorers if scorer.pk not in before]
    enrol(connection, night, new, now, "backfill")
    pks = [scorer.pk for scorer in scorers]
    _set_cuts(connection, night, pks, {scorer.pk for scorer in new}, limits, now)
    back = _take_back(connection, night, pks, limits, with_failed=with_failed)
    _end_waiting(connection, night, pks)
    return TakenUp(enqueue(connection, night, scorers, now), back)


def _comes_back(*, with_failed: bool) -> ColumnElement[bool]:
    skipped = and_(job_table.c.state == "shed", job_table.c.reason.in_(_SKIPPED))
    return or_(skipped, job_table.c.state == "failed") if with_failed else skipped


def _within(limits: Limits | None) -> ColumnElement[bool]:
    if limits is None:
        return true()
    parts = (
        and_(run.c.task_type == stratum.task_type, run.c.flagged == stratum.flagged, run.c.sample_key < limit)
        for stratum, limit in limits.items()
    )
    return or_(false(), *parts)


def _set_cuts(
    connection: Connection, night: date, pks: Sequence[int], new: set[int], limits: Limits | None, now: datetime
) -> None:
    """Raise, remove or make the cuts of scorers, so that what is wanted lies below them."""
    for stratum, row in draws.current_draws(connection, night).items():
        wanted = row["threshold"] if limits is None else limits.get(stratum, 0.0)
        own = (cut.c.draw_pk == row["pk"], cut.c.scorer_pk.in_(list(pks)))
        if wanted >= row["threshold"]:
            connection.execute(delete(cut).where(*own))
            continue
        raised = {"threshold": wanted, "reason": "rate", "cut_at": now}
        connection.execute(update(cut).where(*own, cut.c.threshold < wanted).values(**raised))
        if new:
            rows = [{"draw_pk": row["pk"], "scorer_pk": pk, **raised} for pk in sorted(new)]
            connection.execute(insert_ignore(connection, cut), rows)


def _take_back(
    connection: Connection, night: date, pks: Sequence[int], limits: Limits | None, *, with_failed: bool
) -> int:
    wanted = select(run.c.pk).where(run.c.night == night, _within(limits))
    which = [job_table.c.night == night, job_table.c.scorer_pk.in_(list(pks)), job_table.c.purpose == "production"]
    if limits is not None:
        which.append(job_table.c.run_pk.in_(wanted))
    again = {"state": "queued", "reason": None, "resolved_at": None, "not_before": None, "account": BACKFILL}
    statement = update(job_table).where(*which, _comes_back(with_failed=with_failed))
    # what an attempt of before still says counts no more: its cost stays booked where it was presumed
    count = connection.execute(statement.values(**again, attempt=0, **FORGOTTEN)).rowcount
    if count:
        stale = {"resolved": -1, "had_open_jobs": True}
        connection.execute(update(night_table).where(night_table.c.night == night).values(**stale))
    return count


def _end_waiting(connection: Connection, night: date, pks: Sequence[int]) -> None:
    """Let jobs that wait for the next day's money be claimed: the budget may have been raised."""
    waiting = (
        job_table.c.night == night,
        job_table.c.scorer_pk.in_(list(pks)),
        job_table.c.state == "queued",
        job_table.c.reason == WAITS_FOR_MONEY,
    )
    connection.execute(update(job_table).where(*waiting).values(not_before=None, reason=None))


def send_to_lane(connection: Connection, night: date, pks: Sequence[int], lane: str) -> int:
    """Move what a backfill has queued of a night, and nobody has tried, to the `judge` or the `batch` lane."""
    other = "judge" if lane == "batch" else "batch"
    untried = (
        job_table.c.night == night,
        job_table.c.scorer_pk.in_(list(pks)),
        job_table.c.account == BACKFILL,
        job_table.c.state == "queued",
        job_table.c.lane == other,
        job_table.c.attempt == 0,
    )
    return connection.execute(update(job_table).where(*untried).values(lane=lane)).rowcount


def ask_for(connection: Connection, run_pk: int, scorers: Sequence[Registered], now: datetime) -> None:
    """Queue one run for scorers in the lane of what a person asks for, under a purpose that no estimate reads.

    A job of before is queued again, unless it is open.

    Args:
        connection: A write transaction.
        run_pk: Key of the run; it need not be drawn.
        scorers: Who is to score it.
        now: The store's time.
    """
    night, key = connection.execute(select(run.c.night, run.c.sample_key).where(run.c.pk == run_pk)).one()
    fixed = {"run_pk": run_pk, "purpose": ASKED, "replicate": 0, "night": night, "lane": ASKED, "account": BACKFILL}
    fresh = {"state": "queued", "attempt": 0, "reason": None, "not_before": None, "resolved_at": None, **FORGOTTEN}
    for scorer in scorers:
        row = {**fixed, **fresh, "scorer_pk": scorer.pk, "u": key, "created_at": now}
        connection.execute(insert_ignore(connection, job_table), [row])
        own = (job_table.c.run_pk == run_pk, job_table.c.scorer_pk == scorer.pk, job_table.c.purpose == ASKED)
        waits = (job_table.c.state == "queued") & (job_table.c.reason == WAITS_FOR_MONEY)
        again = or_(job_table.c.state.not_in(("queued", "leased")), waits)
        connection.execute(update(job_table).where(*own, again).values(**fresh))
