"""The schema's version: create, upgrade, check. Everything goes through Alembic, so every path ends in one schema."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, inspect

from worker.errors import SchemaOutdated, StoreError, StoreMissing
from worker.store.engine import Store

# Alembic is imported where it is needed: it costs a fifth of a second, and a schema that is right needs none of it.
if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
State = Literal["empty", "current", "older", "newer"]


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def head() -> str:
    """The version this program needs; migrations are named by their numbers."""
    return max(path.name.split("_")[0] for path in _MIGRATIONS.glob("versions/[0-9]*.py"))


def state(store: Store) -> State:
    """How the database's schema stands to this program's; a file that is not there is empty, and is not made."""
    if store.missing is not None:
        return "empty"
    with store.read() as connection:
        seen = inspect(connection)
        version = None
        if seen.has_table("alembic_version"):
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        is_empty = version is None and not seen.get_table_names()
    if version is None:
        return "empty" if is_empty else "newer"
    if version == head():
        return "current"
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return "older" if version in known else "newer"


def upgrade(store: Store) -> None:
    """Bring the schema to this program's version; safe to repeat, and safe for two processes at once."""
    with store.write() as connection:
        if store.dialect == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7307250)")  # two first starts at once
        _run(connection)


def _run(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def ensure(store: Store, *, creates: bool = True) -> None:
    """Create the schema in an empty database; otherwise insist on the right version.

    Args:
        store: The database.
        creates: Whether an empty or missing one is filled; a read must not, or it would give the all-clear on nothing.

    Raises:
        SchemaOutdated: Older: `spotcheck db upgrade` helps. Newer, or tables of something else: a person must decide.
        StoreMissing: There is none, and none may be made.
    """
    found = state(store)
    if found == "empty" and not creates:
        raise StoreMissing(_nothing_there(store))
    if found == "empty":
        upgrade(store)
    elif found == "older":
        raise SchemaOutdated(f"{store.shown} has an older schema; run `spotcheck db upgrade`")
    elif found == "newer":
        raise SchemaOutdated(
            f"{store.shown} was made by a newer Spotcheck or by another program; "
            "install that version, or point SPOTCHECK_DATABASE_URL elsewhere"
        )


def _nothing_there(store: Store) -> str:
    path = store.missing
    if path is None:
        return f"{store.shown} is empty; ingest fills it (spotcheck ingest), or is this the wrong database?"
    shown, doubt = (path, "file") if path.is_absolute() else (f"./{path}", "folder")
    return f"no database at {shown}; ingest makes it (spotcheck ingest), or is this the wrong {doubt}?"


__all__ = ["State", "StoreError", "ensure", "head", "state", "upgrade"]
