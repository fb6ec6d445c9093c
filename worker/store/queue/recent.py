"""Counts of the jobs of recently drawn nights: for the live view, and for what is wrong with all of a night."""

from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select

from worker.store.tables import EnrolmentRow, JobRow, NightRow, RunRow, ScoreRow, core

job, night_table, enrolment = core(JobRow), core(NightRow), core(EnrolmentRow)
run, score = core(RunRow), core(ScoreRow)


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


def an_unscored_run(connection: Connection, scorer_pk: int, reason: str) -> tuple[str | None, str | None]:
    """A run of a scorer's newest enrolled night that is unscored for a reason. Uses job_counts.

    Returns:
        Its id, and what is stored of the answer; None where there is none.
    """
    night = select(func.max(enrolment.c.night)).where(enrolment.c.scorer_pk == scorer_pk).scalar_subquery()
    mine = (job.c.night == night, job.c.scorer_pk == scorer_pk, job.c.state == "unscored", job.c.reason == reason)
    of_job = and_(score.c.run_pk == job.c.run_pk, score.c.scorer_pk == scorer_pk, score.c.criterion.is_(None))
    found = connection.execute(
        select(run.c.run_id, score.c.rationale)
        .select_from(job)
        .join(run, run.c.pk == job.c.run_pk)
        .outerjoin(score, and_(of_job, score.c.purpose == job.c.purpose))
        .where(*mine)
        .order_by(job.c.pk)
        .limit(1)
    ).first()
    return (None, None) if found is None else (found.run_id, found.rationale)


def ended_of_newest_night(connection: Connection, scorer_pk: int) -> tuple[int, dict[str, int]]:
    """How a scorer's jobs of its newest enrolled night ended. Uses job_counts.

    Returns:
        Whether any is scored, 0 or 1; and the unscored ones by reason, empty where one is scored.
    """
    night = connection.execute(
        select(func.max(enrolment.c.night)).where(enrolment.c.scorer_pk == scorer_pk)
    ).scalar_one_or_none()
    mine = (job.c.night == night, job.c.scorer_pk == scorer_pk)
    if night is None:
        return 0, {}
    if connection.execute(select(job.c.pk).where(*mine, job.c.state == "scored").limit(1)).first() is not None:
        return 1, {}
    counted = select(job.c.reason, func.count()).where(*mine, job.c.state == "unscored").group_by(job.c.reason)
    return 0, {str(row[0]): row[1] for row in connection.execute(counted)}
