"""Many rows into a table at once: the columns' own types, without SQLAlchemy's work a row; COPY on PostgreSQL."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import JSON, Connection, Date, Dialect, Table

from worker.store.tables import UtcDateTime

Row = Sequence[Any]
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
"""PostgreSQL's name for what a column compiles to."""


def add(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> bool:
    """Insert rows of new keys.

    Args:
        connection: A write transaction.
        table: Where to.
        names: Columns, in the order of the values.
        rows: The values, as the records have them; converted as SQLAlchemy would. None is NULL, in JSON too.

    Returns:
        True when all are stored. False on PostgreSQL when it refused them, most likely since another transaction
        stored one of the keys at this moment: none is stored then, and an ordinary INSERT will say why. SQLite passes
        over rows whose key exists, and has no second writer.
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


def _copy(connection: Connection, into: str, table: Table, names: Sequence[str], rows: Sequence[Row]) -> bool:
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


def _converted(dialect: Dialect, table: Table, names: Sequence[str], rows: Iterable[Row]) -> Iterator[Row]:
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
    """How a value of a column becomes the driver's; None where it stays what it is."""
    if dialect.name == "sqlite" and isinstance(kind, UtcDateTime):
        return _utc_text
    if dialect.name == "sqlite" and isinstance(kind, Date):
        return date.isoformat
    if isinstance(kind, JSON):
        return json.dumps
    convert: _Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _utc_text(at: datetime) -> str:
    """As SQLAlchemy writes a time into SQLite, at a tenth of the cost."""
    if at.tzinfo is None:
        raise ValueError("a naive time reached the store")
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(" ", "microseconds").removesuffix("+00:00")
