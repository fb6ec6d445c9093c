"""What judging may spend in a day and in a month: reserved before the call, settled with the score.

All of it inside the caller's transaction; the day is locked, so two workers cannot spend the same dollar. Accounts are
kept by day and scorer; a day has spent what its scorers have.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, update

from worker.store.runs import insert_ignore
from worker.store.tables import CutRow, DrawRow, JobRow, SpendRow, core

spend, job, draw, cut = (core(row) for row in (SpendRow, JobRow, DrawRow, CutRow))
_NOBODY = 0
"""The account under no scorer's name; every locked day has one."""
_SUMS = select(
    *(
        func.coalesce(func.sum(column), 0.0)
        for column in (spend.c.spent_usd, spend.c.reserved_usd, spend.c.presumed_usd)
    )
)
_DUST_USD = 1e-9
"""Rounding left over by many small sums; far below one token of any model."""


class Money(NamedTuple):
    """What the judge lane may spend now."""

    day: date
    """Calendar day of the clock, in the schedule's time zone."""
    cap_usd: float
    """Of the day; infinity without such a cap."""
    max_usd: Mapping[int, float]
    """The most one job can cost, US dollars, by scorer."""
    month_cap_usd: float | None = None
    """Of the day's calendar month; None without such a cap."""


class Spent(NamedTuple):
    """A day's account, US dollars."""

    spent_usd: float
    reserved_usd: float
    presumed_usd: float


class Priced(Protocol):
    """A job with what is reserved for it already."""

    @property
    def scorer_pk(self) -> int:
        """Whose job it is."""

    @property
    def reserved_usd(self) -> float:
        """Held from an earlier try."""

    @property
    def reserved_day(self) -> date | None:
        """The day it is held on."""


def account(connection: Connection, day: date) -> Spent:
    """A day's account; zeros for a day without calls."""
    return Spent(*connection.execute(_SUMS.where(spend.c.day == day)).one())


def month_account(connection: Connection, day: date) -> Spent:
    """The account of a day's calendar month; zeros for a month without calls."""
    first, next_first = _month(day)
    return Spent(*connection.execute(_SUMS.where(spend.c.day >= first, spend.c.day < next_first)).one())


def by_scorer(connection: Connection, day: date) -> dict[int, Spent]:
    """A day's accounts by scorer; 0 is what was booked before accounts were kept by scorer."""
    rows = connection.execute(
        select(spend.c.scorer_pk, spend.c.spent_usd, spend.c.reserved_usd, spend.c.presumed_usd)
        .where(spend.c.day == day)
        .order_by(spend.c.scorer_pk)
    )
    return {row[0]: Spent(*row[1:]) for row in rows}


def _month(day: date) -> tuple[date, date]:
    """The first days of a day's month and of the next one."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def lock(connection: Connection, day: date, *, by_month: bool = False) -> None:
    """Hold the accounts that a claim on a day may touch until the transaction ends, the oldest first as everywhere.

    With a month's cap the first of the month is among them: around midnight two workers reserve on different days.
    """
    held = sorted({_month(day)[0], day}) if by_month else [day]
    for each in held:
        _open(connection, each, _NOBODY)
    touched = or_(spend.c.day.in_(held), spend.c.reserved_usd > 0)
    statement = select(spend.c.day).where(touched).order_by(spend.c.day, spend.c.scorer_pk)
    connection.execute(statement.with_for_update()).all()


def reserve(connection: Connection, jobs: Sequence[Priced], money: Money) -> tuple[list[float], bool]:
    """Reserve the most that each job can cost, in order, up to the first that does not fit.

    Under the lock of the day. Never skips to a cheaper one: that would select short runs. What a job holds on an
    earlier day is freed there.

    Returns:
        What is held for each job that fits (a prefix of `jobs`), and whether money that others hold may still come
        back: then it is too early to say that the budget is spent.
    """
    before = account(connection, money.day)
    left, others_hold = money.cap_usd - before.spent_usd - before.reserved_usd, before.reserved_usd
    first, left_month = money.day, math.inf
    if money.month_cap_usd is not None:
        month = month_account(connection, money.day)
        first, left_month = _month(money.day)[0], money.month_cap_usd - month.spent_usd - month.reserved_usd
        others_hold = month.reserved_usd
    held: list[float] = []
    fresh = fresh_month = 0.0
    for one in jobs:
        most = money.max_usd.get(one.scorer_pk, 0.0)
        kept = one.reserved_usd if one.reserved_day == money.day else 0.0
        kept_month = one.reserved_usd if one.reserved_day is not None and one.reserved_day >= first else 0.0
        need, need_month = max(0.0, most - kept), max(0.0, most - kept_month)
        if need > left - fresh + _DUST_USD or need_month > left_month - fresh_month + _DUST_USD:
            break
        fresh, fresh_month = fresh + need, fresh_month + need_month
        held.append(kept + need)
    booked: Bookings = defaultdict(float)
    for one, amount in zip(jobs, held, strict=False):
        if one.reserved_day is not None:
            booked[one.reserved_day, one.scorer_pk] -= one.reserved_usd
        booked[money.day, one.scorer_pk] += amount
    for account_of, amount in sorted(booked.items()):
        add(connection, *account_of, reserved=amount)
    return held, others_hold > _DUST_USD


Bookings = defaultdict[tuple[date, int], float]
"""US dollars by day and scorer; booked in that order, as everywhere."""


def _open(connection: Connection, day: date, scorer_pk: int) -> None:
    values = {"day": day, "scorer_pk": scorer_pk, "spent_usd": 0.0, "reserved_usd": 0.0, "presumed_usd": 0.0}
    connection.execute(insert_ignore(connection, spend), [values])


def add(
    connection: Connection,
    day: date,
    scorer_pk: int,
    *,
    spent: float = 0.0,
    reserved: float = 0.0,
    presumed: float = 0.0,
) -> None:
    """Book amounts on a scorer's day, US dollars, negative to take back; a reservation never falls below zero."""
    if not (spent or reserved or presumed):
        return
    _open(connection, day, scorer_pk)
    left = spend.c.reserved_usd + reserved
    maximum = func.max if connection.dialect.name == "sqlite" else func.greatest
    connection.execute(
        update(spend)
        .where(spend.c.day == day, spend.c.scorer_pk == scorer_pk)
        .values(
            spent_usd=spend.c.spent_usd + spent,
            reserved_usd=maximum(0.0, left),
            presumed_usd=spend.c.presumed_usd + presumed,
        )
    )


def cut_night(connection: Connection, night: date, now: datetime) -> int:
    """The budget is spent: shed what is left of a night's judging, and note the effective thresholds.

    Work went in the order u = key ÷ threshold, so the runs below the smallest unresolved u are a smaller, equally
    random sample; each stratum's effective threshold is that u × its threshold.

    Returns:
        Jobs shed.
    """
    smallest = connection.execute(
        select(job.c.scorer_pk, func.min(job.c.u))
        .where(job.c.night == night, job.c.lane != "heuristic", job.c.state.in_(("queued", "leased")))
        .group_by(job.c.scorer_pk)
    ).all()
    draws = connection.execute(
        select(draw.c.pk, draw.c.threshold).where(draw.c.night == night, draw.c.is_current)
    ).all()
    count = 0
    for scorer_pk, u in smallest:
        rows = [
            {"draw_pk": pk, "scorer_pk": scorer_pk, "threshold": threshold * u, "cut_at": now}
            for pk, threshold in draws
        ]
        connection.execute(insert_ignore(connection, cut), rows)
        # a cut that stands is lowered when a late run below it finds the money gone; it is never raised
        lower = (cut.c.draw_pk == bindparam("b_draw"), cut.c.threshold > bindparam("b_threshold"))
        connection.execute(
            update(cut)
            .where(cut.c.scorer_pk == scorer_pk, *lower)
            .values(threshold=bindparam("b_threshold"), cut_at=now),
            [{"b_draw": row["draw_pk"], "b_threshold": row["threshold"]} for row in rows],
        )
        count += shed(connection, now, "budget", job.c.night == night, job.c.scorer_pk == scorer_pk)
    return count


def shed(connection: Connection, now: datetime, reason: str, *which: ColumnElement[bool]) -> int:
    """Take queued jobs off the queue unscored; what was held for another try of theirs is free again.

    Returns:
        Jobs shed.
    """
    queued = (job.c.state == "queued", *which)
    freed: Bookings = defaultdict(float)
    held = select(job.c.reserved_day, job.c.scorer_pk, job.c.reserved_usd)
    for day, scorer_pk, amount in connection.execute(
        held.where(*queued, job.c.reserved_day.is_not(None)).with_for_update()
    ):
        freed[day, scorer_pk] -= amount
    for account_of, amount in sorted(freed.items()):
        add(connection, *account_of, reserved=amount)
    values = {"state": "shed", "reason": reason, "resolved_at": now, "reserved_usd": 0.0, "reserved_day": None}
    return connection.execute(update(job).where(*queued).values(**values)).rowcount
