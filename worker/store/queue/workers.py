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


def noted(connection: Connection, name: str, *, is_to_change: bool = False) -> tuple[int | None, dict[str, str]] | None:
    """What is written beside a worker's heartbeat: the revision it works by, and its troubles by kind of work.

    Args:
        connection: Any transaction.
        name: The worker.
        is_to_change: Whether others who are about to change it wait for this transaction.

    Returns:
        None when there is no such worker.
    """
    statement = select(worker.c.revision, worker.c.trouble).where(worker.c.name == name)
    row = connection.execute(statement.with_for_update() if is_to_change else statement).first()
    if row is None:
        return None
    parts = (part.partition(": ") for part in (row.trouble or "").split(SEPARATOR) if part)
    return row.revision, {kind: text for kind, _, text in parts}


def note_configuration(
    connection: Connection, name: str, kind: str, trouble: str | None, *, revision: int | None = None
) -> None:
    """Write beside a worker's heartbeat how one kind of its work stands; does nothing when there is no such worker.

    Args:
        connection: A write transaction.
        name: The worker.
        kind: The lane; what is written of others stays, which may be another child's.
        trouble: Why its configuration is not the active one, or what it cannot score; None when all is well.
        revision: Number of the revision; None leaves the one that is written.
    """
    before = noted(connection, name, is_to_change=True)
    if before is None:
        return
    troubles = {other: text for other, text in before[1].items() if other != kind}
    if trouble:
        troubles[kind] = _one_part(trouble)
    told = SEPARATOR.join(f"{other}: {text}" for other, text in sorted(troubles.items())) or None
    values = {"trouble": told} | ({} if revision is None else {"revision": revision})
    connection.execute(update(worker).where(worker.c.name == name).values(**values))


def is_noted(connection: Connection, name: str, kind: str, trouble: str | None, revision: int | None) -> bool:
    """Whether `note_configuration` would change nothing."""
    before = noted(connection, name)
    if before is None:
        return True
    same = before[1].get(kind) == (_one_part(trouble) if trouble else None)
    return same and revision in (None, before[0])


def _one_part(trouble: str) -> str:
    return trouble.replace(SEPARATOR, ", ")


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
