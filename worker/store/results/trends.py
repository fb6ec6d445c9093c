"""The trend table: weekly points, replaced a whole week at a time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from worker.store.results.cells import scorer, trend
from worker.store.tables import EnrolmentRow, core

enrolment = core(EnrolmentRow)
_WEEKS_LOCK = 7_307_251
"""First key of PostgreSQL's advisory locks on weeks."""


def lock_weeks(connection: Connection, weeks: Iterable[str]) -> None:
    """Lock weeks until the transaction ends; call it before reading the cells that their points are made of.

    Without the lock, of two processes that summarise two nights of one week, the one that read first could store its
    points last, without the other's night. SQLite allows one writer at a time and needs no lock.
    """
    if connection.dialect.name == "postgresql":
        for week in sorted(weeks):
            connection.execute(select(func.pg_advisory_xact_lock(_WEEKS_LOCK, func.hashtext(week))))


def replace_week(connection: Connection, week: str, points: Iterable[Mapping[str, Any]]) -> None:
    """Replace the stored points of a week."""
    lock_weeks(connection, [week])
    connection.execute(delete(trend).where(trend.c.week == week))
    rows = list(points)
    if rows:
        connection.execute(insert(trend), rows)


def points(
    connection: Connection,
    *,
    dimension: str,
    scorer_name: str | None,
    task_type: str | None,
    since_week: str | None,
) -> Sequence[RowMapping]:
    """Weekly points by scorer and criterion: the overall line first, then by task type and segment; oldest week first.

    Args:
        connection: A read transaction.
        dimension: `task_type`, `agent` or `agent_version`.
        scorer_name: Only this scorer; None for all.
        task_type: Only this one; None for all.
        since_week: First ISO week, for example `2026-W47`; None for all.

    Returns:
        Rows of the trend table with scorer, scorer_version (the series) and kind. Uses trend_by_week.
    """
    columns = [column for column in trend.c if column.name not in ("pk", "scorer_pk")]
    statement = (
        select(*columns, scorer.c.name.label("scorer"), scorer.c.series.label("scorer_version"), scorer.c.kind)
        .join(scorer, scorer.c.pk == trend.c.scorer_pk)
        .where(trend.c.dimension == dimension)
    )
    if scorer_name is not None:
        statement = statement.where(scorer.c.name == scorer_name)
    if task_type is not None:
        statement = statement.where(trend.c.task_type == task_type)
    if since_week is not None:
        statement = statement.where(trend.c.week >= since_week)
    rows = connection.execute(statement).mappings().all()
    return sorted(rows, key=_order)


def backfilled_nights(connection: Connection, since: date, until: date | None = None) -> list[tuple[str, str, date]]:
    """Name, series and night of every scorer that a backfill enrolled for a night, oldest night first.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included; None for the newest.
    """
    which = [enrolment.c.purpose == "backfill", enrolment.c.night >= since]
    which += [] if until is None else [enrolment.c.night <= until]
    statement = (
        select(scorer.c.name, scorer.c.series, enrolment.c.night)
        .join(scorer, scorer.c.pk == enrolment.c.scorer_pk)
        .where(*which)
        .order_by(enrolment.c.night, scorer.c.pk)
    )
    return [(name, series, night) for name, series, night in connection.execute(statement)]


def newest_week(connection: Connection) -> str | None:
    """The newest ISO week with points; None before the first. Reads one entry of trend_by_week."""
    week: str | None = connection.execute(select(func.max(trend.c.week))).scalar_one()
    return week


def _order(row: RowMapping) -> tuple[Any, ...]:
    keys = ("scorer", "criterion", "task_type", "segment", "scorer_version", "week")
    return tuple((row[key] is not None, row[key] or "") for key in keys)
