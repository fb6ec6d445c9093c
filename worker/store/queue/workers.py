"""The heartbeat table of worker processes."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from worker.store.tables import JobRow, WorkerRow, core

worker, job = core(WorkerRow), core(JobRow)
SEPARATOR = " · "
"""Between the troubles of a worker, each of which begins with the kind of work and a colon."""
ALIVE_S = 45.0
"""A worker counts as gone after so many seconds without a heartbeat; heartbeats come every 15 s."""


def record_heartbeat(
    connection: Connection, name: str, lanes: Sequence[str], pid: int, now: datetime, *, release: str | None = None
) -> None:
    """Store a worker's heartbeat; rows without one for a day are deleted."""
    updated = connection.execute(update(worker).where(worker.c.name == name).values(seen_at=now, lanes=",".join(lanes)))
    if updated.rowcount == 0:
        values = {"name": name, "lanes": ",".join(lanes), "pid": pid, "started_at": now, "seen_at": now}
        values["release"] = release
        connection.execute(insert(worker).values(**values))
    connection.execute(delete(worker).where(worker.c.seen_at < now - timedelta(days=1)))


def note_configuration(connection: Connection, name: str, *, revision: int | None, trouble: str | None) -> None:
    """Write beside a worker's heartbeat what it works by; does nothing when there is no such worker.

    Args:
        connection: A write transaction.
        name: The worker.
        revision: Number of the revision; None leaves the one that is written.
        trouble: Why its configuration is not the active one, or what it cannot score; None when all is well.
    """
    values = {"trouble": trouble} | ({} if revision is None else {"revision": revision})
    connection.execute(update(worker).where(worker.c.name == name).values(**values))


def remove(connection: Connection, name: str) -> None:
    """Delete the row of a worker that has stopped; does nothing when there is none."""
    connection.execute(delete(worker).where(worker.c.name == name))


def live_workers(connection: Connection, now: datetime) -> Sequence[RowMapping]:
    """Workers whose heartbeat is not older than `ALIVE_S`, by name."""
    statement = select(worker).where(worker.c.seen_at >= now - timedelta(seconds=ALIVE_S)).order_by(worker.c.name)
    return connection.execute(statement).mappings().all()


def working_processes(connection: Connection, lane: str, now: datetime) -> int:
    """How many processes hold leased jobs of a lane; child processes count, idle ones do not. Uses job_leases."""
    held = (job.c.state == "leased", job.c.lease_until >= now, job.c.lane == lane)
    return connection.execute(select(func.count(job.c.lease_owner.distinct())).where(*held)).scalar_one()
