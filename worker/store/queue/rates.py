"""How fast each worker process asks each model, as it last said; and how many calls there ever were.

A row is what one process saw in its last seconds of work. The counts of all processes and times stand in a row of no
process, and only grow, whoever starts or ends.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from worker.store.tables import PaceRow, core

pace = core(PaceRow)
ALL_PROCESSES = ""
"""Who the counts of all processes and times belong to."""
KEEP = timedelta(days=1)
"""After so long a process that says nothing is forgotten."""


class Calls(NamedTuple):
    """Calls that ended."""

    answered: int = 0
    refused: int = 0
    """With 429."""
    failed: int = 0
    """Without an answer: 5xx, time-outs, hang-ups."""

    def since(self, before: "Calls") -> "Calls":
        """Those that came after."""
        return Calls(*(now - then for now, then in zip(self, before, strict=True)))


class RateReading(NamedTuple):
    """What one process last said of one model."""

    worker: str
    """`host:pid` of the process that asks: a child of the worker that `worker` knows, or that one itself."""
    model: str
    server: str
    """The judge's address as it may be shown."""
    at: datetime
    since_at: datetime
    """Start of the counts, some seconds before `at`."""
    in_flight: int
    waiting: int
    """Calls that are ready and wait for their turn."""
    limit: int
    """Calls that may be under way."""
    per_second: float | None
    """Calls that may start in a second; None while nothing bounds them."""
    answered: int
    refused: int
    failed: int
    latency_s: float | None
    """Of an answer, lately; None before the first."""
    resumes_at: datetime | None
    """When the next call may start, where the server is left alone."""
    trouble: str | None
    """Why nothing is asked any more; None without trouble."""


def record_rates(connection: Connection, readings: Sequence[RateReading], fresh: Mapping[str, Calls]) -> None:
    """Say how fast a process asks.

    Args:
        connection: A write transaction.
        readings: One a model; each replaces what the process said before.
        fresh: Calls by model that nobody has counted yet.
    """
    for one in sorted(readings, key=lambda one: one.model):
        _upsert(connection, one._asdict(), adds=())
    if not readings:
        return
    at = max(one.at for one in readings)
    for model, calls in sorted(fresh.items()):  # in one order, so that two processes never wait for one another
        nothing = {"server": "", "in_flight": 0, "waiting": 0, "limit": 0}
        values = {"worker": ALL_PROCESSES, "model": model, "at": at, "since_at": at, **nothing, **calls._asdict()}
        _upsert(connection, values, adds=Calls._fields)
    connection.execute(delete(pace).where(pace.c.worker != ALL_PROCESSES, pace.c.at < at - KEEP))


def _upsert(connection: Connection, values: Mapping[str, Any], *, adds: Sequence[str]) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(pace).values(**values)
    said = statement.excluded
    changed = {name: said[name] for name in values if name not in ("worker", "model")}
    if adds:
        changed = {"at": said.at, **{name: pace.c[name] + said[name] for name in adds}}
    connection.execute(statement.on_conflict_do_update(index_elements=["worker", "model"], set_=changed))


def forget_process(connection: Connection, worker: str) -> None:
    """A process has ended in order; what troubled it stays to be read."""
    connection.execute(delete(pace).where(pace.c.worker == worker, pace.c.trouble.is_(None)))


def readings(connection: Connection, now: datetime) -> list[RateReading]:
    """What every process said in the last day, the newest first."""
    statement = select(*(pace.c[name] for name in RateReading._fields)).where(
        pace.c.worker != ALL_PROCESSES, pace.c.at >= now - KEEP
    )
    return [RateReading(*row) for row in connection.execute(statement.order_by(pace.c.at.desc(), pace.c.worker))]


def total_calls(connection: Connection) -> dict[str, Calls]:
    """Calls of all processes and times, by model."""
    counts = (pace.c[name] for name in Calls._fields)
    statement = select(pace.c.model, *counts).where(pace.c.worker == ALL_PROCESSES).order_by(pace.c.model)
    return {model: Calls(*row) for model, *row in connection.execute(statement)}
