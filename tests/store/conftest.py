"""Empty stores for the tests of the store: SQLite copied, and one PostgreSQL database that is emptied for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import servers, stores
from worker.store import tables
from worker.store.engine import Store


@pytest.fixture(scope="session")
def emptied(databases: servers.Databases, postgres_ready: str) -> str:
    """A PostgreSQL database of the store's tests."""
    return databases(postgres_ready)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, of each kind in turn."""
    if request.param == "sqlite":
        opened = Store(stores.sqlite_copy(request.getfixturevalue("sqlite_ready"), tmp_path))
    else:
        opened = Store(request.getfixturevalue("emptied"))
        with opened.write() as connection:
            names = ", ".join(f'"{name}"' for name in tables.metadata().tables)
            connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
    yield opened
    opened.close()
