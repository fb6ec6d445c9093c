"""A budget cuts the sample in its random order: one seed of the simulation; `python -m bench.simulations` has more."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from tests.support.ledger import job
from tests.support.shedding import MOST_USD, TASK_TYPES, Result, cut, simulate, z
from worker.store.engine import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copied(sqlite_ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Store]:
    """Makes an empty store."""
    return lambda: Store(f"sqlite:///{shutil.copy(sqlite_ready, tmp_path_factory.mktemp('shed') / 'spotcheck.db')}")


@pytest.fixture(scope="module")
def nights(copied: Callable[[], Store]) -> list[Result]:
    store = copied()
    found = simulate(store, 7, 40)
    with store.read() as connection:
        states = {row[0]: row[1] for row in connection.execute(select(job.c.state, func.count()).group_by(job.c.state))}
        cuts = connection.execute(select(func.count(cut.c.scorer_pk.distinct()), func.count())).one()
        again = connection.execute(select(func.count()).where(job.c.attempt > 1)).scalar_one()
    store.close()
    assert set(states) == {"scored", "shed"}
    assert 0.3 < states["shed"] / sum(states.values()) < 0.7
    assert again > 25
    assert cuts[0] == 2
    return found


@pytest.mark.parametrize("task_type", TASK_TYPES)
@pytest.mark.parametrize("rubric", MOST_USD)
def test_what_a_budget_leaves_is_unbiased(nights: list[Result], rubric: str, task_type: str) -> None:
    errors = [night.inverse[rubric, task_type] for night in nights]
    assert abs(z(errors)) < 3.5
    if task_type == "":
        assert abs(np.mean(errors)) < 0.02
        assert abs(np.mean([night.in_order[rubric, ""] for night in nights])) < 0.02


def test_cheapest_first_fails_the_same_check(copied: Callable[[], Store]) -> None:
    store = copied()
    found = simulate(store, 8, 25, by_cost=True)
    store.close()
    for rubric in MOST_USD:
        errors = [night.in_order[rubric, ""] for night in found]
        assert z(errors) > 3
        assert np.mean(errors) > 0.03
