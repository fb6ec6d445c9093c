"""INSERT … ON CONFLICT for both databases."""

from importlib import import_module
from typing import Any

from sqlalchemy import Connection


def insert_into(connection: Connection, table: Any) -> Any:  # noqa: ANN401 the two dialects share no public type
    """The INSERT of the connection's own dialect, which has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    # a project has one of the two databases, and PostgreSQL's dialect takes 25 ms of CPU to import
    dialect = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    return dialect.insert(table)


def insert_ignore(connection: Connection, table: Any) -> Any:  # noqa: ANN401 as above
    """An INSERT that skips rows whose unique key exists; the result's rowcount is the number of new rows."""
    # preserve_rowcount: otherwise PostgreSQL's driver loses the number of rows that an INSERT stored
    return insert_into(connection, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
