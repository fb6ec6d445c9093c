"""Which worker processes were seen alive."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from worker.store.tables import JobRow, WorkerRow, core

worker, job = core(WorkerRow), core(JobRow)
ALIVE_S = 45.0
"""A worker that was not seen for so many seconds counts as gone; it says so every fifteen."""


def record_heartbeat(connection: Connection, name: str, lanes: Sequence[str], pid: int, now: datetime) -> None:
    """Note that a worker is alive."""
    said = connection.execute(update(worker).where(worker.c.name == name).values(seen_at=now, lanes=",".join(lanes)))
    if said.rowcount == 0:
        values = {"name": name, "lanes": ",".join(lanes), "pid": pid, "started_at": now, "seen_at": now}
        connection.execute(insert(worker).values(**values))
    connection.execute(delete(worker).where(worker.c.seen_at < now - timedelta(days=1)))


def remove(connection: Connection, name: str) -> None:
    """Note that a worker has stopped."""
    connection.execute(delete(worker).where(worker.c.name == name))


def live_workers(connection: Connection, now: datetime) -> Sequence[RowMapping]:
    """Workers seen lately, by name."""
    statement = select(worker).where(worker.c.seen_at >= now - timedelta(seconds=ALIVE_S)).order_by(worker.c.name)
    return connection.execute(statement).mappings().all()


def working_processes(connection: Connection, lane: str, now: datetime) -> int:
    """How many processes hold jobs of a lane; children count, idle ones do not. Uses the partial index job_leases."""
    held = (job.c.state == "leased", job.c.lease_until >= now, job.c.lane == lane)
    return connection.execute(select(func.count(job.c.lease_owner.distinct())).where(*held)).scalar_one()
