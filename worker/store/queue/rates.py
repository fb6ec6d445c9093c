"""The request rate of each worker process to each model, and the total number of calls by model.

A row holds what one process reported of its last seconds of work. The totals over all processes and times stand in a
row of their own, with an empty worker name; they only grow.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select

from worker.store.insert import insert_into
from worker.store.tables import RateRow, core

pace = core(RateRow)
ALL_PROCESSES = ""
"""Worker name of the rows with the totals."""
KEEP = timedelta(days=1)
"""A process that has not reported for so long is removed."""


class Calls(NamedTuple):
    """Counts of calls that ended."""

    answered: int = 0
    refused: int = 0
    """With 429."""
    failed: int = 0
    """Without an answer: 5xx, time-outs, hang-ups."""

    def since(self, before: "Calls") -> "Calls":
        """The calls after an earlier count: the difference, field by field."""
        return Calls(*(now - then for now, then in zip(self, before, strict=True)))


class RateReading(NamedTuple):
    """The last report of one process about one model."""

    worker: str
    """`host:pid` of the process: the worker itself or one of its child processes."""
    model: str
    server: str
    """The judge's address without credentials."""
    at: datetime
    since_at: datetime
    """Start of the counts, some seconds before `at`."""
    in_flight: int
    waiting: int
    """Calls that are ready and wait for the limiter."""
    limit: int
    """Calls that may be in flight at a time."""
    per_second: float | None
    """Calls that may start in a second; None while the rate is not limited."""
    answered: int
    refused: int
    failed: int
    latency_s: float | None
    """Recent latency of an answer, seconds; None before the first answer."""
    resumes_at: datetime | None
    """When the next call may start, while the judge is paused; None otherwise."""
    trouble: str | None
    """Why the judge is not called any more; None when it is."""


def record_rates(connection: Connection, readings: Sequence[RateReading], fresh: Mapping[str, Calls]) -> None:
    """Store what a process reports, and add its new calls to the totals.

    Args:
        connection: A write transaction.
        readings: One for each model; each replaces the process's earlier report. None: nothing is written.
        fresh: Calls by model since the process's last report.
    """
    for reading in sorted(readings, key=lambda reading: reading.model):
        _upsert(connection, reading._asdict(), adds=())
    if not readings:
        return
    at = max(reading.at for reading in readings)
    for model, calls in sorted(fresh.items()):  # in one order, so that two processes cannot deadlock
        nothing = {"server": "", "in_flight": 0, "waiting": 0, "limit": 0}
        values = {"worker": ALL_PROCESSES, "model": model, "at": at, "since_at": at, **nothing, **calls._asdict()}
        _upsert(connection, values, adds=Calls._fields)
    connection.execute(delete(pace).where(pace.c.worker != ALL_PROCESSES, pace.c.at < at - KEEP))


def _upsert(connection: Connection, values: Mapping[str, Any], *, adds: Sequence[str]) -> None:
    statement = insert_into(connection, pace).values(**values)
    excluded = statement.excluded
    changed = {name: excluded[name] for name in values if name not in ("worker", "model")}
    if adds:
        changed = {"at": excluded.at, **{name: pace.c[name] + excluded[name] for name in adds}}
    connection.execute(statement.on_conflict_do_update(index_elements=["worker", "model"], set_=changed))


def forget_process(connection: Connection, worker: str) -> None:
    """Remove the reports of a process that ended in order, except those with a trouble to show."""
    connection.execute(delete(pace).where(pace.c.worker == worker, pace.c.trouble.is_(None)))


def readings(connection: Connection, now: datetime) -> list[RateReading]:
    """The reports of all processes in the last day, newest first."""
    statement = select(*(pace.c[name] for name in RateReading._fields)).where(
        pace.c.worker != ALL_PROCESSES, pace.c.at >= now - KEEP
    )
    return [RateReading(*row) for row in connection.execute(statement.order_by(pace.c.at.desc(), pace.c.worker))]


def total_calls(connection: Connection) -> dict[str, Calls]:
    """Calls of all processes and times by model, sorted by model."""
    counts = (pace.c[name] for name in Calls._fields)
    statement = select(pace.c.model, *counts).where(pace.c.worker == ALL_PROCESSES).order_by(pace.c.model)
    return {model: Calls(*row) for model, *row in connection.execute(statement)}
