"""Drawn nights with a budget, and what their accounts hold."""

from datetime import date, timedelta

import pytest
from sqlalchemy import func, select

from tests.support.ledger import IS_HELD, LEASE_S, NIGHT, NOW, Ledger, job, judge
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance, SpendingLimits
from worker.store.engine import Store
from worker.store.queue.enrol import Registered
from worker.store.runs.draws import draw
from worker.store.tables import CutRow, core

DAY = NIGHT + timedelta(1)
NEXT_DAY = NIGHT + timedelta(2)
EXPIRED = NOW + timedelta(seconds=LEASE_S + 1)
cut = core(CutRow)


def drawn(store: Store, count: int, *names: str) -> tuple[Ledger, list[Registered], list[str]]:
    """A night of so many drawn runs for these judges."""
    ledger = Ledger(store)
    ids = ledger.add_runs(count)
    scorers = ledger.register(*(judge(name) for name in names or ("task_completion",)))
    ledger.draw(scorers)
    return ledger, scorers, ids


def cap(usd: float, scorers: list[Registered], *max_usd: float, day: date = DAY) -> SpendingLimits:
    return SpendingLimits(day, usd, {scorer.pk: most for scorer, most in zip(scorers, max_usd, strict=True)})


def account(store: Store, day: date = DAY) -> AccountBalance:
    """A day's account, after a check that it holds exactly what its jobs hold."""
    with store.read() as connection:
        held = connection.execute(
            select(func.coalesce(func.sum(job.c.reserved_usd), 0.0)).where(job.c.reserved_day == day, IS_HELD)
        ).scalar_one()
        found = accounts.day_balance(connection, day)
    assert found.reserved_usd == pytest.approx(held)
    return AccountBalance(*(round(amount, 9) for amount in found))


def cuts(store: Store) -> dict[tuple[str, int], float]:
    statement = select(draw.c.task_type, cut.c.scorer_pk, cut.c.threshold).join(draw, draw.c.pk == cut.c.draw_pk)
    with store.read() as connection:
        return {(task, pk): round(threshold, 9) for task, pk, threshold in connection.execute(statement)}
