"""What `spotcheck health` reads: whether due jobs are worked on and the scheduler ticks.

A container engine runs the check every half minute in every container. Importing SQLAlchemy and the tables would cost a
second of CPU each time, so this file uses the database driver and hand-written SQL; tests compare it with the tables.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from worker.errors import SettingsError, StoreError

SEPARATOR = " · "
ALIVE_S = 45.0
"""Both as in `store.queue.workers`."""
COUNTED = 1_000
"""Due jobs are counted up to one more than this."""
CONNECT_S = 5
LAST_TICK, TURN = "last_tick", "turn:"
"""Keys of the meta table: time of the last scheduler tick; prefix of how the last turn of a lane ended (JSON)."""
_URL = re.compile(
    r"postgres(?:ql)?(?:\+psycopg)?://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?(?::(?P<port>[^/?]*))?(?:/(?P<dbname>[^?]*))?(?:\?(?P<query>.*))?"
)
_TROUBLES = "SELECT text FROM alert WHERE kind = ? AND state = ? ORDER BY pk LIMIT 3"
Query = Any
"""A function that runs one statement and returns its rows."""


class LiveWorker(NamedTuple):
    """A worker with a recent heartbeat."""

    lanes: tuple[str, ...]
    started_at: datetime
    name: str = ""
    """HOST:PID."""
    trouble: str | None = None
    """Why its configuration is not the active one, or what it cannot score."""


class LaneHealth(NamedTuple):
    """The state of one lane of the job queue."""

    due: int
    """Jobs that a worker could take now; counted up to 1,001."""
    made_at: datetime | None
    """When the oldest due job without a retry time was queued, by the schedule's clock; None without one."""
    free_since: datetime | None
    """When the first of the other due jobs became due: its retry time came, or its lease expired; None without one."""
    held_until: datetime | None
    """When the last lease of the lane expires; None when nothing is leased."""
    turn_at: datetime | None
    """When a worker last ended a turn (one drain of the lane); None when none has."""
    trouble: str | None
    """Why the judge could not be used in that turn; None when it could."""


class Ended(NamedTuple):
    """How a rubric's jobs of the newest night ended."""

    scorer: str
    scored: int
    """1 where any has a score, else 0."""
    unscored: dict[str, int]
    """By reason; empty where one has a score."""


class StoreHealth(NamedTuple):
    """The state of workers, lanes and scheduler, as the database has it."""

    now: datetime
    workers: list[LiveWorker]
    lanes: dict[str, LaneHealth]
    last_tick: datetime | None
    """When the scheduler (beat) ticked last; None before its first tick."""
    ended: list[Ended]
    """A row for each rubric of the newest night; empty where the judge's lane is not asked about."""
    troubles: list[str]
    """Texts of the open alerts about the pipeline itself, the first ones."""


def read(url: str, lanes: Sequence[str]) -> StoreHealth:
    """Read the state of workers, lanes and scheduler.

    Args:
        url: The database, as the settings have it.
        lanes: `judge`, `heuristic`, or both.

    Raises:
        StoreError: The database does not answer, or has no schema.
        SettingsError: The URL is malformed, or names a database that is not supported.
    """
    with _connected(url) as query:
        now = _moment(query("SELECT CURRENT_TIMESTAMP")[0][0]) if url.startswith("postgres") else datetime.now(UTC)
        facts = dict(query("SELECT key, value FROM meta WHERE key = ? OR key LIKE ?", LAST_TICK, f"{TURN}%"))
        since = now - timedelta(seconds=ALIVE_S)
        alive = query("SELECT lanes, started_at, name, trouble FROM worker WHERE seen_at >= ?", since)
        return StoreHealth(
            now,
            [LiveWorker(tuple(str(served).split(",")), _moment(at), name, told) for served, at, name, told in alive],
            {lane: _lane(query, lane, now, facts.get(f"{TURN}{lane}")) for lane in lanes},
            _time(facts.get(LAST_TICK)),
            list(_ended(query)) if "judge" in lanes else [],
            [str(text) for (text,) in query(_TROUBLES, "pipeline", "open")],
        )


def _ended(query: Query) -> Iterator[Ended]:
    """As `store.queue.recent.ended_of_newest_night`, of the night that was enrolled last, whatever is active now."""
    rubrics = query(
        "SELECT s.pk, s.name, e.night FROM enrolment e JOIN scorer s ON s.pk = e.scorer_pk "
        "WHERE s.kind = 'judge' AND e.night = (SELECT max(night) FROM enrolment) ORDER BY s.name, s.pk"
    )
    mine = "FROM job WHERE night = ? AND scorer_pk = ? AND state ="
    for pk, name, night in rubrics:
        is_scored = bool(query(f"SELECT 1 {mine} 'scored' LIMIT 1", night, pk))
        counted = [] if is_scored else query(f"SELECT reason, count(*) {mine} 'unscored' GROUP BY reason", night, pk)
        yield Ended(name, int(is_scored), {str(reason): count for reason, count in counted})


def _lane(query: Query, lane: str, now: datetime, turn: str | None) -> LaneHealth:
    ((due, made_at, waited_until),) = query(
        "SELECT count(*), min(CASE WHEN not_before IS NULL THEN created_at END), min(not_before) FROM ("
        "SELECT created_at, not_before FROM job WHERE state = 'queued' AND lane = ? "
        "AND (not_before IS NULL OR not_before <= ?) ORDER BY night LIMIT ?) AS due",
        lane,
        now,
        COUNTED + 1,
    )
    ((held_until,),) = query("SELECT max(lease_until) FROM job WHERE state = 'leased' AND lane = ?", lane)
    ((lost, lost_at),) = query(
        "SELECT count(*), min(lease_until) FROM job WHERE state = 'leased' AND lane = ? AND lease_until < ?", lane, now
    )
    free_since = [at for at in (_time(waited_until), _time(lost_at)) if at is not None]
    noted = json.loads(turn) if turn else {}
    return LaneHealth(
        due + lost,
        _time(made_at),
        min(free_since, default=None),
        _time(held_until),
        _time(noted.get("at")),
        noted.get("trouble"),
    )


def _time(value: datetime | str | None) -> datetime | None:
    """A stored time as aware UTC: PostgreSQL gives a datetime, SQLite UTC text."""
    if value is None:
        return None
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _moment(value: datetime | str) -> datetime:
    at = _time(value)
    assert at is not None
    return at


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Query]:
    with _sqlite(url) if url.startswith("sqlite") else _postgresql(url) as query:
        yield query


@contextlib.contextmanager
def _sqlite(url: str) -> Iterator[Query]:
    import sqlite3  # each driver is imported only where it is used, to keep the check light

    _, separator, path = url.partition(":///")
    name = path.partition("?")[0].removeprefix("file:")
    if not separator or name in ("", ":memory:"):
        raise SettingsError("SPOTCHECK_DATABASE_URL is not a database URL; write sqlite:///FILE or postgresql://…")
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{_quoted(name)}?mode=rw", uri=True, timeout=CONNECT_S)
        ) as opened:
            yield lambda sql, *values: opened.execute(sql, [_text(value) for value in values]).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"sqlite:///{name}: {error}") from None


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _text(value: object) -> object:
    """A value in the form in which SQLAlchemy stores it in SQLite."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


@contextlib.contextmanager
def _postgresql(url: str) -> Iterator[Query]:
    arguments: dict[str, Any] = {"connect_timeout": str(CONNECT_S), **connect_arguments(url)}
    try:
        import psycopg
    except ImportError:
        raise SettingsError("PostgreSQL needs its driver: pip install 'spotcheck-worker[postgres]'") from None
    try:
        with psycopg.connect(**arguments, autocommit=True) as opened:
            yield lambda sql, *values: opened.execute(sql.replace("?", "%s"), values).fetchall()
    except psycopg.Error as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise StoreError(f"PostgreSQL at {arguments.get('host', 'this host')}: {message}") from None


def connect_arguments(url: str) -> dict[str, str]:
    """The driver's connection arguments in a PostgreSQL URL, read as SQLAlchemy reads it.

    Example:
        >>> connect_arguments("postgresql://me:p%40ss@db:5432/spotcheck?sslmode=require")
        {'user': 'me', 'password': 'p@ss', 'host': 'db', 'port': '5432', 'dbname': 'spotcheck', 'sslmode': 'require'}

    Raises:
        SettingsError: It is not a PostgreSQL URL.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise SettingsError("SPOTCHECK_DATABASE_URL is not a database URL; write sqlite:///FILE or postgresql://…")
    parts = match.groupdict()
    named = {
        "user": unquote(parts["user"] or ""),
        "password": unquote(parts["password"] or ""),
        "host": parts["ipv6"] or parts["host"],
        "port": parts["port"],
        "dbname": parts["dbname"],
    }
    query = parse_qs(parts["query"] or "")
    hosts = [host.partition(":") for host in query.get("host", ())]
    if len(hosts) > 1 and any(port for _, _, port in hosts):
        query |= {"host": [host for host, _, _ in hosts], "port": [port for _, _, port in hosts]}
    options = {name: ",".join(values) for name, values in query.items()}
    return {name: value for name, value in named.items() if value} | options
