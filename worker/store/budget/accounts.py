"""The accounts of judging: what was spent, reserved and presumed spent, by calendar day, purpose and scorer.

Money is reserved before a call and settled with the score, inside the caller's transaction; the day's accounts are
locked, so two workers cannot reserve the same dollar. A day's account is the sum over its scorers, a rubric's account
the sum over its versions. What nights cost and what backfills cost are accounts of their own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from worker.store.insert import insert_ignore
from worker.store.tables import CutRow, DrawRow, JobRow, ScorerRow, SpendRow, core

spend, job, draw, cut, scorer = (core(row) for row in (SpendRow, JobRow, DrawRow, CutRow, ScorerRow))
NIGHTLY = "nightly"
"""The account of what nights cost."""
BACKFILL = "backfill"
"""The account of what a person has scored again."""
_NOBODY = 0
"""The account that belongs to no scorer; every locked day has one, and its row is the lock."""
_AMOUNTS = (spend.c.spent_usd, spend.c.reserved_usd, spend.c.presumed_usd)
_SUMS = tuple(func.coalesce(func.sum(column), 0.0) for column in _AMOUNTS)


class RubricCap(NamedTuple):
    """What one rubric may spend, all its versions together, US dollars; None for no cap."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None


class SpendingLimits(NamedTuple):
    """What the judge and batch lanes may spend now."""

    day: date
    """Calendar day of the clock, in the schedule's time zone."""
    cap_usd: float
    """Cap of what nights may spend in the day, US dollars; infinity for no cap."""
    max_usd: Mapping[int, float]
    """The most one job can cost, US dollars, by scorer key."""
    month_cap_usd: float | None = None
    """Cap of the day's calendar month, US dollars; None for no cap."""
    rubrics: Mapping[str, RubricCap] = MappingProxyType({})
    """Caps of single rubrics by name, in addition to those of all judging."""
    backfill_cap_usd: float | None = None
    """Cap of what backfills may spend in the day, US dollars; None leaves them what the nights' caps leave over."""
    resumes_at: datetime | None = None
    """When jobs of a backfill may be claimed again whose money is spent: the beginning of the next day."""

    @property
    def is_by_month(self) -> bool:
        """Whether any cap is for a month."""
        of_rubrics = (cap.usd_per_month for cap in self.rubrics.values())
        return any(usd is not None for usd in (self.month_cap_usd, *of_rubrics))


class AccountBalance(NamedTuple):
    """Amounts of one or several accounts, US dollars."""

    spent_usd: float
    reserved_usd: float
    presumed_usd: float
    """Reservations of calls whose worker was lost; included in `spent_usd`."""


def day_balance(connection: Connection, day: date, account: str | None = None) -> AccountBalance:
    """What all scorers have spent and reserved on a day, on both accounts or one; zeros for a day without calls."""
    which = [] if account is None else [spend.c.account == account]
    return AccountBalance(*connection.execute(select(*_SUMS).where(spend.c.day == day, *which)).one())


def month_balance(connection: Connection, day: date, account: str | None = None) -> AccountBalance:
    """As `day_balance`, in a day's calendar month."""
    first, last = month_of(day)
    which = [] if account is None else [spend.c.account == account]
    return AccountBalance(*connection.execute(select(*_SUMS).where(spend.c.day.between(first, last), *which)).one())


def balances_by_scorer(connection: Connection, day: date) -> dict[int, AccountBalance]:
    """A day's accounts by scorer key; key 0 holds what was booked before accounts were kept by scorer."""
    rows = connection.execute(
        select(spend.c.scorer_pk, *_SUMS)
        .where(spend.c.day == day)
        .group_by(spend.c.scorer_pk)
        .order_by(spend.c.scorer_pk)
    )
    return {row[0]: AccountBalance(*row[1:]) for row in rows}


def balances_by_rubric(
    connection: Connection, first: date, last: date, account: str | None = None
) -> dict[str, AccountBalance]:
    """The accounts of some days (bounds included) by scorer name, all versions together; absent without calls."""
    which = [] if account is None else [spend.c.account == account]
    statement = (
        select(scorer.c.name, *_SUMS)
        .join(scorer, scorer.c.pk == spend.c.scorer_pk)
        .where(spend.c.day.between(first, last), *which)
        .group_by(scorer.c.name)
        .order_by(scorer.c.name)
    )
    return {row[0]: AccountBalance(*row[1:]) for row in connection.execute(statement)}


def month_of(day: date) -> tuple[date, date]:
    """The first and the last day of a day's calendar month."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def lock_day(connection: Connection, day: date, *, by_month: bool = False) -> None:
    """Lock the accounts that a claim on a day may change until the transaction ends.

    With a monthly cap the first of the month is locked too: around midnight two workers reserve on different days.
    """
    days = sorted({month_of(day)[0], day}) if by_month else [day]
    for locked_day in days:
        _create(connection, locked_day, _NOBODY)
    _lock_rows(connection, or_(spend.c.day.in_(days), spend.c.reserved_usd > 0))


def lock_accounts(connection: Connection, accounts: Iterable["AccountKey"]) -> None:
    """Lock accounts until the transaction ends."""
    ordered = sorted(set(accounts))
    for key in ordered:
        _create(connection, *key)
    which = (
        and_(spend.c.day == day, spend.c.scorer_pk == scorer_pk, spend.c.account == account)
        for day, scorer_pk, account in ordered
    )
    _lock_rows(connection, or_(*which))


def _lock_rows(connection: Connection, which: ColumnElement[bool]) -> None:
    statement = select(spend.c.day).where(which).order_by(spend.c.day, spend.c.scorer_pk, spend.c.account)
    connection.execute(statement.with_for_update()).all()


AccountKey = tuple[date, int, str]
"""Day, scorer key, and `nightly` or `backfill`."""
Bookings = defaultdict[AccountKey, float]
"""US dollars by account. Booked in sorted order everywhere, avoiding deadlocks."""

HOLDS = and_(job.c.reserved_day.is_not(None), job.c.called_at.is_(None))
"""A queued job with a reservation. One with `called_at` was lost: its amount has been booked as presumed spent."""
FORGOTTEN: dict[str, Any] = {
    "lease_owner": None,
    "lease_until": None,
    "called_at": None,
    "reserved_usd": 0.0,
    "reserved_day": None,
}
"""Column values of a job without a lease and without a reservation."""


def _create(connection: Connection, day: date, scorer_pk: int, account: str = NIGHTLY) -> None:
    amounts = {"spent_usd": 0.0, "reserved_usd": 0.0, "presumed_usd": 0.0}
    values = {"day": day, "account": account, "scorer_pk": scorer_pk, **amounts}
    connection.execute(insert_ignore(connection, spend), [values])


def book(
    connection: Connection,
    day: date,
    scorer_pk: int,
    account: str = NIGHTLY,
    *,
    spent: float = 0.0,
    reserved: float = 0.0,
    presumed: float = 0.0,
) -> None:
    """Add amounts to a scorer's account of a day, US dollars, negative to subtract; reservations never go below 0."""
    if not (spent or reserved or presumed):
        return
    _create(connection, day, scorer_pk, account)
    left = spend.c.reserved_usd + reserved
    maximum = func.max if connection.dialect.name == "sqlite" else func.greatest
    connection.execute(
        update(spend)
        .where(spend.c.day == day, spend.c.scorer_pk == scorer_pk, spend.c.account == account)
        .values(
            spent_usd=spend.c.spent_usd + spent,
            reserved_usd=maximum(0.0, left),
            presumed_usd=spend.c.presumed_usd + presumed,
        )
    )
