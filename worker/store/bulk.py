"""Bulk inserts: COPY on PostgreSQL, one prepared INSERT on SQLite, without SQLAlchemy's cost for each row."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import JSON, Connection, Date, Dialect, Table

from worker.store.tables import UtcDateTime

RowValues = Sequence[Any]
_Convert = Callable[[Any], Any]
_COPIED_AS = {
    "BIGINT": "int8",
    "INTEGER": "int4",
    "VARCHAR": "text",
    "TEXT": "text",
    "DATE": "date",
    "FLOAT": "float8",
    "BOOLEAN": "bool",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "BYTEA": "bytea",
    "JSON": "text",  # their binary forms are the same
}
"""By SQLAlchemy's compiled column type, PostgreSQL's type name for a binary COPY."""


def add(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[RowValues]) -> bool:
    """Insert rows whose keys are new.

    Args:
        connection: A write transaction.
        table: The table.
        names: Column names, in the order of the values.
        rows: Python values, converted as SQLAlchemy would. None is NULL, in JSON columns too.

    Returns:
        True when all rows are stored, or there were none. False on PostgreSQL when it refused them, most likely because
        another transaction has stored one of the keys: then none is stored, and an ordinary INSERT shows the error.
        SQLite skips rows whose key exists; it has no second writer.
    """
    if not rows:
        return True
    quote = connection.dialect.identifier_preparer.quote
    into = f"{quote(table.name)} ({', '.join(quote(name) for name in names)})"
    if connection.dialect.name == "postgresql":
        return _copy(connection, into, table, names, rows)
    marks = ", ".join("?" * len(names))
    sql = f"INSERT INTO {into} VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 our own table's names
    connection.exec_driver_sql(sql, [tuple(row) for row in _converted(connection.dialect, table, names, rows)])
    return True


def _copy(connection: Connection, into: str, table: Table, names: Sequence[str], rows: Sequence[RowValues]) -> bool:
    import psycopg  # only where it is the store's driver

    dialect = connection.dialect
    savepoint = connection.begin_nested()
    cursor: Any = connection.connection.cursor()
    try:
        with cursor.copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types([_COPIED_AS[table.c[name].type.compile(dialect)] for name in names])
            for row in _converted(dialect, table, names, rows):
                copy.write_row(row)
    except psycopg.Error:
        savepoint.rollback()
        return False
    finally:
        cursor.close()
    savepoint.commit()
    return True


def _converted(dialect: Dialect, table: Table, names: Sequence[str], rows: Iterable[RowValues]) -> Iterator[RowValues]:
    converts = [
        (index, convert) for index, name in enumerate(names) if (convert := _converter(dialect, table.c[name].type))
    ]
    for row in rows:
        values = list(row)
        for index, convert in converts:
            value = values[index]
            if value is not None:
                values[index] = convert(value)
        yield values


def _converter(dialect: Dialect, kind: Any) -> _Convert | None:  # noqa: ANN401 any column type
    """The conversion of a column's values for the driver; None where they need none."""
    if dialect.name == "sqlite" and isinstance(kind, UtcDateTime):
        return _utc_text
    if dialect.name == "sqlite" and isinstance(kind, Date):
        return date.isoformat
    if isinstance(kind, JSON):
        return json.dumps
    convert: _Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _utc_text(at: datetime) -> str:
    """A time in SQLAlchemy's text form for SQLite, at a tenth of its cost."""
    if at.tzinfo is None:
        raise ValueError("a naive time reached the store")
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(" ", "microseconds").removesuffix("+00:00")
