"""Fixtures that all rooms share: empty stores on both databases, a Redis, made-up runs, a simulated judge."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.project import Installation
from tests.support.shell import Shell
from worker.demo.judge.server import Answer, JudgeServer, simulated_verdict
from worker.records import Run
from worker.store import schema
from worker.store.engine import Store

pytest_plugins = ["tests.support.report_history"]

_OWN = ("SPOTCHECK_", "OPENAI_", "COLUMNS", "LINES")
for _name in [name for name in os.environ if name.startswith(_OWN)]:
    del os.environ[_name]  # a developer's settings and terminal must not decide what a test sees

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
URLs = Callable[[], str]


def _or_skip(server: AbstractContextManager[URLs]) -> Iterator[URLs]:
    """Absent on a laptop: skip, and say why. Absent in CI: fail."""
    try:
        fresh = server.__enter__()
    except servers.ServerMissing as missing:
        if servers.in_ci():
            raise
        pytest.skip(str(missing))
    try:
        yield fresh
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[URLs]:
    """Makes an empty PostgreSQL database at each call."""
    yield from _or_skip(servers.postgres())


@pytest.fixture(scope="session")
def redis_url() -> Iterator[URLs]:
    """Gives an empty Redis database at each call."""
    yield from _or_skip(servers.redis())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'spotcheck.db'}"
    fresh: URLs = request.getfixturevalue("postgres_url")
    return fresh()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with its schema, of each kind in turn."""
    opened = Store(database_url)
    schema.ensure(opened)
    yield opened
    opened.close()


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    """A simulated judge on loopback that passes eight prompts in ten."""
    with JudgeServer(lambda request, headers: simulated_verdict(request, lambda prompt: 0.8)) as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def installation(database_url: str) -> Iterator[Installation]:
    """Projects on one database with one simulated judge; every store that they open is closed at the end."""
    with JudgeServer(lambda request, headers: Answer(500)) as judge:
        made = Installation(database_url, judge)
        yield made
        made.close()
        assert not judge.requests.failures


@pytest.fixture
def shared_data() -> Path:
    """The folder of real runs and captures."""
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here: real runs are not part of the project")
    return DATA


def _a_run(**over: Any) -> Run:
    fields: dict[str, Any] = {
        "run_id": "r-1",
        "task_type": "refund",
        "status": "completed",
        "ended_at": datetime(2026, 11, 20, 14, 2, tzinfo=UTC),
        "input": "Please refund order 4711, the lamp came broken.",
        "output": "I have refunded $41.50 for order 4711.",
    }
    return Run.model_validate(fields | over)


@pytest.fixture
def a_run() -> Callable[..., Run]:
    """Makes a believable run; give fields to change."""
    return _a_run
