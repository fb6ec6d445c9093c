"""INSERT … ON CONFLICT DO NOTHING for both databases."""

from importlib import import_module
from typing import Any

from sqlalchemy import Connection


def insert_ignore(connection: Connection, table: Any) -> Any:  # noqa: ANN401 the two dialects share no public type
    """An INSERT that skips rows whose unique key exists; the result's rowcount is the number of new rows."""
    # a project has one of the two databases, and PostgreSQL's dialect takes 25 ms of CPU to import
    dialect = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    # preserve_rowcount: otherwise PostgreSQL's driver loses the number of rows that an INSERT stored
    return dialect.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
