"""Creating, upgrading and checking the schema, always through Alembic, so that every path ends in the same schema."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, inspect

from worker.errors import SchemaOutdated, StoreError, StoreMissing
from worker.store.engine import Store

# Alembic is imported only where it is needed: it costs 0.2 s, and a current schema needs none of it
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
    """The schema version that this program needs: the number of the newest migration."""
    return max(path.name.split("_")[0] for path in _MIGRATIONS.glob("versions/[0-9]*.py"))


def state(store: Store) -> State:
    """How the database's schema compares with this program's; a missing file counts as empty and is not created."""
    if store.missing is not None:
        return "empty"
    with store.read() as connection:
        inspector = inspect(connection)
        version = None
        if inspector.has_table("alembic_version"):
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        is_empty = version is None and not inspector.get_table_names()
    if version is None:
        return "empty" if is_empty else "newer"
    if version == head():
        return "current"
    from alembic.script import ScriptDirectory

    revisions = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return "older" if version in revisions else "newer"


def insist_on_current(connection: Connection) -> None:
    """Check in a running process that the schema is still the one it was started with; one small query.

    Raises:
        SchemaOutdated: Another release has migrated it meanwhile.
    """
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version != head():
        raise SchemaOutdated(
            f"the database has schema {version} now, and this process was started for {head()}: "
            "it claims nothing more; start it again with the release that upgraded it"
        )


def upgrade(store: Store) -> None:
    """Migrate the schema to this program's version; safe to repeat, and for two processes at once."""
    with store.write() as connection:
        if store.dialect == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7307250)")  # two processes may start at once
        _run(connection)


def _run(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def ensure(store: Store, *, creates: bool = True) -> None:
    """Create the schema in an empty database; in any other check that its version is current.

    Args:
        store: The database.
        creates: Whether the schema may be created. Reading commands pass False: an empty database would look like
            good news.

    Raises:
        SchemaOutdated: The schema is older (`spotcheck db upgrade` helps), newer, or of another program.
        StoreMissing: The database is missing or empty, and `creates` is False.
    """
    version = state(store)
    if version == "empty" and not creates:
        raise StoreMissing(_nothing_there(store))
    if version == "empty":
        upgrade(store)
    elif version == "older":
        raise SchemaOutdated(f"{store.shown} has an older schema; run `spotcheck db upgrade`")
    elif version == "newer":
        raise SchemaOutdated(
            f"{store.shown} was made by a newer Spotcheck or by another program; "
            "install that version, or point SPOTCHECK_DATABASE_URL elsewhere"
        )


def _nothing_there(store: Store) -> str:
    path = store.missing
    if path is None:
        return f"{store.shown} is empty; ingest fills it (spotcheck ingest), or is this the wrong database?"
    path_text, doubt = (path, "file") if path.is_absolute() else (f"./{path}", "folder")
    return f"no database at {path_text}; ingest makes it (spotcheck ingest), or is this the wrong {doubt}?"


__all__ = ["State", "StoreError", "ensure", "head", "state", "upgrade"]
