"""Which scorers score a night (its enrolment), and the jobs that follow from it."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, literal, null, select, true, update

from worker.records import RunFilter, ScorerKey
from worker.store.budget.accounts import BACKFILL, NIGHTLY
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
            "run_filter": {field: list(getattr(applies_to, field)) for field in RunFilter._fields},
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
        row["pk"], key, RunFilter(**{field: tuple(row["run_filter"][field]) for field in RunFilter._fields})
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


def enrol(
    connection: Connection, night: date, scorers: Sequence[Registered], now: datetime, purpose: str = "production"
) -> None:
    """Enrol scorers for a night; those enrolled before stay enrolled as they were.

    Args:
        connection: A write transaction.
        night: The night.
        scorers: Whom to enrol.
        now: The store's time.
        purpose: `production` for the night's draw, `backfill` for a person who asks for it later.
    """
    rows = [{"night": night, "scorer_pk": scorer.pk, "enrolled_at": now, "purpose": purpose} for scorer in scorers]
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

    A scorer that a backfill enrolled spends the backfills' money. Jobs above the threshold of an earlier budget cut are
    skipped (`shed`) at once. Repeating it adds none.

    Returns:
        Jobs added.
    """
    added = 0
    purposes = dict(
        connection.execute(select(enrolment.c.scorer_pk, enrolment.c.purpose).where(enrolment.c.night == night)).all()
    )
    for scorer in scorers:
        account = BACKFILL if purposes.get(scorer.pk) == "backfill" else NIGHTLY
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
                literal(account),
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
        columns += ["reserved_usd", "created_at", "reason", "account"]
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
    """Move jobs of a night that had no attempt yet to the `batch` lane; those of a backfill stay where it put them.

    Returns:
        Jobs moved; 0 without scorers.
    """
    which = (job_table.c.night == night, job_table.c.attempt == 0, job_table.c.account == NIGHTLY)
    return move_to_lane(connection, "batch", scorer_pks, *which) if scorer_pks else 0


def _shed_beyond_cuts(connection: Connection, night: date, now: datetime) -> None:
    cuts = connection.execute(
        select(draw.c.task_type, draw.c.flagged, cut.c.scorer_pk, cut.c.threshold, cut.c.reason)
        .join(draw, draw.c.pk == cut.c.draw_pk)
        .where(draw.c.night == night, draw.c.is_current)
    ).all()
    for task_type, flagged, scorer_pk, threshold, reason in cuts:
        of_nights_only = [job_table.c.account == NIGHTLY] if reason == "budget" else []
        beyond = select(run.c.pk).where(
            run.c.night == night,
            run.c.task_type == task_type,
            run.c.flagged == flagged,
            run.c.sample_key >= threshold,
        )
        shed(
            connection,
            now,
            reason,
            job_table.c.night == night,
            job_table.c.scorer_pk == scorer_pk,
            job_table.c.purpose == "production",
            job_table.c.run_pk.in_(beyond),
            *of_nights_only,
        )


def reorder_jobs(connection: Connection, night: date) -> None:
    """After a raised rate: recompute the order of the night's jobs and requeue those that a budget cut had skipped.

    Raising a rate asks for more of the night, and the old cut belonged to the superseded draw. A smaller sample that a
    backfill was asked for stays as small.
    """
    _keep_rates(connection, night)
    new_u = (
        select(run.c.sample_key / draw.c.threshold)
        .join(
            draw,
            (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged),
        )
        .where(run.c.pk == job_table.c.run_pk, draw.c.is_current)
        .scalar_subquery()
    )
    is_drawn = (job_table.c.night == night, job_table.c.purpose == "production")
    connection.execute(update(job_table).where(*is_drawn).values(u=new_u))
    requeue_shed(connection, night, job_table.c.reason == "budget")


def _keep_rates(connection: Connection, night: date) -> None:
    """Give the current draws of a night the cuts that a backfill's rate made of the draws before them."""
    old = draw.alias("old")
    same = (old.c.night == draw.c.night) & (old.c.task_type == draw.c.task_type) & (old.c.flagged == draw.c.flagged)
    kept = (
        select(draw.c.pk, cut.c.scorer_pk, cut.c.threshold, cut.c.cut_at, cut.c.reason)
        .select_from(draw)
        .join(old, same & (old.c.seq == draw.c.seq - 1))
        .join(cut, cut.c.draw_pk == old.c.pk)
        .where(draw.c.night == night, draw.c.is_current, cut.c.reason == "rate")
    )
    columns = ["draw_pk", "scorer_pk", "threshold", "cut_at", "reason"]
    connection.execute(insert_ignore(connection, cut).from_select(columns, kept))


def requeue_shed(connection: Connection, night: date, *which: ColumnElement[bool]) -> None:
    """Queue skipped (`shed`) jobs of a night again and mark its summary as out of date."""
    statement = update(job_table).where(job_table.c.night == night, job_table.c.state == "shed", *which)
    if connection.execute(statement.values(state="queued", reason=None, resolved_at=None)).rowcount:
        connection.execute(update(night_table).where(night_table.c.night == night).values(resolved=-1))


def scorers_with_open_jobs(connection: Connection, kind: str) -> list[Registered]:
    """Stored scorers of a kind (`heuristic` or `judge`) that have queued or leased jobs, oldest first.

    Looks each enrolment up in job_counts: some milliseconds for a year of nights, however many jobs are queued.
    """
    is_open = (
        job_table.c.night == enrolment.c.night,
        job_table.c.scorer_pk == enrolment.c.scorer_pk,
        job_table.c.state.in_(("queued", "leased")),
    )
    with_jobs = (
        select(enrolment.c.scorer_pk).where(select(job_table.c.pk).where(*is_open).exists()).distinct().subquery()
    )
    statement = (
        select(scorer_table)
        .join(with_jobs, with_jobs.c.scorer_pk == scorer_table.c.pk)
        .where(scorer_table.c.kind == kind)
        .order_by(scorer_table.c.pk)
    )
    return [_registered(row) for row in connection.execute(statement).mappings()]
