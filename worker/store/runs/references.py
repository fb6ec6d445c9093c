"""The reference medians of each task type (cost, steps, latency), which outlier flags and range scorers use."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from worker.store.insert import insert_ignore
from worker.store.runs.runs import reference, run


def recent_values(connection: Connection, since: date, until: date, limit: int) -> dict[str, list[RowMapping]]:
    """Cost, steps and latency of runs of these nights (bounds included), by task type.

    Where a task type has more than `limit` runs, a uniform subset of about that many, by sample key, so that the work
    does not grow with the traffic. Uses run_by_key for each night and stratum.
    """
    by_task: dict[str, list[RowMapping]] = {}
    # nights are listed, not given as a range: for a range the whole index would be read for each task type
    nights = [since + timedelta(days=number) for number in range((until - since).days + 1)]
    sizes = connection.execute(
        select(run.c.task_type, func.count()).where(run.c.night.between(since, until)).group_by(run.c.task_type)
    ).all()
    for task_type, size in sorted(sizes):
        statement = select(run.c.cost_usd, run.c.steps, run.c.latency_ms).where(
            run.c.night.in_(nights), run.c.task_type == task_type
        )
        if size > limit:
            statement = statement.where(run.c.flagged.in_((False, True)), run.c.sample_key < limit / size)
        by_task[task_type] = list(connection.execute(statement).mappings().all())
    return by_task


def store_references(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Store the references of a night; those stored before are not changed."""
    values = list(rows)
    if values:
        connection.execute(insert_ignore(connection, reference), values)


def references(connection: Connection, nights: Sequence[date]) -> dict[tuple[date, str], RowMapping]:
    """The references by (night, task type); absent where there is none."""
    statement = select(reference).where(reference.c.night.in_(list(nights)))
    return {(row["night"], row["task_type"]): row for row in connection.execute(statement).mappings()}


def latest_references(connection: Connection) -> dict[str, RowMapping]:
    """The references of the newest night that has any, by task type."""
    newest = select(func.max(reference.c.night)).scalar_subquery()
    statement = select(reference).where(reference.c.night == newest)
    return {row["task_type"]: row for row in connection.execute(statement).mappings()}
