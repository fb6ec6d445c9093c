"""The base class of the tables, and column types that behave alike on both databases."""

import re
from datetime import UTC, datetime

from sqlalchemy import BigInteger, Dialect, Integer, Table, Text
from sqlalchemy.types import DateTime, TypeDecorator
from sqlmodel import SQLModel

BigKey = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself only for INTEGER
_UNHOLDABLE = re.compile("[\0\ud800-\udfff]")


class TableBase(SQLModel):
    """The base class of all table classes."""

    # rows are written and read by Core statements, so that no validator of a table class is ever needed
    model_config = {"defer_build": True}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: TIMESTAMPTZ on PostgreSQL, UTC text on SQLite, which has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The value in UTC.

        Raises:
            ValueError: The time is naive.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time reached the store")
        at = value.astimezone(UTC)
        return at.replace(tzinfo=None) if dialect.name == "sqlite" else at

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The stored time, aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(TypeDecorator[str]):
    """Free text from outside; NUL and lone surrogates, which PostgreSQL refuses, become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text without characters that a database cannot hold."""
        if value is None:
            return None
        return _UNHOLDABLE.sub("\ufffd", value)


def core(row: type[SQLModel]) -> Table:
    """The SQLAlchemy Core table of a table class; the store's statements use it, not the ORM."""
    return SQLModel.metadata.tables[str(row.__tablename__)]
