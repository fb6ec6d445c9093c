"""Open jobs that their scorer will not do: skipped, or handed over to the active version of it."""

from collections.abc import Collection, Sequence
from datetime import date, datetime

from sqlalchemy import Connection, select

from worker.store.budget.cuts import shed
from worker.store.queue.enrol import (
    Registered,
    enqueue,
    enrol,
    enrolled,
    enrolment,
    job_table,
    registered,
    requeue_shed,
)


def is_up_to_date(
    connection: Connection, night: date, current: Sequence[Registered], lost: Collection[int] = ()
) -> bool:
    """Whether `supersede` and `adopt` would change nothing for a night. Uses job_counts."""
    enrolled_scorers = registered(connection, enrolled(connection, [night])[night])
    retired = [scorer.pk for scorer in _retired(enrolled_scorers, current, lost)]
    is_open = (job_table.c.scorer_pk.in_(retired), job_table.c.state.in_(("queued", "leased")))
    is_requeueable = (
        job_table.c.scorer_pk.in_([scorer.pk for scorer in current]),
        job_table.c.state == "shed",
        job_table.c.reason == _RETIRED,
    )
    to_do = any(
        connection.execute(select(job_table.c.pk).where(job_table.c.night == night, *which).limit(1)).first()
        is not None
        for which in (is_open, is_requeueable)
    )
    return not to_do and not _adoptable(enrolled_scorers, current)


def nights_with_retired_jobs(
    connection: Connection, current: Sequence[Registered], lost: Collection[int] = ()
) -> list[date]:
    """Nights with open jobs that `supersede` would hand over or skip, oldest first. Uses job_counts for each night."""
    pks = [scorer.pk for scorer in _retired(registered(connection), current, lost)]
    is_open = (job_table.c.scorer_pk == enrolment.c.scorer_pk, job_table.c.state.in_(("queued", "leased")))
    statement = (
        select(enrolment.c.night)
        .where(
            enrolment.c.scorer_pk.in_(pks),
            select(job_table.c.pk).where(job_table.c.night == enrolment.c.night, *is_open).exists(),
        )
        .distinct()
        .order_by(enrolment.c.night)
    )
    return list(connection.execute(statement).scalars()) if pks else []


_RETIRED = "retired"


def _retired(
    candidates: Sequence[Registered], current: Sequence[Registered], lost: Collection[int]
) -> list[Registered]:
    """Scorers whose open jobs nobody will do: none of their name is active, their judge is there only now, or lost.

    Another version of an active scorer is none of them: it ends what it was enrolled for.
    """
    active = {scorer.key.name: scorer for scorer in current}
    return [
        scorer
        for scorer in candidates
        if (replacement := active.get(scorer.key.name)) is None
        or (replacement.pk != scorer.pk and not replacement.is_judgeless and (scorer.is_judgeless or scorer.pk in lost))
    ]


def _adoptable(enrolled_scorers: Sequence[Registered], current: Sequence[Registered]) -> list[Registered]:
    """Active scorers with a judge, for rubrics that had no judge when the night was drawn."""
    enrolled_pks = {scorer.pk for scorer in enrolled_scorers}
    judgeless = {scorer.key.name for scorer in enrolled_scorers if scorer.is_judgeless}
    judged = {scorer.key.name for scorer in enrolled_scorers if scorer.key.kind == "judge" and not scorer.is_judgeless}
    return [
        scorer
        for scorer in current
        if scorer.key.name in judgeless - judged and scorer.pk not in enrolled_pks and not scorer.is_judgeless
    ]


def adopt(connection: Connection, night: date, current: Sequence[Registered], now: datetime) -> int:
    """Enrol rubrics whose judge was configured after the night was drawn, and requeue jobs of scorers active again.

    Runs unscored for want of a judge stay so in the series without one. The night is compared again for its new streams
    once they are scored: `mark_summarised` sees who was enrolled since.

    Returns:
        Jobs added.
    """
    requeue_shed(
        connection, night, job_table.c.scorer_pk.in_([scorer.pk for scorer in current]), job_table.c.reason == _RETIRED
    )
    new = _adoptable(registered(connection, enrolled(connection, [night])[night]), current)
    if not new:
        return 0
    enrol(connection, night, new, now)
    return enqueue(connection, night, new, now)


def supersede(
    connection: Connection, night: date, current: Sequence[Registered], now: datetime, lost: Collection[int] = ()
) -> int:
    """Hand over the open jobs of a night that nobody will do otherwise.

    A scorer keeps the jobs it was enrolled with, also when another version of it is active. Handed over to the active
    version are the jobs of rubrics whose judge was configured later, and of scorers that are lost: the old one's open
    jobs are skipped (`shed`, reason `superseded`), and the active one is enrolled for the whole sample of the night,
    with what it had left when it was itself replaced. Jobs are done in random order, so what the old scorer has scored
    is still an unbiased sample. Jobs of a scorer of which no version is active are skipped too (`retired`).

    Args:
        connection: A write transaction.
        night: The night.
        current: The active scorers.
        now: The store's time.
        lost: Keys of scorers that no process can make: of another release, or of code that was changed.

    Returns:
        Jobs skipped.
    """
    active = {scorer.key.name: scorer for scorer in current}
    total = 0
    for retired in _retired(registered(connection, enrolled(connection, [night])[night]), current, lost):
        replacement = active.get(retired.key.name)
        reason = _RETIRED if replacement is None else "superseded"
        count = shed(connection, now, reason, job_table.c.night == night, job_table.c.scorer_pk == retired.pk)
        total += count
        if count > 0 and replacement is not None:
            requeue_shed(connection, night, job_table.c.scorer_pk == replacement.pk, job_table.c.reason == "superseded")
            enrol(connection, night, [replacement], now)
            enqueue(connection, night, [replacement], now)
    return total
