"""Batches on their way through a judge's batch lane. A row says how far each is, so that any process can go on.

A batch's jobs are leased to it, not to a process: they wait for a server for up to a day. Whoever works on a batch
holds its row for a while, by moving `look_at` on; what it then writes counts only while the row is still its own.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from worker.store.queue.job import Job
from worker.store.tables import BatchRow, JobRow, core

batch, job = core(BatchRow), core(JobRow)
LEASE_S = 30 * 86_400.0
"""Of a batch's jobs: nobody else takes them, whatever becomes of the processes; the batch's own steps give them up."""
HOLD_S = 90.0
"""How long a batch is left to whoever works on it, without news of them."""
_PREFIX = "batch:"
_SHOWN_DAYS = 2


class BatchTaken(Exception):
    """Another process works on this batch."""


class Batch(NamedTuple):
    """How far a batch is; fields as in the table."""

    pk: int
    server: str
    model: str
    state: str
    jobs: int
    file_id: str | None
    batch_id: str | None
    server_state: str | None
    completed: int
    trouble: str | None
    tries: int
    collected: int
    cost_usd: float
    cost_at_once_usd: float
    created_at: datetime
    submitted_at: datetime | None
    deadline_at: datetime
    look_at: datetime
    done_at: datetime | None

    @property
    def owner(self) -> str:
        """The name that its jobs are leased to."""
        return owner_of(self.pk)


_COLUMNS = [batch.c[name] for name in Batch._fields]


def owner_of(pk: int) -> str:
    """The name that a batch's jobs are leased to."""
    return f"{_PREFIX}{pk}"


def is_batch(owner: str) -> bool:
    """Whether a lease's owner is a batch."""
    return owner.startswith(_PREFIX)


def start_batch(connection: Connection, server: str, model: str, now: datetime, *, deadline_at: datetime) -> Batch:
    """A batch to be filled, held by the caller."""
    values = {
        "server": server,
        "model": model,
        "state": "filling",
        "is_too_much": False,
        **dict.fromkeys(("jobs", "completed", "tries", "collected", "cost_usd", "cost_at_once_usd"), 0),
        "created_at": now,
        "deadline_at": deadline_at,
        "look_at": now + timedelta(seconds=HOLD_S),
    }
    return Batch(*connection.execute(insert(batch).values(**values).returning(*_COLUMNS)).one())


def claim_due(connection: Connection, server: str, now: datetime) -> Batch | None:
    """Hold the batch of a server that has waited longest to be looked at; None when none is due."""
    chosen = (
        select(batch.c.pk)
        .where(batch.c.server == server, batch.c.state != "done", batch.c.look_at <= now)
        .order_by(batch.c.look_at, batch.c.pk)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    statement = update(batch).where(batch.c.pk == chosen).values(look_at=now + timedelta(seconds=HOLD_S))
    row = connection.execute(statement.returning(*_COLUMNS)).one_or_none()
    return None if row is None else Batch(*row)


def record_progress(connection: Connection, held: Batch, **values: Any) -> Batch:  # noqa: ANN401 the fields of Batch
    """Write down how far a batch is.

    Raises:
        BatchTaken: It was not held any more.
    """
    statement = update(batch).where(batch.c.pk == held.pk, batch.c.look_at == held.look_at).values(**values)
    row = connection.execute(statement.returning(*_COLUMNS)).one_or_none()
    if row is None:
        raise BatchTaken(f"batch {held.pk} is worked on by another process")
    return Batch(*row)


def discard_empty(connection: Connection, held: Batch) -> Batch:
    """Forget a batch that nothing went into."""
    connection.execute(delete(batch).where(batch.c.pk == held.pk, batch.c.look_at == held.look_at))
    return held._replace(state="done")


def jobs_of(connection: Connection, pk: int) -> list[Job]:
    """The jobs that are still leased to a batch, by key. Uses the partial index job_leases."""
    columns = [job.c[name] for name in Job._fields]
    statement = select(*columns).where(job.c.state == "leased", job.c.lease_owner == owner_of(pk))
    return [Job(*row) for row in connection.execute(statement.order_by(job.c.pk))]


def max_jobs(connection: Connection, server: str, model: str, now: datetime, most: int) -> int:
    """How many jobs a batch should have: half as many as the last one that a server found too much, for a day."""
    refused = select(func.min(batch.c.jobs)).where(
        batch.c.server == server,
        batch.c.model == model,
        batch.c.is_too_much,
        batch.c.done_at >= now - timedelta(days=1),
    )
    found = connection.execute(refused).scalar_one()
    return most if found is None else max(1, min(most, found // 2))


def next_poll_at(connection: Connection) -> datetime | None:
    """When the next batch wants to be looked at; None without open batches."""
    statement = select(func.min(batch.c.look_at)).where(batch.c.state != "done")
    found: datetime | None = connection.execute(statement).scalar_one()
    return found


def recent_batches(connection: Connection, now: datetime) -> Sequence[Batch]:
    """Batches that are open, and those that ended in the last two days, the oldest first."""
    since = now - timedelta(days=_SHOWN_DAYS)
    statement = select(*_COLUMNS).where((batch.c.state != "done") | (batch.c.done_at >= since)).order_by(batch.c.pk)
    return [Batch(*row) for row in connection.execute(statement)]
