"""One project with seven weeks behind it that most tests of the report read, and empty stores."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import stores
from tests.support.history import Made, document, make, night, settings
from worker.project.project import Project
from worker.store.engine import Store

DROPPED_SINCE = 12
"""Nights before the last from which on most refunds of the new version are poor."""


def _runs() -> Iterator[dict[str, Any]]:
    rng = random.Random(7)
    for back in range(49):
        for task_type, count in (("refund", 10), ("faq", 12)):
            for number in range(count):
                is_new = task_type == "refund" and back <= DROPPED_SINCE
                failed = rng.random() < (0.6 if task_type == "faq" and back < 7 else 0.03)
                step = {"kind": "tool", "name": "look_up", "arguments": {"order": number}, "result": "found"}
                yield document(
                    f"{task_type}-{back:02}-{number}",
                    night(back),
                    task_type=task_type,
                    agent_version="2.0" if is_new else "1.0",
                    cost_usd=rng.lognormvariate(-4, 0.2) * (1.8 if task_type == "refund" and back < 7 else 1),
                    status="errored" if number == 0 and back % 5 == 0 else "completed",
                    steps=[step | ({"error": "timeout"} if failed else {})],
                )


def _verdict(scorer: str, run_id: str) -> float | str:
    if scorer == "answer_present":
        return 1.0
    task_type, back, _ = run_id.split("-")
    rate = 0.5 if task_type == "refund" and int(back) <= DROPPED_SINCE else 0.1
    return 0.0 if random.Random(run_id).random() < rate else 1.0


@pytest.fixture(scope="session")
def _history(sqlite_ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    store = Store(stores.sqlite_copy(sqlite_ready, folder))
    make(store, _runs(), _verdict)
    store.close()
    return folder / stores.NAME


@pytest.fixture
def made(_history: Path, tmp_path: Path) -> Iterator[Made]:
    """Seven weeks: refund drops with version 2.0 and becomes dearer, faq's tool fails in the last."""
    store = Store(stores.sqlite_copy(_history, tmp_path))
    yield Made(Project(settings(store), store), store)
    store.close()


@pytest.fixture
def fresh(sqlite_ready: Path, tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite store."""
    store = Store(f"sqlite:///{shutil.copy(sqlite_ready, tmp_path / 'fresh.db')}")
    yield store
    store.close()
