"""What judging has spent today and this month, in all and by rubric, beside what it may spend."""

from typing import NamedTuple

from sqlalchemy import Connection

from worker.project.project import Project
from worker.settings.sections_judge import RubricBudget
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance

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
