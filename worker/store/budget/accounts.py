"""What judging may spend in a day and in a month: reserved before the call, settled with the score.

All of it inside the caller's transaction; the day is locked, so two workers cannot spend the same dollar. Accounts are
kept by day and scorer; a day has spent what its scorers have, and a rubric what its versions have.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from worker.store.insert import insert_ignore
from worker.store.tables import CutRow, DrawRow, JobRow, ScorerRow, SpendRow, core

spend, job, draw, cut, scorer = (core(row) for row in (SpendRow, JobRow, DrawRow, CutRow, ScorerRow))
_NOBODY = 0
"""The account under no scorer's name; every locked day has one."""
_AMOUNTS = (spend.c.spent_usd, spend.c.reserved_usd, spend.c.presumed_usd)
_SUMS = tuple(func.coalesce(func.sum(column), 0.0) for column in _AMOUNTS)


class RubricCap(NamedTuple):
    """What one rubric may spend, all its versions together, US dollars; None without such a cap."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None


class SpendingLimits(NamedTuple):
    """What the judge lane may spend now."""

    day: date
    """Calendar day of the clock, in the schedule's time zone."""
    cap_usd: float
    """Of the day; infinity without such a cap."""
    max_usd: Mapping[int, float]
    """The most one job can cost, US dollars, by scorer."""
    month_cap_usd: float | None = None
    """Of the day's calendar month; None without such a cap."""
    rubrics: Mapping[str, RubricCap] = MappingProxyType({})
    """Caps of single rubrics, by name, beside those of all."""

    @property
    def is_by_month(self) -> bool:
        """Whether any cap is a month's."""
        own = (one.usd_per_month for one in self.rubrics.values())
        return any(cap is not None for cap in (self.month_cap_usd, *own))


class AccountBalance(NamedTuple):
    """A day's account, US dollars."""

    spent_usd: float
    reserved_usd: float
    presumed_usd: float


def day_balance(connection: Connection, day: date) -> AccountBalance:
    """A day's account; zeros for a day without calls."""
    return AccountBalance(*connection.execute(select(*_SUMS).where(spend.c.day == day)).one())


def month_balance(connection: Connection, day: date) -> AccountBalance:
    """The account of a day's calendar month; zeros for a month without calls."""
    first, last = month_of(day)
    return AccountBalance(*connection.execute(select(*_SUMS).where(spend.c.day.between(first, last))).one())


def balances_by_scorer(connection: Connection, day: date) -> dict[int, AccountBalance]:
    """A day's accounts by scorer; 0 is what was booked before accounts were kept by scorer."""
    rows = connection.execute(
        select(spend.c.scorer_pk, *_AMOUNTS).where(spend.c.day == day).order_by(spend.c.scorer_pk)
    )
    return {row[0]: AccountBalance(*row[1:]) for row in rows}


def balances_by_rubric(connection: Connection, first: date, last: date) -> dict[str, AccountBalance]:
    """The accounts of some days (bounds included) by scorer's name, all versions together; absent without calls."""
    statement = (
        select(scorer.c.name, *_SUMS)
        .join(scorer, scorer.c.pk == spend.c.scorer_pk)
        .where(spend.c.day.between(first, last))
        .group_by(scorer.c.name)
        .order_by(scorer.c.name)
    )
    return {row[0]: AccountBalance(*row[1:]) for row in connection.execute(statement)}


def month_of(day: date) -> tuple[date, date]:
    """The first and the last day of a day's calendar month."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def lock_day(connection: Connection, day: date, *, by_month: bool = False) -> None:
    """Hold the accounts that a claim on a day may touch until the transaction ends, the oldest first as everywhere.

    With a month's cap the first of the month is among them: around midnight two workers reserve on different days.
    """
    held = sorted({month_of(day)[0], day}) if by_month else [day]
    for each in held:
        _open(connection, each, _NOBODY)
    _hold(connection, or_(spend.c.day.in_(held), spend.c.reserved_usd > 0))


def lock_accounts(connection: Connection, accounts: Iterable[tuple[date, int]]) -> None:
    """Hold some accounts, by day and scorer, until the transaction ends."""
    wanted = sorted(set(accounts))
    for each in wanted:
        _open(connection, *each)
    which = (and_(spend.c.day == day, spend.c.scorer_pk == scorer_pk) for day, scorer_pk in wanted)
    _hold(connection, or_(*which))


def _hold(connection: Connection, which: ColumnElement[bool]) -> None:
    statement = select(spend.c.day).where(which).order_by(spend.c.day, spend.c.scorer_pk)
    connection.execute(statement.with_for_update()).all()


Bookings = defaultdict[tuple[date, int], float]
"""US dollars by day and scorer; booked in that order, as everywhere."""

HOLDS = and_(job.c.reserved_day.is_not(None), job.c.called_at.is_(None))
"""A queued job that money is reserved for; one with `called_at` was lost, and what stands there is presumed spent."""
FORGOTTEN: dict[str, Any] = {
    "lease_owner": None,
    "lease_until": None,
    "called_at": None,
    "reserved_usd": 0.0,
    "reserved_day": None,
}
"""A job that nobody holds and nothing is held for."""


def _open(connection: Connection, day: date, scorer_pk: int) -> None:
    values = {"day": day, "scorer_pk": scorer_pk, "spent_usd": 0.0, "reserved_usd": 0.0, "presumed_usd": 0.0}
    connection.execute(insert_ignore(connection, spend), [values])


def book(
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
