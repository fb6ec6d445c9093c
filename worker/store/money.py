"""What judging may spend in a day and in a month: reserved before the call, settled with the score.

All of it inside the caller's transaction; the day's row is locked, so two workers cannot spend the same dollar.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, update

from worker.store.runs import insert_ignore
from worker.store.tables import BudgetRow, CutRow, DrawRow, JobRow, core

budget, job, draw, cut = (core(row) for row in (BudgetRow, JobRow, DrawRow, CutRow))
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
    row = connection.execute(
        select(budget.c.spent_usd, budget.c.reserved_usd, budget.c.presumed_usd).where(budget.c.day == day)
    ).one_or_none()
    return Spent(*row) if row else Spent(0.0, 0.0, 0.0)


def month_account(connection: Connection, day: date) -> Spent:
    """The account of a day's calendar month; zeros for a month without calls."""
    first, next_first = _month(day)
    sums = select(
        func.coalesce(func.sum(budget.c.spent_usd), 0.0),
        func.coalesce(func.sum(budget.c.reserved_usd), 0.0),
        func.coalesce(func.sum(budget.c.presumed_usd), 0.0),
    )
    return Spent(*connection.execute(sums.where(budget.c.day >= first, budget.c.day < next_first)).one())


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
        _open(connection, each)
    touched = or_(budget.c.day.in_(held), budget.c.reserved_usd > 0)
    connection.execute(select(budget.c.day).where(touched).order_by(budget.c.day).with_for_update()).all()


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
    freed: dict[date, float] = defaultdict(float)
    for one in jobs[: len(held)]:
        if one.reserved_day is not None and one.reserved_day != money.day:
            freed[one.reserved_day] -= one.reserved_usd
    for day, amount in sorted([*freed.items(), (money.day, fresh)]):
        add(connection, day, reserved=amount)
    return held, others_hold > _DUST_USD


def _open(connection: Connection, day: date) -> None:
    values = {"day": day, "spent_usd": 0.0, "reserved_usd": 0.0, "presumed_usd": 0.0}
    connection.execute(insert_ignore(connection, budget), [values])


def add(connection: Connection, day: date, *, spent: float = 0.0, reserved: float = 0.0, presumed: float = 0.0) -> None:
    """Book amounts on a day, US dollars, negative to take back; a reservation never falls below zero."""
    if not (spent or reserved or presumed):
        return
    _open(connection, day)
    left = budget.c.reserved_usd + reserved
    maximum = func.max if connection.dialect.name == "sqlite" else func.greatest
    connection.execute(
        update(budget)
        .where(budget.c.day == day)
        .values(
            spent_usd=budget.c.spent_usd + spent,
            reserved_usd=maximum(0.0, left),
            presumed_usd=budget.c.presumed_usd + presumed,
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
        .where(job.c.night == night, job.c.lane == "judge", job.c.state.in_(("queued", "leased")))
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
    freed: dict[date, float] = defaultdict(float)
    held = select(job.c.reserved_day, job.c.reserved_usd).where(*queued, job.c.reserved_day.is_not(None))
    for day, amount in connection.execute(held.with_for_update()):
        freed[day] -= amount
    for day, amount in sorted(freed.items()):
        add(connection, day, reserved=amount)
    values = {"state": "shed", "reason": reason, "resolved_at": now, "reserved_usd": 0.0, "reserved_day": None}
    return connection.execute(update(job).where(*queued).values(**values)).rowcount
