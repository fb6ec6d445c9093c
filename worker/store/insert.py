"""INSERT … ON CONFLICT DO NOTHING for both databases."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite


def insert_ignore(connection: Connection, table: Any) -> Any:  # noqa: ANN401 the two dialects share no public type
    """An INSERT that skips rows whose unique key exists; the result's rowcount is the number of new rows."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    # preserve_rowcount: otherwise PostgreSQL's driver loses the number of rows that an INSERT stored
    return dialect.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
