"""Small values of the installation, by key."""

from sqlalchemy import Connection, select, update

from worker.store.insert import insert_ignore
from worker.store.tables import MetaRow, core

meta = core(MetaRow)


def get_meta(connection: Connection, key: str) -> str | None:
    """A fact about the installation; None when it was never said."""
    return connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar_one_or_none()


def set_meta_once(connection: Connection, key: str, value: str) -> str:
    """Say a fact unless it was said before.

    Returns:
        What holds now.
    """
    connection.execute(insert_ignore(connection, meta), [{"key": key, "value": value}])
    return get_meta(connection, key) or value


def set_meta(connection: Connection, key: str, value: str) -> None:
    """Say a fact, whatever was said before."""
    if connection.execute(update(meta).where(meta.c.key == key).values(value=value)).rowcount == 0:
        set_meta_once(connection, key, value)
