"""Which scorers look at a night, and the jobs that follow from it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, literal, null, select, true, update

from worker.records import RunFilter, ScorerKey
from worker.store.budget.cuts import shed
from worker.store.insert import insert_ignore
from worker.store.tables import CutRow, DrawRow, EnrolmentRow, JobRow, NightRow, RunRow, SampleRow, ScorerRow, core

run, draw, sample, scorer, job, enrolment, cut, night_table = (
    core(row) for row in (RunRow, DrawRow, SampleRow, ScorerRow, JobRow, EnrolmentRow, CutRow, NightRow)
)


class Registered(NamedTuple):
    """A scorer as the store knows it."""

    pk: int
    key: ScorerKey
    applies_to: RunFilter

    @property
    def lane(self) -> str:
        """The queue its jobs are drained from."""
        return self.key.kind

    @property
    def is_judgeless(self) -> bool:
        """Whether it is a rubric for which no judge is configured: it can only say so."""
        return self.key.kind == "judge" and self.key.spec.get("model") is None


def register(connection: Connection, scorers: Iterable[tuple[ScorerKey, RunFilter]], now: datetime) -> list[Registered]:
    """Make the scorers known, in order; a fingerprint that is known stays what it was."""
    wanted = list(scorers)
    rows = [
        {
            "name": key.name,
            "version": key.version,
            "series": key.series,
            "kind": key.kind,
            "fingerprint": key.fingerprint,
            "spec": dict(key.spec),
            "applies_to": {field: list(getattr(applies_to, field)) for field in RunFilter._fields},
            "created_at": now,
        }
        for key, applies_to in wanted
    ]
    if rows:
        connection.execute(insert_ignore(connection, scorer), rows)
    known = {one.key.fingerprint: one for one in registered(connection)}
    return [known[key.fingerprint] for key, _ in wanted]


def registered(connection: Connection, pks: Sequence[int] | None = None) -> list[Registered]:
    """Scorers that were ever used, oldest first; all, or only these."""
    statement = select(scorer).order_by(scorer.c.pk)
    if pks is not None:
        statement = statement.where(scorer.c.pk.in_(list(pks)))
    return [_registered(row) for row in connection.execute(statement).mappings()]


def _registered(row: RowMapping) -> Registered:
    key = ScorerKey(
        name=row["name"], version=row["version"], kind=row["kind"], fingerprint=row["fingerprint"], spec=row["spec"]
    )
    return Registered(
        row["pk"], key, RunFilter(**{field: tuple(row["applies_to"][field]) for field in RunFilter._fields})
    )


def enrolled(connection: Connection, nights: Sequence[date]) -> dict[date, list[int]]:
    """Keys of the scorers that look at each of these nights, ascending."""
    statement = (
        select(enrolment.c.night, enrolment.c.scorer_pk)
        .where(enrolment.c.night.in_(list(nights)))
        .order_by(enrolment.c.night, enrolment.c.scorer_pk)
    )
    found: dict[date, list[int]] = {night: [] for night in nights}
    for night, pk in connection.execute(statement):
        found[night].append(pk)
    return found


def enrol(connection: Connection, night: date, scorers: Sequence[Registered], now: datetime) -> None:
    """Have these scorers look at a night's sample; takes nothing back."""
    rows = [{"night": night, "scorer_pk": one.pk, "enrolled_at": now} for one in scorers]
    if rows:
        connection.execute(insert_ignore(connection, enrolment), rows)


def admits(applies_to: RunFilter) -> ColumnElement[bool]:
    """The filter as SQL over the run table; the same decision as `RunFilter.admits`."""
    conditions = [
        column.in_(list(allowed))
        for column, allowed in (
            (run.c.task_type, applies_to.task_types),
            (run.c.status, applies_to.statuses),
            (run.c.agent, applies_to.agents),
        )
        if allowed and "*" not in allowed
    ]
    return and_(true(), *conditions)


def enqueue(connection: Connection, night: date, scorers: Sequence[Registered], now: datetime) -> int:
    """A job for every drawn run and scorer that has none yet; beyond a budget's cut it is shed at once.

    Returns:
        Jobs added. Repeating it adds none.
    """
    added = 0
    for one in scorers:
        chosen = (
            select(
                run.c.pk,
                literal(one.pk),
                literal("production"),
                literal(0),
                run.c.night,
                literal(one.lane),
                run.c.sample_key / draw.c.threshold,
                literal("queued"),
                literal(0),
                literal(0.0),
                literal(now, job.c.created_at.type),
                null(),
            )
            .select_from(sample)
            .join(run, run.c.pk == sample.c.run_pk)
            .join(
                draw,
                (draw.c.night == run.c.night)
                & (draw.c.task_type == run.c.task_type)
                & (draw.c.flagged == run.c.flagged)
                & draw.c.is_current,
            )
            .where(sample.c.night == night, admits(one.applies_to))
        )
        columns = ["run_pk", "scorer_pk", "purpose", "replicate", "night", "lane", "u", "state", "attempt"]
        columns += ["reserved_usd", "created_at", "reason"]
        statement = insert_ignore(connection, job).from_select(columns, chosen)
        added += max(0, connection.execute(statement).rowcount)
    if added:  # a night that was summarised long ago has to be looked at again
        connection.execute(update(night_table).where(night_table.c.night == night).values(had_open_jobs=True))
    _shed_beyond_cuts(connection, night, now)
    return added


def move_to_lane(connection: Connection, to: str, scorer_pks: Collection[int], *which: ColumnElement[bool]) -> int:
    """Have queued jobs of a judge asked another way.

    Args:
        connection: A write transaction.
        to: `judge` or `batch`.
        scorer_pks: Whose.
        which: Of them, these only.

    Returns:
        Jobs that go another way now.
    """
    other = "judge" if to == "batch" else "batch"
    pks = list(scorer_pks)
    statement = update(job).where(job.c.state == "queued", job.c.lane == other, job.c.scorer_pk.in_(pks), *which)
    return connection.execute(statement.values(lane=to)).rowcount


def move_untried_to_batch(connection: Connection, night: date, scorer_pks: Collection[int]) -> int:
    """Have what was never tried of a night, for these scorers, asked in batches."""
    return move_to_lane(connection, "batch", scorer_pks, job.c.night == night, job.c.attempt == 0) if scorer_pks else 0


def _shed_beyond_cuts(connection: Connection, night: date, now: datetime) -> None:
    cuts = connection.execute(
        select(draw.c.task_type, draw.c.flagged, cut.c.scorer_pk, cut.c.threshold)
        .join(draw, draw.c.pk == cut.c.draw_pk)
        .where(draw.c.night == night, draw.c.is_current)
    ).all()
    for task_type, flagged, scorer_pk, threshold in cuts:
        beyond = select(run.c.pk).where(
            run.c.night == night,
            run.c.task_type == task_type,
            run.c.flagged == flagged,
            run.c.sample_key >= threshold,
        )
        shed(connection, now, "budget", job.c.night == night, job.c.scorer_pk == scorer_pk, job.c.run_pk.in_(beyond))


def reorder_jobs(connection: Connection, night: date) -> None:
    """After a raised rate: give the night's jobs their new place, and take up again what a budget had shed.

    A person who raises a rate asks for more of the night; the old cut belonged to the superseded draw.
    """
    new_u = (
        select(run.c.sample_key / draw.c.threshold)
        .join(
            draw,
            (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged),
        )
        .where(run.c.pk == job.c.run_pk, draw.c.is_current)
        .scalar_subquery()
    )
    connection.execute(update(job).where(job.c.night == night).values(u=new_u))
    _take_up(connection, night, job.c.reason == "budget")


def _take_up(connection: Connection, night: date, *which: ColumnElement[bool]) -> None:
    """Queue shed jobs of a night again; its summary is out of date then, whatever its counts will be."""
    statement = update(job).where(job.c.night == night, job.c.state == "shed", *which)
    if connection.execute(statement.values(state="queued", reason=None, resolved_at=None)).rowcount:
        connection.execute(update(night_table).where(night_table.c.night == night).values(resolved=-1))


def is_up_to_date(connection: Connection, night: date, current: Sequence[Registered]) -> bool:
    """Whether neither `supersede` nor `adopt` has anything to do for a night. Uses job_counts."""
    looking = registered(connection, enrolled(connection, [night])[night])
    retired = [one.pk for one in _retired(looking, current)]
    is_open = (job.c.scorer_pk.in_(retired), job.c.state.in_(("queued", "leased")))
    is_back = (job.c.scorer_pk.in_([one.pk for one in current]), job.c.state == "shed", job.c.reason == _RETIRED)
    to_do = any(
        connection.execute(select(job.c.pk).where(job.c.night == night, *which).limit(1)).first() is not None
        for which in (is_open, is_back)
    )
    return not to_do and not _adoptable(looking, current)


def nights_with_retired_jobs(connection: Connection, current: Sequence[Registered]) -> list[date]:
    """Nights with open jobs of scorers that are not in force any more, oldest first. Uses job_counts a night."""
    pks = [one.pk for one in _retired(registered(connection), current)]
    is_open = (job.c.scorer_pk == enrolment.c.scorer_pk, job.c.state.in_(("queued", "leased")))
    statement = (
        select(enrolment.c.night)
        .where(
            enrolment.c.scorer_pk.in_(pks),
            select(job.c.pk).where(job.c.night == enrolment.c.night, *is_open).exists(),
        )
        .distinct()
        .order_by(enrolment.c.night)
    )
    return list(connection.execute(statement).scalars()) if pks else []


_RETIRED = "retired"


def _retired(known: Sequence[Registered], current: Sequence[Registered]) -> list[Registered]:
    """Scorers whose open jobs nobody will do. Without a judge, a judge's jobs only wait for one."""
    in_force = {one.key.name: one for one in current}
    return [
        one
        for one in known
        if (new := in_force.get(one.key.name)) is None
        or (new.pk != one.pk and (one.is_judgeless or not new.is_judgeless))
    ]


def _adoptable(looking: Sequence[Registered], current: Sequence[Registered]) -> list[Registered]:
    """Judges that are there now, for rubrics for which there was none when the night was drawn."""
    enrolled_pks = {one.pk for one in looking}
    judgeless = {one.key.name for one in looking if one.is_judgeless}
    judged = {one.key.name for one in looking if one.key.kind == "judge" and not one.is_judgeless}
    return [
        one
        for one in current
        if one.key.name in judgeless - judged and one.pk not in enrolled_pks and not one.is_judgeless
    ]


def adopt(connection: Connection, night: date, current: Sequence[Registered], now: datetime) -> int:
    """A judge takes up a night that was drawn when none was configured; a scorer that is back, what it had left.

    What was unscored for want of a judge stays so in the series that had none. The night is compared again, for the
    streams that are new.

    Returns:
        Jobs added.
    """
    _take_up(connection, night, job.c.scorer_pk.in_([one.pk for one in current]), job.c.reason == _RETIRED)
    new = _adoptable(registered(connection, enrolled(connection, [night])[night]), current)
    if not new:
        return 0
    enrol(connection, night, new, now)
    connection.execute(update(night_table).where(night_table.c.night == night).values(compared_at=None))
    return enqueue(connection, night, new, now)


def supersede(connection: Connection, night: date, current: Sequence[Registered], now: datetime) -> int:
    """Where a rubric or judge changed while a night was open, the new one takes the night over.

    The old scorer's open jobs are shed (`superseded`), and its series ends there in random order, so what it scored is
    still an unbiased sample. The new one looks at the whole sample of the night, and takes up again what it had left
    when it was itself replaced. Jobs of a scorer that is not wanted any more are shed too (`retired`). Nothing is taken
    over where there is no judge: then the jobs wait for one.

    Returns:
        Jobs that were shed.
    """
    in_force = {one.key.name: one for one in current}
    total = 0
    for old in _retired(registered(connection, enrolled(connection, [night])[night]), current):
        new = in_force.get(old.key.name)
        reason = _RETIRED if new is None else "superseded"
        count = shed(connection, now, reason, job.c.night == night, job.c.scorer_pk == old.pk)
        total += count
        if count > 0 and new is not None:
            _take_up(connection, night, job.c.scorer_pk == new.pk, job.c.reason == "superseded")
            enrol(connection, night, [new], now)
            enqueue(connection, night, [new], now)
    return total
