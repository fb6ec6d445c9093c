"""What judging has spent today and this month, in all and by rubric, beside what it may spend."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from worker.project.prices import spending_limits
from worker.project.project import Project
from worker.settings.sections_judge import RubricBudget
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance
from worker.store.budget.reserve import ReservationPlan

_NOTHING = AccountBalance(0.0, 0.0, 0.0)


class BudgetStatus(NamedTuple):
    """One account, US dollars."""

    rubric: str | None
    """None for all judging together."""
    today: AccountBalance
    """What nights cost; backfills have a budget of their own."""
    usd_per_day: float | None
    """Its cap; None without one."""
    month: AccountBalance
    """The calendar month until now, backfills included."""
    usd_per_month: float | None


def budgets(project: Project, connection: Connection) -> list[BudgetStatus]:
    """The account of all judging, then one for each rubric that has a cap or spent something this month, by name.

    Today is the calendar day of the clock in the schedule's time zone, as everywhere where money is spent.
    """
    policy = project.settings.judge
    day = project.nights.of(project.store.now(connection))
    month = accounts.month_of(day)
    of_all = BudgetStatus(
        None,
        accounts.day_balance(connection, day, accounts.NIGHTLY),
        policy.budget_usd_per_day,
        accounts.month_balance(connection, day),
        policy.budget_usd_per_month,
    )
    today = accounts.balances_by_rubric(connection, day, day, accounts.NIGHTLY)
    lately = accounts.balances_by_rubric(connection, *month)
    return [of_all] + [
        BudgetStatus(name, today.get(name, _NOTHING), caps.usd_per_day, lately.get(name, _NOTHING), caps.usd_per_month)
        for name in sorted({*lately, *policy.budgets})
        for caps in [policy.budgets.get(name, RubricBudget())]
    ]


_DUST_USD = 1e-9
Fit = Literal["yes", "probably", "unknown", "no"]
"""Whether the dearest case fits, only what is expected, or not even that; unknown without a price."""
_WORST = ("no", "unknown", "probably", "yes")


class Costs(NamedTuple):
    """What scores are going to cost, US dollars."""

    about_usd: float | None
    """By what such scores cost so far; None when it is unknown."""
    most_usd: float | None
    """When every answer is the dearest; None when a price is unknown."""


class BackfillFit(NamedTuple):
    """Whether a backfill fits the money that is left today, by the cap that decides."""

    rubric: str | None
    """Whose own cap it is; None for the cap of all judging."""
    left_usd: float
    """Neither spent nor reserved, US dollars; never below 0."""
    fit: Fit


def backfill_fit(project: Project, costs: Iterable[tuple[str, Costs]]) -> BackfillFit | None:
    """Whether a backfill can be paid today; None where no cap is set.

    Args:
        project: Whose budgets and accounts.
        costs: By rubric, a rubric as often as it has series.
    """
    judge = project.settings.judge
    if not judge.has_budget:
        return None
    with project.store.read() as connection:
        money = spending_limits(judge, project.nights, project.store.now(connection), {})
        left = ReservationPlan[Any](connection, money, accounts.BACKFILL).left_usd
    return tightest(left, costs)


def tightest(left: Mapping[str | None, float], costs: Iterable[tuple[str, Costs]]) -> BackfillFit | None:
    """Of several caps the one that decides; None without a cap that is asked for anything.

    Args:
        left: What each cap leaves, US dollars: of all judging under None, and by rubric.
        costs: As in `backfill_fit`.

    Example:
        >>> tightest({None: 5.0, "tone": 0.5}, [("tone", Costs(0.4, 0.9)), ("facts", Costs(1.0, 2.0))])
        BackfillFit(rubric='tone', left_usd=0.5, fit='probably')
        >>> tightest({}, [("tone", Costs(0.4, 0.9))]) is None
        True
    """
    own = list(costs)
    found = []
    for name, usd in left.items():
        asked = [cost for rubric, cost in own if name in (None, rubric)]
        if asked:
            found.append(BackfillFit(name, max(0.0, usd), _fit(usd, asked)))
    return min(found, key=lambda one: (_WORST.index(one.fit), one.left_usd), default=None)


def _fit(left_usd: float, costs: Iterable[Costs]) -> Fit:
    about, most = (_sum(amounts) for amounts in zip(*costs, strict=True))
    if most is None:
        return "unknown"
    if most <= left_usd + _DUST_USD:
        return "yes"
    return "probably" if about is not None and about <= left_usd + _DUST_USD else "no"


def _sum(amounts: Iterable[float | None]) -> float | None:
    known = list(amounts)
    return None if None in known else math.fsum(usd for usd in known if usd is not None)
