"""The database connection: one engine per process, opened on first use, with read and write transactions.

Database errors are raised as `StoreError` with one line: the URL without secrets, the cause, and what to do.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.errors import SettingsError, StoreError

Dialect = Literal["sqlite", "postgresql"]
BUSY_TIMEOUT_S = 30.0
"""How long SQLite waits for another process's lock; `?timeout=SECONDS` in the URL overrides it."""
CONNECT_TIMEOUT_S = 10
"""Without it a command would hang for ever on a server that accepts connections and never answers."""
_PSYCOPG = {"connect_timeout": CONNECT_TIMEOUT_S, "prepare_threshold": None}
"""Nothing is prepared on the server: behind a pooler that gives each transaction another connection (PgBouncer before
1.21, RDS Proxy, Supabase), a prepared statement is there already, or is not there."""


class Store:
    """A database, opened on first use and again in each forked child process.

    An engine holds sockets and locks, so a child process must not use its parent's: it makes its own.
    """

    def __init__(self, url: str, *, pool_size: int = 2) -> None:
        """Check the URL; nothing is opened yet.

        Args:
            url: `sqlite:///FILE[?timeout=SECONDS]` or `postgresql://…`.
            pool_size: Connections kept open; as many again may be opened under load.

        Raises:
            SettingsError: The URL is malformed, or names a database that is not supported.
        """
        self._url = _parse(url)
        self._pool_size = pool_size
        self._engine: Engine | None = None
        self._pid = 0

    @property
    def dialect(self) -> Dialect:
        """`sqlite` or `postgresql`."""
        return "sqlite" if self._url.get_backend_name() == "sqlite" else "postgresql"

    @property
    def shown(self) -> str:
        """The URL with its password and other secrets masked, for messages."""
        query = {key: "***" if "password" in key.lower() else value for key, value in self._url.query.items()}
        return self._url.set(query=query).render_as_string(hide_password=True)

    @property
    def missing(self) -> Path | None:
        """The SQLite file, where it does not exist yet and opening would create it; None otherwise.

        Raises:
            StoreError: Its folder does not exist either.
        """
        if self.dialect == "postgresql":
            return None
        _insist_on_folder(self._url)
        path = Path(str(self._url.database).removeprefix("file:"))
        try:
            path.stat()
        except FileNotFoundError:
            return path
        except OSError:  # opening it will raise the reason
            return None
        return None

    @property
    def engine(self) -> Engine:
        """The engine of this process, created when needed."""
        if self._engine is None or self._pid != os.getpid():
            if self._engine is not None:
                self._engine.dispose(close=False)  # the sockets are the parent's: forget them, do not close them
            self._engine = _engine(self._url, self._pool_size)
            self._pid = os.getpid()
        return self._engine

    def close(self) -> None:
        """Close every connection of this process."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction with one snapshot, so that the figures of several queries agree.

        Raises:
            StoreError: The database does not answer, or refuses.
        """
        with self._one_line(), self.engine.connect() as connection:
            if self.dialect == "postgresql":  # SQLite's transactions are snapshots anyway
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self, *, patience_s: float | None = None) -> Iterator[Connection]:
        """A write transaction; on SQLite it takes the write lock at its start, so that it cannot fail half-way.

        Args:
            patience_s: Longest wait for another transaction's lock, seconds, for optional work; None: the usual wait.

        Raises:
            StoreError: The database does not answer, or refuses.
        """
        with self._one_line(), self.engine.connect() as connection:
            writing = connection.execution_options(spotcheck_writes=True, spotcheck_patience_s=patience_s)
            with writing.begin():
                if patience_s is not None and self.dialect == "postgresql":
                    writing.exec_driver_sql(f"SET LOCAL lock_timeout = {patience_s * 1000:.0f}")
                yield writing

    def now(self, connection: Connection) -> datetime:
        """The current time, aware UTC: the server's on PostgreSQL, since hosts' clocks differ, else this machine's."""
        if self.dialect == "sqlite":
            return datetime.now(UTC)
        at: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return at.astimezone(UTC)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StoreError(f"{self.shown}: {_first_line(error)}{_remedy(error)}") from error
        except PoolTimeout as error:
            raise StoreError(f"{self.shown}: every connection of this process is in use; try again") from error


def _parse(url: str) -> URL:
    if url.startswith("postgres://"):
        url = "postgresql" + url.removeprefix("postgres")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "SPOTCHECK_DATABASE_URL is not a database URL; write sqlite:///FILE or postgresql://…"
        ) from None
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        _insist_on_one_host(url)
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise SettingsError("SPOTCHECK_DATABASE_URL: a database in memory would be lost; write sqlite:///FILE")
        _busy_timeout_s(parsed)
        return parsed.set(drivername="sqlite")
    raise SettingsError(f"SPOTCHECK_DATABASE_URL: {parsed.drivername!r} is not supported; use sqlite or postgresql")


def _insist_on_one_host(url: str) -> None:
    """Refuse a password with an unescaped @: half of it would be taken for the host, and shown."""
    given = re.match(r"[\w+]+://[^:/]*:[^@]*@(?P<rest>.*)", url, re.DOTALL)
    if given and "@" in given["rest"]:
        raise SettingsError(
            "SPOTCHECK_DATABASE_URL holds more than one @; write one that belongs to the password as %40, and / as %2F"
        )


def _busy_timeout_s(url: URL) -> float:
    given = str(url.query.get("timeout", BUSY_TIMEOUT_S))
    if not re.fullmatch(r"\d{1,5}(\.\d{1,6})?", given):
        raise SettingsError(f"SPOTCHECK_DATABASE_URL: timeout={given} is no number of seconds")
    return float(given)


def _engine(url: URL, pool_size: int) -> Engine:
    # hide_parameters: a failed bulk insert would otherwise log its rows, judge texts included
    options: dict[str, Any] = {"hide_parameters": True, "pool_size": pool_size, "max_overflow": pool_size}
    try:
        if url.get_backend_name() == "sqlite":
            _insist_on_folder(url)
            engine = create_engine(url, **options)
            event.listen(engine, "connect", partial(_prepare_sqlite, _busy_timeout_s(url)))
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(url, pool_pre_ping=True, connect_args=_PSYCOPG, **options)
    except NoSuchModuleError:  # pragma: no cover  both dialects ship with SQLAlchemy
        raise SettingsError("this database needs a driver that is not installed") from None
    except ModuleNotFoundError:
        raise SettingsError("PostgreSQL needs its driver: pip install 'spotcheck-worker[postgres]'") from None


def _insist_on_folder(url: URL) -> None:
    folder = Path(str(url.database).removeprefix("file:")).parent
    try:
        is_there = folder.is_dir()
    except OSError as error:
        raise StoreError(f"{url}: folder {str(folder)!r} cannot be read: {error.strerror}") from None
    if not is_there:
        raise StoreError(f"{url}: folder {str(folder)!r} does not exist; create it first")


def _prepare_sqlite(busy_timeout_s: float, connection: Any, _: object) -> None:  # noqa: ANN401 a DBAPI connection
    connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={busy_timeout_s * 1000:.0f}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-65536")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    begin = "BEGIN IMMEDIATE" if options.get("spotcheck_writes") else "BEGIN"
    patience_s = options.get("spotcheck_patience_s")
    if patience_s is None:
        connection.exec_driver_sql(begin)
        return
    usual_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout={patience_s * 1000:.0f}")
    try:
        connection.exec_driver_sql(begin)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={usual_ms}")


_FULL = "; free some space, then repeat the command: nothing is lost"
_AWAY = "; the server went away: what was stored stands, repeat the command when it is back"


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]


def _remedy(error: SQLAlchemyError) -> str:
    message = str(error).lower()
    for sign, remedy in (
        ("no such table", "; run `spotcheck db upgrade`"),
        ("undefinedtable", "; run `spotcheck db upgrade`"),
        ("readonly", "; make the file and its folder writable"),
        ("unable to open", "; check the path and its rights"),
        ("database is locked", "; another process holds it for too long, try again"),
        ("disk is full", _FULL),
        ("disk i/o error", "; the disk, or your share of it, may be full" + _FULL.replace(";", ":", 1)),
        ("no space left", _FULL),
        ("malformed", "; the file is damaged: put a copy of it from before in its place"),
        ("connection refused", "; is the server running?"),
        ("no such file or directory", "; is the server running?"),
        ("authentication failed", "; check user and password in SPOTCHECK_DATABASE_URL"),
        ("no password supplied", "; check user and password in SPOTCHECK_DATABASE_URL"),
        ("permission denied", "; give this user the right to it"),
        ('" does not exist\n', "; create it, or check SPOTCHECK_DATABASE_URL"),
        ("closed the connection", _AWAY),
        ("terminating connection", _AWAY),
        ("connection is lost", _AWAY),
        ("in recovery mode", "; try again in a moment"),
        ("starting up", "; try again in a moment"),
        ("shutting down", "; try again when it is back"),
    ):
        if sign in message:
            return remedy
    return ""
