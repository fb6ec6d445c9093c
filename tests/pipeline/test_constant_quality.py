"""Through the product: what changes around a constant quality raises no alarm; a drop does, and where it happened.

One seed of each; `python -m bench.simulations` looks at more, `bench/drift/product.py` at many.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench.drift.product import (
    CUT_WEEK,
    DROP_WEEK,
    MONDAY,
    PLANTED,
    RATE_WEEK,
    TEMPTING,
    WEEKS,
    Setup,
    history,
    is_planted,
)
from worker.core.drift import scan
from worker.records import Cell
from worker.store.engine import Store
from worker.store.results import cells as summary


@pytest.mark.slow
def test_a_doubled_rate_a_cut_budget_and_quiet_weekends_raise_no_alarm(tmp_path: Path) -> None:
    told = history(tmp_path, 1, TEMPTING)
    assert [found.stream for found in told.found] == []

    cells = _cells(tmp_path)
    before, after, cut = (_flagged_scored(cells, week) for week in (RATE_WEEK - 1, RATE_WEEK, CUT_WEEK))
    assert after > 1.5 * before, "the rate did double"
    assert cut < 0.8 * after, "the budget did cut"
    assert _finds_in_pooled_scores(cells), "the same scores, as if all had been drawn alike, do raise one"


def _cells(folder: Path) -> Sequence[Cell]:
    store = Store(f"sqlite:///{folder / 'spotcheck.db'}")
    with store.read() as connection:
        (stream,) = summary.read_cells(connection, MONDAY, MONDAY + timedelta(weeks=WEEKS), aggregates_only=True)
    store.close()
    return stream.cells


def _flagged_scored(cells: Sequence[Cell], week: int) -> float:
    """The share of a week's flagged runs that was scored."""
    flagged = [cell for cell in cells if cell.flagged and (cell.night - MONDAY).days // 7 + 1 == week]
    return sum(cell.scored for cell in flagged) / sum(cell.population for cell in flagged)


def _finds_in_pooled_scores(cells: Sequence[Cell]) -> bool:
    """Whether a scan of plain sums, every night, finds something in a task type or overall."""
    task_types = {cell.task_type for cell in cells}
    for line in (task_types, *({task_type} for task_type in task_types)):
        n, s = np.zeros(7 * WEEKS), np.zeros(7 * WEEKS)
        for cell in cells:
            if cell.task_type in line:
                n[(cell.night - MONDAY).days] += cell.scored
                s[(cell.night - MONDAY).days] += cell.s
        for nights in range(scan.NIGHTS.learn, 7 * WEEKS + 1):
            if scan.scan(n[:nights], s[:nights], s[:nights], streams=len(task_types) + 1, false_alarms_per_year=2):
                return True
    return False


@pytest.mark.slow
def test_a_drop_of_20_points_is_found_in_its_task_type_and_nowhere_else(tmp_path: Path) -> None:
    found = history(tmp_path, 1, Setup(drop=0.2, rate=0.2, heuristics=())).found
    first = found[0].drift
    assert first.stream.task_type == PLANTED
    assert first.after < first.before - 0.1
    assert DROP_WEEK <= found[0].week <= DROP_WEEK + 1
    assert all(is_planted(finding) for finding in found)
