"""Batches of judge requests: one row records how far each batch is, so that any process can continue it.

A server takes up to a day to answer a batch, so its jobs are leased to the batch, not to a process. A process that
works on a batch first claims its row by moving `look_at` into the future; its writes are accepted only while `look_at`
still has the value that it set.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from worker.store.queue.job import Job
from worker.store.tables import BatchRow, JobRow, core

batch, job = core(BatchRow), core(JobRow)
LEASE_S = 30 * 86_400.0
"""Lease of a batch's jobs. Long enough never to expire by itself: only the batch's own steps release its jobs."""
HOLD_S = 90.0
"""How long a process may work on a batch without renewing its claim before another process may take it."""
_PREFIX = "batch:"
_SHOWN_DAYS = 2


class BatchTaken(Exception):
    """Another process has claimed this batch in the meantime."""


class Batch(NamedTuple):
    """One row of the batch table; see `BatchRow` for the fields."""

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
        """The lease owner of its jobs."""
        return owner_of(self.pk)


_COLUMNS = [batch.c[name] for name in Batch._fields]


def owner_of(pk: int) -> str:
    """The lease owner of a batch's jobs: `batch:PK`."""
    return f"{_PREFIX}{pk}"


def is_batch(owner: str) -> bool:
    """Whether a lease owner is a batch and not a worker process."""
    return owner.startswith(_PREFIX)


def start_batch(connection: Connection, server: str, model: str, now: datetime, *, deadline_at: datetime) -> Batch:
    """Create an empty batch in state `filling`, claimed by the caller."""
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
    """Claim the open batch of a server whose next step has been due the longest; None when none is due."""
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
    """Write fields of a batch that the caller has claimed.

    Raises:
        BatchTaken: The claim was lost to another process.
    """
    statement = update(batch).where(batch.c.pk == held.pk, batch.c.look_at == held.look_at).values(**values)
    row = connection.execute(statement.returning(*_COLUMNS)).one_or_none()
    if row is None:
        raise BatchTaken(f"batch {held.pk} is worked on by another process")
    return Batch(*row)


def discard_empty(connection: Connection, held: Batch) -> Batch:
    """Delete a claimed batch that no job went into."""
    connection.execute(delete(batch).where(batch.c.pk == held.pk, batch.c.look_at == held.look_at))
    return held._replace(state="done")


def jobs_of(connection: Connection, pk: int) -> list[Job]:
    """The jobs still leased to a batch, in the order of their keys. Uses the partial index job_leases."""
    columns = [job.c[name] for name in Job._fields]
    statement = select(*columns).where(job.c.state == "leased", job.c.lease_owner == owner_of(pk))
    return [Job(*row) for row in connection.execute(statement.order_by(job.c.pk))]


def max_jobs(connection: Connection, server: str, model: str, now: datetime, limit: int) -> int:
    """How many jobs the next batch may have, at most `limit`.

    When the server refused a batch as too large within the last day, half of the smallest refused one.
    """
    refused = select(func.min(batch.c.jobs)).where(
        batch.c.server == server,
        batch.c.model == model,
        batch.c.is_too_much,
        batch.c.done_at >= now - timedelta(days=1),
    )
    smallest_refused = connection.execute(refused).scalar_one()
    return limit if smallest_refused is None else max(1, min(limit, smallest_refused // 2))


def next_poll_at(connection: Connection) -> datetime | None:
    """When the next step of any open batch is due; None without open batches."""
    statement = select(func.min(batch.c.look_at)).where(batch.c.state != "done")
    earliest: datetime | None = connection.execute(statement).scalar_one()
    return earliest


def recent_batches(connection: Connection, now: datetime) -> Sequence[Batch]:
    """Open batches and those that ended in the last two days, oldest first."""
    since = now - timedelta(days=_SHOWN_DAYS)
    statement = select(*_COLUMNS).where((batch.c.state != "done") | (batch.c.done_at >= since)).order_by(batch.c.pk)
    return [Batch(*row) for row in connection.execute(statement)]
