"""Which of the due jobs a claim may have: the most that each can cost is reserved in order, while the caps allow it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, select

from worker.store.budget.accounts import Bookings, SpendingLimits, book, month_of, scorer, spend

_DUST_USD = 1e-9
"""Rounding left over by many small sums; far below one token of any model."""


class Priced(Protocol):
    """A job with what is reserved for it already."""

    @property
    def scorer_pk(self) -> int:
        """Whose job it is."""

    @property
    def night(self) -> date:
        """The night it belongs to."""

    @property
    def reserved_usd(self) -> float:
        """Held from an earlier try."""

    @property
    def reserved_day(self) -> date | None:
        """The day it is held on."""


Due = TypeVar("Due", bound=Priced)


class ReservationPlan(Generic[Due]):
    """The jobs that fit, of those that are offered in the order of work.

    The first that does not fit the caps of all judging ends it. One that does not fit its rubric's own cap is passed
    over, and with it every later one of that rubric, while the others go on. Never skips to a cheaper one: that would
    select short runs. Only who holds from an earlier try all that it needs is kept waiting by nobody.
    """

    def __init__(self, connection: Connection, money: SpendingLimits) -> None:
        """Look at the accounts; under the lock of the day."""
        self._money = money
        month = month_of(money.day)
        accounts = _accounts(connection, month if money.is_by_month else (money.day, money.day))
        today = (money.day, money.day)
        self._of_all = [_Funds(money.cap_usd, today, accounts)] if money.cap_usd < math.inf else []
        if money.month_cap_usd is not None:
            self._of_all.append(_Funds(money.month_cap_usd, month, accounts))
        self._own: dict[str, list[_Funds]] = {}
        self._rubric: dict[int, str] = {}
        for name, pks in _versions(connection, money.rubrics).items():
            cap = money.rubrics[name]
            caps = [(cap.usd_per_day, today), (cap.usd_per_month, month)]
            self._own[name] = [_Funds(usd, days, accounts, pks) for usd, days in caps if usd is not None]
            self._rubric |= dict.fromkeys(pks, name)
        self.fits: list[Due] = []
        self.stopped: Due | None = None
        """The first job that did not fit the caps of all."""
        self.passed_over: dict[str, Due] = {}
        """The first job of each rubric that did not fit its own."""

    @property
    def passed_over_pks(self) -> list[int]:
        """Scorers whose jobs are passed over."""
        return [pk for pk, name in self._rubric.items() if name in self.passed_over]

    def offer(self, jobs: Iterable[Due]) -> None:
        """Take those that fit."""
        for one in jobs:
            name = self._rubric.get(one.scorer_pk, "")
            own = self._own.get(name, [])
            most = self._most(one)
            if not all(purse.is_held_by(one, most) for purse in (*self._of_all, *own)):
                if self.stopped is not None:
                    continue
                if name in self.passed_over or not all(purse.has_room(one, most) for purse in own):
                    self.passed_over.setdefault(name, one)
                    continue
                if not all(purse.has_room(one, most) for purse in self._of_all):
                    self.stopped = one
                    continue
            for purse in (*self._of_all, *own):
                purse.take(one, most)
            self.fits.append(one)

    def spent_out(self) -> Iterator[tuple[date, list[int] | None]]:
        """Nights to be cut, with the scorers it is for; None for all.

        Money that is held may still come back: then it is too early to say that the budget is spent.
        """
        if self.stopped is not None and not self.fits and not self._of_all[-1].may_return:
            yield self.stopped.night, None
        served = {self._rubric.get(one.scorer_pk) for one in self.fits}
        for name, first in self.passed_over.items():
            if name not in served and not any(purse.may_return for purse in self._own[name]):
                yield first.night, [pk for pk, rubric in self._rubric.items() if rubric == name]

    def book(self, connection: Connection) -> list[float]:
        """Reserve; what a job holds on an earlier day is freed there.

        Returns:
            What is held now for each job that fits, US dollars.
        """
        day = self._money.day
        booked: Bookings = defaultdict(float)
        held = []
        for one in self.fits:
            if one.reserved_day is not None:
                booked[one.reserved_day, one.scorer_pk] -= one.reserved_usd
            kept = one.reserved_usd if one.reserved_day == day else 0.0
            held.append(max(kept, self._most(one)))
            booked[day, one.scorer_pk] += held[-1]
        for account_of, amount in sorted(booked.items()):
            book(connection, *account_of, reserved=amount)
        return held

    def _most(self, one: Due) -> float:
        return self._money.max_usd.get(one.scorer_pk, 0.0)


class _Account(NamedTuple):
    """What one scorer has spent and holds on one day."""

    day: date
    scorer_pk: int
    spent_usd: float
    reserved_usd: float


class _Funds:
    """What one cap leaves, of the days and scorers that it counts."""

    def __init__(
        self, cap_usd: float, days: tuple[date, date], accounts: Sequence[_Account], pks: frozenset[int] | None = None
    ) -> None:
        counted = [one for one in accounts if days[0] <= one.day <= days[1] and (pks is None or one.scorer_pk in pks)]
        held_usd = math.fsum(one.reserved_usd for one in counted)
        self.may_return = held_usd > _DUST_USD
        """Whether others hold some of it."""
        self._left_usd = cap_usd - math.fsum(one.spent_usd for one in counted) - held_usd
        self._days = days

    def has_room(self, one: Priced, most_usd: float) -> bool:
        """Whether there is what a job needs beside what it holds."""
        return self._needs(one, most_usd) <= self._left_usd + _DUST_USD

    def is_held_by(self, one: Priced, most_usd: float) -> bool:
        """Whether a job holds all that it needs."""
        return self._kept(one) > 0 and self._needs(one, most_usd) <= _DUST_USD

    def take(self, one: Priced, most_usd: float) -> None:
        """Keep for a job what it needs."""
        self._left_usd -= self._needs(one, most_usd)

    def _needs(self, one: Priced, most_usd: float) -> float:
        return max(0.0, most_usd - self._kept(one))

    def _kept(self, one: Priced) -> float:
        is_counted = one.reserved_day is not None and self._days[0] <= one.reserved_day <= self._days[1]
        return one.reserved_usd if is_counted else 0.0


def _accounts(connection: Connection, days: tuple[date, date]) -> list[_Account]:
    columns = (spend.c.day, spend.c.scorer_pk, spend.c.spent_usd, spend.c.reserved_usd)
    return [_Account(*row) for row in connection.execute(select(*columns).where(spend.c.day.between(*days)))]


def _versions(connection: Connection, names: Iterable[str]) -> dict[str, frozenset[int]]:
    """Every scorer of these rubrics, by name; one that was registered a moment ago by another worker counts too."""
    found: dict[str, frozenset[int]] = {}
    if wanted := list(names):
        for name, pk in connection.execute(select(scorer.c.name, scorer.c.pk).where(scorer.c.name.in_(wanted))):
            found[name] = found.get(name, frozenset()) | {pk}
    return found
