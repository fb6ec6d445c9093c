"""Which scorers score a night (its enrolment), the jobs that follow from it, and the handover to a new scorer."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, literal, null, select, true, update

from worker.records import RunFilter, ScorerKey
from worker.store.budget.cuts import shed
from worker.store.insert import insert_ignore
from worker.store.tables import CutRow, DrawRow, EnrolmentRow, JobRow, NightRow, RunRow, SampleRow, ScorerRow, core

run, draw, sample, scorer_table, job_table, enrolment, cut, night_table = (
    core(row) for row in (RunRow, DrawRow, SampleRow, ScorerRow, JobRow, EnrolmentRow, CutRow, NightRow)
)


class Registered(NamedTuple):
    """A scorer that is stored, with its key."""

    pk: int
    key: ScorerKey
    applies_to: RunFilter

    @property
    def lane(self) -> str:
        """The lane its jobs are queued in: `heuristic` or `judge`."""
        return self.key.kind

    @property
    def is_judgeless(self) -> bool:
        """Whether it is a rubric without a configured judge: all its runs are unscored with that reason."""
        return self.key.kind == "judge" and self.key.spec.get("model") is None


_ADOPTED = "adopted_fingerprint"
"""Key in the stored spec of a scorer that an earlier release stored: its fingerprint from now on."""


def register(
    connection: Connection,
    scorers: Iterable[tuple[ScorerKey, RunFilter]],
    now: datetime,
    on_adopted: Callable[[Registered], object] = lambda _: None,
) -> list[Registered]:
    """Store scorers by fingerprint; one that is stored already keeps its row.

    A release that adds settings to the fingerprint gives a stored scorer a new one. Its row (found by the former
    fingerprint) takes the new fingerprint once, so that its series continues with the settings of that moment. It takes
    it beside the former one, by which processes of the earlier release that still run go on finding their scorer.

    Args:
        connection: A writing transaction.
        scorers: Each with the runs it applies to.
        now: The time.
        on_adopted: Gets a scorer of an earlier release whose series goes on with the settings of this call.

    Returns:
        The stored scorers, in the order given.
    """
    requested = list(scorers)
    existing = registered(connection)
    for key, _ in requested:
        if (former := _former(existing, key)) is not None:
            # only one of two processes still finds it so
            is_as_left = (scorer_table.c.pk == former.pk, scorer_table.c.spec[_ADOPTED].as_string().is_(None))
            values = {"spec": {**key.spec, _ADOPTED: key.fingerprint}}
            if connection.execute(update(scorer_table).where(*is_as_left).values(**values)).rowcount:
                on_adopted(former._replace(key=key.model_copy(update={"series": former.key.series})))
    stored = _by_fingerprint(connection)
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
        for key, applies_to in requested
        if key.fingerprint not in stored
    ]
    if rows:
        connection.execute(insert_ignore(connection, scorer_table), rows)
        stored = _by_fingerprint(connection)
    return [stored[key.fingerprint] for key, _ in requested]


def _by_fingerprint(connection: Connection) -> dict[str, Registered]:
    """Stored scorers by their fingerprint, and by the one that they were stored with."""
    rows = list(connection.execute(select(scorer_table)).mappings())
    by_first = {row["fingerprint"]: _registered(row) for row in rows}
    return by_first | {scorer.key.fingerprint: scorer for scorer in by_first.values()}


def stored_as(existing: Iterable[Registered], key: ScorerKey) -> Registered | None:
    """The row of a scorer, by its fingerprint or by its former one; None when there is none."""
    rows = list(existing)
    exact = next((row for row in rows if row.key.fingerprint == key.fingerprint), None)
    return exact or _former(rows, key)


def _former(existing: Iterable[Registered], key: ScorerKey) -> Registered | None:
    """The row under the former fingerprint, if it is the only row of this name and version; else None."""
    if key.former_fingerprint is None:
        return None
    same = [row for row in existing if (row.key.name, row.key.version) == (key.name, key.version)]
    former = [row for row in same if row.key.fingerprint == key.former_fingerprint]
    return former[0] if former and len(former) == len(same) else None


def registered(connection: Connection, pks: Sequence[int] | None = None) -> list[Registered]:
    """Stored scorers, oldest first; all, or only those with these keys."""
    statement = select(scorer_table).order_by(scorer_table.c.pk)
    if pks is not None:
        statement = statement.where(scorer_table.c.pk.in_(list(pks)))
    return [_registered(row) for row in connection.execute(statement).mappings()]


def _registered(row: RowMapping) -> Registered:
    spec = dict(row["spec"])
    fingerprint = spec.pop(_ADOPTED, row["fingerprint"])
    fields = {field: row[field] for field in ("name", "version", "series", "kind")}
    key = ScorerKey(**fields, fingerprint=fingerprint, spec=spec)
    return Registered(
        row["pk"], key, RunFilter(**{field: tuple(row["applies_to"][field]) for field in RunFilter._fields})
    )


def enrolled(connection: Connection, nights: Sequence[date]) -> dict[date, list[int]]:
    """Keys of the scorers enrolled for each of these nights, ascending; an empty list for a night without any."""
    statement = (
        select(enrolment.c.night, enrolment.c.scorer_pk)
        .where(enrolment.c.night.in_(list(nights)))
        .order_by(enrolment.c.night, enrolment.c.scorer_pk)
    )
    by_night: dict[date, list[int]] = {night: [] for night in nights}
    for night, pk in connection.execute(statement):
        by_night[night].append(pk)
    return by_night


def enrol(connection: Connection, night: date, scorers: Sequence[Registered], now: datetime) -> None:
    """Enrol scorers for a night; those enrolled before stay enrolled."""
    rows = [{"night": night, "scorer_pk": scorer.pk, "enrolled_at": now, "purpose": "production"} for scorer in scorers]
    if rows:
        connection.execute(insert_ignore(connection, enrolment), rows)


def admits(applies_to: RunFilter) -> ColumnElement[bool]:
    """The filter as an SQL condition on the run table; decides as `RunFilter.admits` does."""
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
    """Add a job for every drawn run that a scorer applies to and has none for.

    Jobs above the threshold of an earlier budget cut are skipped (`shed`) at once. Repeating it adds none.

    Returns:
        Jobs added.
    """
    added = 0
    for scorer in scorers:
        chosen = (
            select(
                run.c.pk,
                literal(scorer.pk),
                literal("production"),
                literal(0),
                run.c.night,
                literal(scorer.lane),
                run.c.sample_key / draw.c.threshold,
                literal("queued"),
                literal(0),
                literal(0.0),
                literal(now, job_table.c.created_at.type),
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
            .where(sample.c.night == night, admits(scorer.applies_to))
        )
        columns = ["run_pk", "scorer_pk", "purpose", "replicate", "night", "lane", "u", "state", "attempt"]
        columns += ["reserved_usd", "created_at", "reason"]
        statement = insert_ignore(connection, job_table).from_select(columns, chosen)
        added += max(0, connection.execute(statement).rowcount)
    if added:  # a night that is summarised already must be summarised again
        connection.execute(update(night_table).where(night_table.c.night == night).values(had_open_jobs=True))
    _shed_beyond_cuts(connection, night, now)
    return added


def move_to_lane(connection: Connection, to: str, scorer_pks: Collection[int], *which: ColumnElement[bool]) -> int:
    """Move queued jobs between the `judge` and the `batch` lane.

    Args:
        connection: A write transaction.
        to: `judge` or `batch`.
        scorer_pks: The scorers whose jobs are moved.
        which: Further conditions on the job table.

    Returns:
        Jobs moved.
    """
    other = "judge" if to == "batch" else "batch"
    pks = list(scorer_pks)
    statement = update(job_table).where(
        job_table.c.state == "queued", job_table.c.lane == other, job_table.c.scorer_pk.in_(pks), *which
    )
    return connection.execute(statement.values(lane=to)).rowcount


def move_untried_to_batch(connection: Connection, night: date, scorer_pks: Collection[int]) -> int:
    """Move jobs of a night that had no attempt yet to the `batch` lane. Returns jobs moved; 0 without scorers."""
    return (
        move_to_lane(connection, "batch", scorer_pks, job_table.c.night == night, job_table.c.attempt == 0)
        if scorer_pks
        else 0
    )


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
        shed(
            connection,
            now,
            "budget",
            job_table.c.night == night,
            job_table.c.scorer_pk == scorer_pk,
            job_table.c.run_pk.in_(beyond),
        )


def reorder_jobs(connection: Connection, night: date) -> None:
    """After a raised rate: recompute the order of the night's jobs and requeue those that a budget cut had skipped.

    Raising a rate asks for more of the night, and the old cut belonged to the superseded draw.
    """
    new_u = (
        select(run.c.sample_key / draw.c.threshold)
        .join(
            draw,
            (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged),
        )
        .where(run.c.pk == job_table.c.run_pk, draw.c.is_current)
        .scalar_subquery()
    )
    connection.execute(update(job_table).where(job_table.c.night == night).values(u=new_u))
    _requeue_shed(connection, night, job_table.c.reason == "budget")


def _requeue_shed(connection: Connection, night: date, *which: ColumnElement[bool]) -> None:
    """Queue skipped (`shed`) jobs of a night again and mark its summary as out of date."""
    statement = update(job_table).where(job_table.c.night == night, job_table.c.state == "shed", *which)
    if connection.execute(statement.values(state="queued", reason=None, resolved_at=None)).rowcount:
        connection.execute(update(night_table).where(night_table.c.night == night).values(resolved=-1))


def is_up_to_date(connection: Connection, night: date, current: Sequence[Registered]) -> bool:
    """Whether `supersede` and `adopt` would change nothing for a night. Uses job_counts."""
    enrolled_scorers = registered(connection, enrolled(connection, [night])[night])
    retired = [scorer.pk for scorer in _retired(enrolled_scorers, current)]
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


def nights_with_retired_jobs(connection: Connection, current: Sequence[Registered]) -> list[date]:
    """Nights with open jobs of scorers that are no longer active, oldest first. Uses job_counts for each night."""
    pks = [scorer.pk for scorer in _retired(registered(connection), current)]
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


def _retired(candidates: Sequence[Registered], current: Sequence[Registered]) -> list[Registered]:
    """Scorers whose open jobs no active scorer will do. While no judge is configured, judge jobs wait for one."""
    active = {scorer.key.name: scorer for scorer in current}
    return [
        scorer
        for scorer in candidates
        if (replacement := active.get(scorer.key.name)) is None
        or (replacement.pk != scorer.pk and (scorer.is_judgeless or not replacement.is_judgeless))
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

    Runs unscored for want of a judge stay so in the series without one. The night is compared again, for
    its new streams.

    Returns:
        Jobs added.
    """
    _requeue_shed(
        connection, night, job_table.c.scorer_pk.in_([scorer.pk for scorer in current]), job_table.c.reason == _RETIRED
    )
    new = _adoptable(registered(connection, enrolled(connection, [night])[night]), current)
    if not new:
        return 0
    enrol(connection, night, new, now)
    connection.execute(update(night_table).where(night_table.c.night == night).values(compared_at=None))
    return enqueue(connection, night, new, now)


def supersede(connection: Connection, night: date, current: Sequence[Registered], now: datetime) -> int:
    """Hand the open jobs of a night over to the new scorer where a rubric or judge has changed.

    The old scorer's open jobs are skipped (`shed`, reason `superseded`). Jobs are done in random order, so what the old
    scorer has scored is still an unbiased sample. The new scorer is enrolled for the whole sample of the night and
    requeues what it had left when it was itself replaced. Jobs of a scorer without a replacement are skipped too
    (`retired`). Without a configured judge nothing changes: the jobs wait for one.

    Returns:
        Jobs skipped.
    """
    active = {scorer.key.name: scorer for scorer in current}
    total = 0
    for retired in _retired(registered(connection, enrolled(connection, [night])[night]), current):
        replacement = active.get(retired.key.name)
        reason = _RETIRED if replacement is None else "superseded"
        count = shed(connection, now, reason, job_table.c.night == night, job_table.c.scorer_pk == retired.pk)
        total += count
        if count > 0 and replacement is not None:
            _requeue_shed(
                connection, night, job_table.c.scorer_pk == replacement.pk, job_table.c.reason == "superseded"
            )
            enrol(connection, night, [replacement], now)
            enqueue(connection, night, [replacement], now)
    return total
