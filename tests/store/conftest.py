"""Empty stores quickly: one migrated database of each kind is made once and emptied for every test."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from worker.store import schema
from worker.store.engine import Store


def _migrated(url: str) -> None:
    opened = Store(url)
    schema.ensure(opened)
    opened.close()


@pytest.fixture(scope="session")
def sqlite_ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("ready") / "spotcheck.db"
    _migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_ready(postgres_url: Callable[[], str]) -> str:
    """A database with the schema, to be emptied."""
    url = postgres_url()
    _migrated(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, of each kind in turn."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("sqlite_ready"), tmp_path / "spotcheck.db")
        opened = Store(f"sqlite:///{path}")
    else:
        opened = Store(request.getfixturevalue("postgres_ready"))
        with opened.write() as connection:
            names = ", ".join(f'"{name}"' for name in SQLModel.metadata.tables)
            connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
    yield opened
    opened.close()
