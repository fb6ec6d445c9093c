"""Databases with the schema, quickly: each kind is migrated once, and every test gets a copy."""

import shutil
from pathlib import Path
from typing import Protocol

from worker.store import schema
from worker.store.engine import Store

NAME = "spotcheck.db"
"""What a project's own SQLite file is called."""


class OpenStore(Protocol):
    """What the fixture `open_store` gives."""

    def __call__(self, url: str, *, pool_size: int = 2) -> Store:
        """A store that is closed after the test."""


def migrate(url: str) -> str:
    """Give a database the schema of this program; gives the URL back."""
    store = Store(url)
    schema.ensure(store)
    store.close()
    return url


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / NAME}"


def sqlite_copy(ready: Path, folder: Path) -> str:
    """The URL of a copy, in a folder, of a migrated file that nobody has open."""
    shutil.copyfile(ready, folder / NAME)
    return sqlite_url(folder)
