"""The meta table: single values about the installation, by key."""

from sqlalchemy import Connection, select, update

from worker.store.insert import insert_ignore
from worker.store.tables import MetaRow, core

meta = core(MetaRow)


def get_meta(connection: Connection, key: str) -> str | None:
    """The value of a key; None when it was never set."""
    return connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()


def set_meta_once(connection: Connection, key: str, value: str) -> str:
    """Set a key unless it is set already.

    Returns:
        The stored value.
    """
    connection.execute(insert_ignore(connection, meta), [{"key": key, "value": value}])
    return get_meta(connection, key) or value


def set_meta(connection: Connection, key: str, value: str) -> None:
    """Set a key, replacing its value."""
    if connection.execute(update(meta).where(meta.c.key == key).values(value=value)).rowcount == 0:
        set_meta_once(connection, key, value)
