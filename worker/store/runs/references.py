"""What a task type usually costs and takes: the medians that runs are held against."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from worker.store.insert import insert_ignore
from worker.store.runs.runs import reference, run


def recent_values(connection: Connection, since: date, until: date, most: int) -> dict[str, list[RowMapping]]:
    """Cost, steps and latency of runs of these nights by task type: all, or those with the smallest keys.

    A uniform subset where a task type has more than `most` runs, so that the work does not grow with the traffic.
    Uses run_by_key a night and stratum.
    """
    by_task: dict[str, list[RowMapping]] = {}
    # named one by one: in a span of nights the index would have to be read whole for each task type
    nights = [since + timedelta(days=number) for number in range((until - since).days + 1)]
    sizes = connection.execute(
        select(run.c.task_type, func.count()).where(run.c.night.between(since, until)).group_by(run.c.task_type)
    ).all()
    for task_type, size in sorted(sizes):
        statement = select(run.c.cost_usd, run.c.steps, run.c.latency_ms).where(
            run.c.night.in_(nights), run.c.task_type == task_type
        )
        if size > most:
            statement = statement.where(run.c.flagged.in_((False, True)), run.c.sample_key < most / size)
        by_task[task_type] = list(connection.execute(statement).mappings().all())
    return by_task


def store_references(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep what was usual before a night; a night's references, once stored, stay."""
    values = list(rows)
    if values:
        connection.execute(insert_ignore(connection, reference), values)


def references(connection: Connection, nights: Sequence[date]) -> dict[tuple[date, str], RowMapping]:
    """What was usual, by night and task type."""
    statement = select(reference).where(reference.c.night.in_(list(nights)))
    return {(row["night"], row["task_type"]): row for row in connection.execute(statement).mappings()}


def latest_references(connection: Connection) -> dict[str, RowMapping]:
    """The newest known reference of each task type."""
    newest = select(func.max(reference.c.night)).scalar_subquery()
    statement = select(reference).where(reference.c.night == newest)
    return {row["task_type"]: row for row in connection.execute(statement).mappings()}
