"""An insert that leaves a row that is there alone, in both dialects."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite


def insert_ignore(connection: Connection, table: Any) -> Any:  # noqa: ANN401 the two dialects share no public type
    """An INSERT that passes over rows whose unique key exists; its rowcount says how many were new."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    # preserve_rowcount: PostgreSQL's driver would forget how many rows an INSERT stored
    return dialect.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
