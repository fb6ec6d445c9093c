"""Fixtures that all rooms share: empty stores on both databases, a Redis, made-up runs, a simulated judge."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support import selection, servers, stores
from tests.support.project import Installation
from tests.support.projects import OpenProject
from tests.support.shell import Shell
from worker.demo.judge.server import Answer, JudgeServer, simulated_verdict
from worker.records import Run
from worker.store.engine import Store

pytest_plugins = ["tests.support.report_history"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--both-stores`, `--slow`, `--rest`."""
    selection.add_options(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without those options, the fast tests."""
    selection.select(config, items)


_OWN = ("SPOTCHECK_", "OPENAI_", "COLUMNS", "LINES")
for _name in [name for name in os.environ if name.startswith(_OWN)]:
    del os.environ[_name]  # a developer's settings and terminal must not decide what a test sees

URLs = Callable[[], str]
T = TypeVar("T")


def _or_skip(server: AbstractContextManager[T]) -> Iterator[T]:
    """Absent on a laptop: skip, and say why. Absent in CI: fail."""
    try:
        started = server.__enter__()
    except servers.ServerMissing as missing:
        if servers.in_ci():
            raise
        pytest.skip(str(missing))
    try:
        yield started
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def databases() -> Iterator[servers.Databases]:
    """A PostgreSQL server for all tests of this process."""
    yield from _or_skip(servers.postgres(is_durable=False))


@pytest.fixture(scope="session")
def postgres_ready(databases: servers.Databases) -> str:
    """A PostgreSQL database with the schema, to be copied; nobody can connect to it."""
    return databases.seal(stores.migrate(databases()))


@pytest.fixture(scope="session")
def sqlite_ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema, to be copied."""
    folder = tmp_path_factory.mktemp("ready")
    stores.migrate(stores.sqlite_url(folder))
    return folder / stores.NAME


@pytest.fixture
def empty_postgres_url(databases: servers.Databases) -> Iterator[URLs]:
    """Makes a PostgreSQL database without a schema at each call; dropped after the test."""
    made: list[str] = []

    def fresh() -> str:
        made.append(databases())
        return made[-1]

    yield fresh
    for url in made:
        databases.drop(url)


@pytest.fixture
def postgres_url(databases: servers.Databases, postgres_ready: str) -> Iterator[URLs]:
    """Makes a PostgreSQL database with the schema at each call; dropped after the test."""
    made: list[str] = []

    def copy() -> str:
        made.append(databases(postgres_ready))
        return made[-1]

    yield copy
    for url in made:
        databases.drop(url)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[URLs]:
    """Gives an empty Redis database at each call."""
    yield from _or_skip(servers.redis())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the schema and nothing in it, of each kind in turn."""
    if request.param == "sqlite":
        return stores.sqlite_copy(request.getfixturevalue("sqlite_ready"), tmp_path)
    copy: URLs = request.getfixturevalue("postgres_url")
    return copy()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema, of each kind in turn."""
    if request.param == "sqlite":
        return stores.sqlite_url(tmp_path)
    fresh: URLs = request.getfixturevalue("empty_postgres_url")
    return fresh()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store, of each kind in turn."""
    opened = Store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def open_store() -> Iterator[stores.OpenStore]:
    """Opens stores as other processes would; closed after the test, however it ends."""
    with ExitStack() as opened:

        def open_one(url: str, *, pool_size: int = 2) -> Store:
            return opened.enter_context(closing(Store(url, pool_size=pool_size)))

        yield open_one


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
def now() -> datetime:
    """The time at which the test began, for tests of code that reads the clock itself."""
    return datetime.now(UTC)


@pytest.fixture
def open_project() -> Iterator[OpenProject]:
    """Opens projects, each as a new process would; their stores are closed after the test."""
    opener = OpenProject()
    yield opener
    opener.close()


@pytest.fixture
def installation(database_url: str) -> Iterator[Installation]:
    """Projects on one database with one simulated judge; every store that they open is closed at the end."""
    with JudgeServer(lambda request, headers: Answer(500)) as judge:
        made = Installation(database_url, judge)
        yield made
        made.close()
        assert not judge.requests.failures


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
