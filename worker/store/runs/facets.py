"""Which values of a field the stored runs have, with filters or without."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection, func, select

from worker.store.tables import RunRow, core

run = core(RunRow)


def values_of(
    connection: Connection,
    field: str,
    *,
    task_type: str | None = None,
    status: str | None = None,
    since: date | None = None,
    until: date | None = None,
    agent_version: str | None = None,
) -> Sequence[str]:
    """The values of a field, those with most runs first; none without such runs. Reads every one of them.

    Args:
        connection: A read transaction.
        field: `task_type`, `status` or `agent_version`; or `nights`, with one value, from the first night to the last.
        task_type: Of runs of this one; None for all.
        status: Of runs that ended so; None for all.
        since: First night; None for all.
        until: Last night, included; None for all.
        agent_version: Of runs of this one; None for all.
    """
    wanted = [
        *([run.c.task_type == task_type] if task_type is not None else []),
        *([run.c.status == status] if status is not None else []),
        *([run.c.agent_version == agent_version] if agent_version is not None else []),
        *([run.c.night >= since] if since is not None else []),
        *([run.c.night <= until] if until is not None else []),
    ]
    if field == "nights":
        first, last = connection.execute(select(func.min(run.c.night), func.max(run.c.night)).where(*wanted)).one()
        return [] if first is None else [f"{first} to {last}"]
    counted = select(run.c[field], func.count()).where(*wanted).group_by(run.c[field])
    rows = sorted(connection.execute(counted), key=lambda row: (-row[1], row[0]))
    return [value for value, _ in rows]
