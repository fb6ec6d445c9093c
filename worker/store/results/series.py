"""Which series of a scorer has measured which nights; read from cells, which are few."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from worker.core.report.series import SeriesNight
from worker.store.tables import CellRow, EnrolmentRow, core

cell, enrolment = core(CellRow), core(EnrolmentRow)
_IS_BACKFILL = func.coalesce(enrolment.c.purpose, "production") == "backfill"
_ENROLMENT = and_(enrolment.c.night == cell.c.night, enrolment.c.scorer_pk == cell.c.scorer_pk)


class SeriesPast(NamedTuple):
    """What a series scored of a task type before some night."""

    task_type: str
    scorer_pk: int
    first: date
    """The first night that it scored, also in a backfill."""
    last: date | None
    """The last night that it scored in its time; None where all were scored in a backfill."""
    scored: int


def series_nights(
    connection: Connection, scorer_pks: Sequence[int], since: date, until: date
) -> list[tuple[str, SeriesNight]]:
    """What these scorers sampled and scored of each night (bounds included), by task type; empty without scorers."""
    keys = (cell.c.task_type, cell.c.night, cell.c.scorer_pk)
    statement = (
        select(*keys, func.sum(cell.c.sampled), func.sum(cell.c.scored), _IS_BACKFILL)
        .outerjoin(enrolment, _ENROLMENT)
        .where(cell.c.night.between(since, until), cell.c.scorer_pk.in_(list(scorer_pks)), cell.c.criterion.is_(None))
        .group_by(*keys, enrolment.c.purpose)
    )
    rows = connection.execute(statement) if scorer_pks else ()
    return [
        (task_type, SeriesNight(night, pk, int(sampled), int(scored), bool(is_backfill)))
        for task_type, night, pk, sampled, scored, is_backfill in rows
    ]


def series_past(connection: Connection, scorer_pks: Sequence[int], before: date) -> list[SeriesPast]:
    """The first and the last night before `before` that these scorers scored, by task type; empty without scorers."""
    keys = (cell.c.task_type, cell.c.scorer_pk)
    statement = (
        select(*keys, func.min(cell.c.night), func.max(case((~_IS_BACKFILL, cell.c.night))), func.sum(cell.c.scored))
        .outerjoin(enrolment, _ENROLMENT)
        .where(
            cell.c.night < before,
            cell.c.scorer_pk.in_(list(scorer_pks)),
            cell.c.criterion.is_(None),
            cell.c.scored > 0,
        )
        .group_by(*keys)
    )
    return [SeriesPast(*row) for row in connection.execute(statement)] if scorer_pks else []
