"""Counts of the jobs of recently drawn nights, for the live view of `spotcheck up`."""

from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from worker.store.tables import JobRow, NightRow, core

job, night_table = core(JobRow), core(NightRow)


class Today(NamedTuple):
    """Jobs of the nights that were drawn since a moment."""

    states: dict[str, int]
    """Jobs by state; a state without jobs is absent."""
    last_drawn: date | None
    """The newest drawn night; None before the first."""


def today(connection: Connection, since: datetime) -> Today:
    """Jobs of all nights drawn since a moment. Uses job_counts."""
    drawn = night_table.c.drawn_at.is_not(None)
    nights = (
        connection.execute(select(night_table.c.night).where(drawn, night_table.c.drawn_at >= since)).scalars().all()
    )
    last = connection.execute(select(func.max(night_table.c.night)).where(drawn)).scalar_one_or_none()
    counted = select(job.c.state, func.count()).where(job.c.night.in_(nights)).group_by(job.c.state)
    return Today({row[0]: row[1] for row in connection.execute(counted)} if nights else {}, last)
