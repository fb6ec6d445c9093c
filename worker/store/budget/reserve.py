"""Which due jobs a claim may take: the most that each can cost is reserved, in order, while the caps allow it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, select

from worker.store.budget.accounts import BACKFILL, NIGHTLY, Bookings, SpendingLimits, book, month_of, scorer, spend

_DUST_USD = 1e-9
"""Rounding left over by many small sums; far below one token of any model."""


class Priced(Protocol):
    """A job with its reservation from an earlier attempt, if any."""

    @property
    def scorer_pk(self) -> int:
        """Key of its scorer."""

    @property
    def night(self) -> date:
        """The night it belongs to."""

    @property
    def account(self) -> str:
        """Whose money it spends: `nightly` or `backfill`."""

    @property
    def reserved_usd(self) -> float:
        """Reserved in an earlier attempt, US dollars; 0 for nothing."""

    @property
    def reserved_day(self) -> date | None:
        """The day on which it is reserved; None for nothing."""


Due = TypeVar("Due", bound=Priced)


class ReservationPlan(Generic[Due]):
    """Chooses, of jobs offered in the order of work, those whose cost fits the caps.

    The first job that does not fit the caps of all judging ends the plan. One that does not fit its rubric's own cap is
    passed over, with every later job of that rubric, while other rubrics go on. It never skips to a cheaper job: that
    would favour short runs. Only jobs that hold a full reservation from an earlier attempt are accepted in any case.
    """

    def __init__(self, connection: Connection, money: SpendingLimits, account: str = NIGHTLY) -> None:
        """Read the accounts; the caller has locked the day.

        Args:
            connection: A write transaction.
            money: The caps.
            account: Whose jobs are offered. A day's caps are for what nights cost, so that no backfill takes their
                money. Backfills have a cap of their own; without one they get what the nights' caps leave over. A
                month's caps are for both together.
        """
        self._money = money
        has_own_cap = account == BACKFILL and money.backfill_cap_usd is not None
        month = month_of(money.day)
        accounts = _accounts(connection, month if money.is_by_month else (money.day, money.day))
        counts_all = account == BACKFILL and not has_own_cap
        of_day = accounts if counts_all else [entry for entry in accounts if entry.account == account]
        today = (money.day, money.day)
        day_cap_usd = money.backfill_cap_usd if has_own_cap else money.cap_usd
        assert day_cap_usd is not None
        self._of_all = [_Funds(day_cap_usd, today, of_day)] if day_cap_usd < math.inf else []
        if money.month_cap_usd is not None:
            self._of_all.append(_Funds(money.month_cap_usd, month, accounts))
        self._of_rubric: dict[str, list[_Funds]] = {}
        self._rubric: dict[int, str] = {}
        for name, pks in _versions(connection, money.rubrics).items():
            cap = money.rubrics[name]
            own_day_cap_usd = None if has_own_cap else cap.usd_per_day
            caps = [(own_day_cap_usd, today, of_day), (cap.usd_per_month, month, accounts)]
            self._of_rubric[name] = [_Funds(usd, days, rows, pks) for usd, days, rows in caps if usd is not None]
            self._rubric |= dict.fromkeys(pks, name)
        self.fits: list[Due] = []
        self.stopped: Due | None = None
        """The first job that did not fit the caps of all judging."""
        self.passed_over: dict[str, Due] = {}
        """By rubric, the first job that did not fit the rubric's own cap."""

    @property
    def passed_over_pks(self) -> list[int]:
        """Keys of the scorers whose jobs are passed over."""
        return [pk for pk, name in self._rubric.items() if name in self.passed_over]

    @property
    def left_usd(self) -> dict[str | None, float]:
        """What the tightest cap leaves now, US dollars: of all judging under None, and by rubric; absent without a cap.

        Below 0 where more was spent.
        """
        of_caps = [(None, self._of_all), *self._of_rubric.items()]
        return {name: min(funds.left_usd for funds in caps) for name, caps in of_caps if caps}

    def offer(self, jobs: Iterable[Due]) -> None:
        """Add the jobs that fit to `fits`; sets `stopped` and `passed_over` for the others."""
        for job in jobs:
            name = self._rubric.get(job.scorer_pk, "")
            rubric_funds = self._of_rubric.get(name, [])
            max_usd = self._max_usd(job)
            if not all(funds.is_held_by(job, max_usd) for funds in (*self._of_all, *rubric_funds)):
                if self.stopped is not None:
                    continue
                if name in self.passed_over or not all(funds.has_room(job, max_usd) for funds in rubric_funds):
                    self.passed_over.setdefault(name, job)
                    continue
                if not all(funds.has_room(job, max_usd) for funds in self._of_all):
                    self.stopped = job
                    continue
            for funds in (*self._of_all, *rubric_funds):
                funds.take(job, max_usd)
            self.fits.append(job)

    def nights_to_cut(self) -> Iterator[tuple[date, list[int] | None]]:
        """Nights of jobs whose budget is spent, each with the scorers it is spent for; None for all scorers.

        While calls in flight hold reservations, part of that money may be freed again, so the budget is not spent yet.
        """
        if self.stopped is not None and not self.fits and not self._of_all[-1].has_reservations:
            yield self.stopped.night, None
        served = {self._rubric.get(job.scorer_pk) for job in self.fits}
        for name, first in self.passed_over.items():
            if name not in served and not any(funds.has_reservations for funds in self._of_rubric[name]):
                yield first.night, [pk for pk, rubric in self._rubric.items() if rubric == name]

    def book(self, connection: Connection) -> list[float]:
        """Reserve the most that each fitting job can cost; a reservation on an earlier day is freed there.

        Returns:
            The reservation of each job in `fits`, in order, US dollars.
        """
        day = self._money.day
        booked: Bookings = defaultdict(float)
        held = []
        for job in self.fits:
            if job.reserved_day is not None:
                booked[job.reserved_day, job.scorer_pk, job.account] -= job.reserved_usd
            kept = job.reserved_usd if job.reserved_day == day else 0.0
            held.append(max(kept, self._max_usd(job)))
            booked[day, job.scorer_pk, job.account] += held[-1]
        for account_of, amount in sorted(booked.items()):
            book(connection, *account_of, reserved=amount)
        return held

    def _max_usd(self, job: Due) -> float:
        return self._money.max_usd.get(job.scorer_pk, 0.0)


class _Account(NamedTuple):
    """What one scorer has spent and reserved on one day."""

    day: date
    account: str
    scorer_pk: int
    spent_usd: float
    reserved_usd: float


class _Funds:
    """What is left of one cap, which counts certain days and scorers."""

    def __init__(
        self, cap_usd: float, days: tuple[date, date], accounts: Sequence[_Account], pks: frozenset[int] | None = None
    ) -> None:
        counted = [acc for acc in accounts if days[0] <= acc.day <= days[1] and (pks is None or acc.scorer_pk in pks)]
        held_usd = math.fsum(account.reserved_usd for account in counted)
        self.has_reservations = held_usd > _DUST_USD
        """Whether part of the cap is only reserved: it may be freed again."""
        self.left_usd = cap_usd - math.fsum(account.spent_usd for account in counted) - held_usd
        """Neither spent nor reserved, US dollars."""
        self._days = days

    def has_room(self, job: Priced, max_usd: float) -> bool:
        """Whether what a job needs beyond its own reservation is left."""
        return self._needs(job, max_usd) <= self.left_usd + _DUST_USD

    def is_held_by(self, job: Priced, max_usd: float) -> bool:
        """Whether a job's own reservation covers all that it needs."""
        return self._kept(job) > 0 and self._needs(job, max_usd) <= _DUST_USD

    def take(self, job: Priced, max_usd: float) -> None:
        """Subtract what a job needs beyond its own reservation."""
        self.left_usd -= self._needs(job, max_usd)

    def _needs(self, job: Priced, max_usd: float) -> float:
        return max(0.0, max_usd - self._kept(job))

    def _kept(self, job: Priced) -> float:
        is_counted = job.reserved_day is not None and self._days[0] <= job.reserved_day <= self._days[1]
        return job.reserved_usd if is_counted else 0.0


def _accounts(connection: Connection, days: tuple[date, date]) -> list[_Account]:
    columns = (spend.c.day, spend.c.account, spend.c.scorer_pk, spend.c.spent_usd, spend.c.reserved_usd)
    return [_Account(*row) for row in connection.execute(select(*columns).where(spend.c.day.between(*days)))]


def _versions(connection: Connection, names: Iterable[str]) -> dict[str, frozenset[int]]:
    """Keys of every stored scorer of these rubrics, by name."""
    versions: dict[str, frozenset[int]] = {}
    if requested := list(names):
        for name, pk in connection.execute(select(scorer.c.name, scorer.c.pk).where(scorer.c.name.in_(requested))):
            versions[name] = versions.get(name, frozenset()) | {pk}
    return versions
