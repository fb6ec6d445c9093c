"""The summary of a night: sums of scores by stratum, agent, scorer and criterion (cells).

Trends and the drift scan read cells and never the scores, so their cost does not grow with the number of runs.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, delete, func, insert, or_, select, update

from worker.records import Cell, RunFilter
from worker.store.budget.accounts import BACKFILL
from worker.store.queue.enrol import admits, enrolled, enrolment, registered
from worker.store.runs.draws import lock_night
from worker.store.tables import CellRow, CutRow, DrawRow, JobRow, NightRow, RunRow, ScoreRow, ScorerRow, TrendRow, core

run, draw, cut, job, score, scorer, cell, trend, night_table = (
    core(row) for row in (RunRow, DrawRow, CutRow, JobRow, ScoreRow, ScorerRow, CellRow, TrendRow, NightRow)
)
_SEGMENT = ("task_type", "flagged", "agent", "agent_version")


class StreamCells(NamedTuple):
    """The cells of one scorer and criterion."""

    scorer_pk: int
    criterion: str | None
    cells: list[Cell]


def refresh_night(connection: Connection, night: date) -> int:
    """Sum a night's scores into cells, replacing the night's stored cells.

    A score counts if its run's sample key is below the effective threshold: the budget cut's, or else the draw's.
    Population and sampled are counted among the runs that the scorer applies to.

    Returns:
        Cells stored.
    """
    lock_night(connection, night)  # two summaries at once would both delete the stored cells and both add theirs
    connection.execute(delete(cell).where(cell.c.night == night))
    stored = 0
    by_filter: dict[RunFilter, dict[tuple[Any, ...], int]] = {}
    for entry in registered(connection, enrolled(connection, [night])[night]):
        if entry.applies_to not in by_filter:
            by_filter[entry.applies_to] = _populations(connection, night, admits(entry.applies_to))
        populations = by_filter[entry.applies_to]
        sampled = _sampled(connection, night, entry.pk)
        sums = _sums(connection, night, entry.pk)
        criteria: set[str | None] = {criterion for criterion, _ in sums} | {None}
        rows = []
        for segment, population in populations.items():
            for criterion in criteria:
                scored, unscored, s, ss = sums.get((criterion, segment), (0, 0, 0.0, 0.0))
                rows.append(
                    dict(zip(_SEGMENT, segment, strict=True))
                    | {"night": night, "scorer_pk": entry.pk, "criterion": criterion, "population": population}
                    | {"sampled": sampled.get(segment, 0), "scored": scored, "unscored": unscored, "s": s, "ss": ss}
                )
        if rows:
            connection.execute(insert(cell), rows)
        stored += len(rows)
    return stored


def _populations(connection: Connection, night: date, admitted: Any) -> dict[tuple[Any, ...], int]:  # noqa: ANN401 an SQL condition
    columns = [run.c[name] for name in _SEGMENT]
    statement = select(*columns, func.count()).where(run.c.night == night, admitted).group_by(*columns)
    return {tuple(row[:-1]): row[-1] for row in connection.execute(statement)}


def _sampled(connection: Connection, night: date, scorer_pk: int) -> dict[tuple[Any, ...], int]:
    """Jobs by segment, skipped ones included: coverage is the scored share of all that was drawn."""
    columns = [run.c[name] for name in _SEGMENT]
    statement = (
        select(*columns, func.count())
        .join(job, job.c.run_pk == run.c.pk)
        .where(job.c.night == night, job.c.scorer_pk == scorer_pk, job.c.purpose == "production")
        .group_by(*columns)
    )
    return {tuple(row[:-1]): row[-1] for row in connection.execute(statement)}


def _sums(
    connection: Connection, night: date, scorer_pk: int
) -> dict[tuple[str | None, tuple[Any, ...]], tuple[int, int, float, float]]:
    columns = [run.c[name] for name in _SEGMENT]
    is_scored = score.c.outcome == "scored"
    stratum = (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged)
    statement = (
        select(
            score.c.criterion,
            *columns,
            func.count().filter(is_scored),
            func.count().filter(~is_scored),
            func.coalesce(func.sum(case((is_scored, score.c.value))), 0.0),
            func.coalesce(func.sum(case((is_scored, score.c.value * score.c.value))), 0.0),
        )
        .select_from(score)
        .join(run, run.c.pk == score.c.run_pk)
        .join(draw, and_(stratum, draw.c.is_current))
        .outerjoin(cut, (cut.c.draw_pk == draw.c.pk) & (cut.c.scorer_pk == score.c.scorer_pk))
        .where(
            score.c.night == night,
            score.c.scorer_pk == scorer_pk,
            score.c.purpose == "production",
            run.c.sample_key < func.coalesce(cut.c.threshold, draw.c.threshold),
        )
        .group_by(score.c.criterion, *columns)
    )
    sums = {}
    for row in connection.execute(statement):
        criterion, *segment, scored, unscored, s, ss = row
        sums[criterion, tuple(segment)] = (scored, unscored, float(s), float(ss))
    return sums


def read_cells(
    connection: Connection,
    since: date,
    until: date,
    scorer_pks: Sequence[int] | None = None,
    *,
    aggregates_only: bool = False,
) -> list[StreamCells]:
    """The cells of some nights, by scorer and criterion: aggregates before criteria, cells oldest night first.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included.
        scorer_pks: Only these scorers; None for all.
        aggregates_only: Whether the cells of single criteria are left out.
    """
    statement = select(cell.c.scorer_pk, cell.c.criterion, *(cell.c[name] for name in Cell._fields)).where(
        cell.c.night.between(since, until)
    )
    if scorer_pks is not None:
        statement = statement.where(cell.c.scorer_pk.in_(list(scorer_pks)))
    if aggregates_only:
        statement = statement.where(cell.c.criterion.is_(None))
    by_stream: dict[tuple[int, str | None], list[Cell]] = defaultdict(list)
    for scorer_pk, criterion, *sums in connection.execute(statement):
        by_stream[scorer_pk, criterion].append(Cell._make(sums))
    # sorted here: databases sort nulls and letters differently
    keys = sorted(by_stream, key=lambda key: (key[0], key[1] or ""))
    return [StreamCells(pk, criterion, sorted(by_stream[pk, criterion])) for pk, criterion in keys]


def unscored_counts(connection: Connection, since: date, until: date) -> dict[tuple[Any, ...], int]:
    """Unscored runs of some nights (bounds included) by (scorer key, criterion, task type, agent, agent version)."""
    keys = (cell.c.scorer_pk, cell.c.criterion, cell.c.task_type, cell.c.agent, cell.c.agent_version)
    statement = select(*keys, func.sum(cell.c.unscored)).where(cell.c.night.between(since, until)).group_by(*keys)
    return {tuple(row[:-1]): int(row[-1]) for row in connection.execute(statement)}


class UnscoredRuns(NamedTuple):
    """Runs without a score, of one scorer and criterion on one night."""

    night: date
    scorer_pk: int
    criterion: str | None
    task_type: str
    agent: str
    agent_version: str
    runs: int


def unscored_by_night(connection: Connection, since: date, until: date) -> list[UnscoredRuns]:
    """Unscored runs of some nights (bounds included), in no order; what has none is absent."""
    keys = (cell.c.night, cell.c.scorer_pk, cell.c.criterion, cell.c.task_type, cell.c.agent, cell.c.agent_version)
    runs = func.sum(cell.c.unscored)
    statement = select(*keys, runs).where(cell.c.night.between(since, until)).group_by(*keys).having(runs > 0)
    return [UnscoredRuns(*row) for row in connection.execute(statement)]


class ComparedSpan(NamedTuple):
    """What the drift tests have read of a stream."""

    scorer: str
    scorer_pk: int
    first: date
    """The first compared night with a score."""
    last: date
    nights: int
    """Such nights."""


def compared_spans(connection: Connection) -> list[ComparedSpan]:
    """The streams that drift tests have read, by scorer, series and task type."""
    statement = (
        select(
            scorer.c.name,
            cell.c.scorer_pk,
            func.min(cell.c.night),
            func.max(cell.c.night),
            func.count(cell.c.night.distinct()),
        )
        .join(scorer, scorer.c.pk == cell.c.scorer_pk)
        .join(night_table, night_table.c.night == cell.c.night)
        .where(cell.c.criterion.is_(None), cell.c.scored > 0, night_table.c.compared_at.is_not(None))
        .group_by(cell.c.scorer_pk, scorer.c.name, cell.c.task_type)
    )
    return [ComparedSpan(*row) for row in connection.execute(statement)]


def first_scored(connection: Connection, scorer_pks: Sequence[int]) -> dict[int, date]:
    """The oldest summarised night that each of these scorers has a score of; absent without any."""
    statement = (
        select(cell.c.scorer_pk, func.min(cell.c.night).label("night"))
        .where(cell.c.scorer_pk.in_(list(scorer_pks)), cell.c.criterion.is_(None), cell.c.scored > 0)
        .group_by(cell.c.scorer_pk)
    )
    return {row.scorer_pk: row.night for row in connection.execute(statement)}


def first_nights(connection: Connection) -> dict[str, date]:
    """The first summarised night with runs, by task type; empty before the first summary."""
    statement = (
        select(cell.c.task_type, func.min(cell.c.night).label("night"))
        .where(cell.c.criterion.is_(None), cell.c.population > 0)
        .group_by(cell.c.task_type)
    )
    return {row.task_type: row.night for row in connection.execute(statement)}


def reference_traffic(connection: Connection, nights: int) -> dict[str, float]:
    """The reference mix of the overall lines: mean runs a night of each task type over its first `nights` nights.

    A task type that comes later joins with its own first nights. Later changes of the mix do not move an overall line.
    Counted by the scorer with the largest population in the task type, since a filter is not a change of traffic.
    """
    since = first_nights(connection)
    traffic = dict.fromkeys(sorted(since), 0.0)
    for first in sorted(set(since.values())):  # one, unless task types came later
        within = cell.c.night.between(first, first + timedelta(days=nights - 1))
        summarised = connection.execute(select(func.count(cell.c.night.distinct())).where(within)).scalar_one()
        sums = (
            select(cell.c.task_type, func.sum(cell.c.population))
            .where(within, cell.c.criterion.is_(None))
            .group_by(cell.c.task_type, cell.c.scorer_pk)
        )
        for task_type, runs in connection.execute(sums):
            if since[task_type] == first:
                traffic[task_type] = max(traffic[task_type], float(runs) / max(1, summarised))
    return traffic


def stale_nights(connection: Connection, since: date) -> list[tuple[date, int, int]]:
    """Drawn nights whose jobs or runs have changed since their last summary, oldest first.

    Args:
        connection: A read transaction.
        since: Nights before this one are only read where their last summary had open jobs, or there is none.

    Returns:
        Night, resolved jobs now, ended runs now. Uses job_counts and run_by_facts.
    """
    resolved = (
        select(func.count())
        .where(job.c.night == night_table.c.night, job.c.state.in_(("scored", "unscored", "failed", "shed")))
        .correlate(night_table)
        .scalar_subquery()
    )
    ended = select(func.count()).where(run.c.night == night_table.c.night).correlate(night_table).scalar_subquery()
    statement = (
        select(
            night_table.c.night,
            resolved.label("now_resolved"),
            ended.label("now_ended"),
            night_table.c.resolved,
            night_table.c.ended,
            night_table.c.summarised_at,
        )
        .where(
            night_table.c.drawn_at.is_not(None),
            or_(night_table.c.night >= since, night_table.c.summarised_at.is_(None), night_table.c.had_open_jobs),
        )
        .order_by(night_table.c.night)
    )
    return [
        (row.night, row.now_resolved, row.now_ended)
        for row in connection.execute(statement)
        if row.summarised_at is None or (row.now_resolved, row.now_ended) != (row.resolved, row.ended)
    ]


class Unsummarised(NamedTuple):
    """Scores of a night that no figure holds yet."""

    night: date
    scores: int
    """Jobs that were scored since the night was summarised last."""
    open_jobs: int
    """Its jobs that are still to do; a night is summarised when they are done."""


def unsummarised(connection: Connection, since: date, first: date, last: date) -> list[Unsummarised]:
    """Nights with scores that no summary holds yet, oldest first; nights without such are absent.

    Args:
        connection: A read transaction.
        since: As for `stale_nights`.
        first: First night that is wanted.
        last: Last one, included.
    """
    nights = [night for night, _, _ in stale_nights(connection, since) if first <= night <= last]
    if not nights:
        return []
    summarised_at = night_table.c.summarised_at
    is_new = and_(job.c.state == "scored", or_(summarised_at.is_(None), job.c.resolved_at > summarised_at))
    statement = (
        select(
            job.c.night,
            func.count().filter(is_new).label("scores"),
            func.count().filter(job.c.state.in_(("queued", "leased"))).label("open_jobs"),
        )
        .join(night_table, night_table.c.night == job.c.night)
        .where(job.c.night.in_(nights), job.c.purpose == "production")
        .group_by(job.c.night)
        .order_by(job.c.night)
    )
    return [Unsummarised(*row) for row in connection.execute(statement) if row.scores]


def open_jobs(connection: Connection, night: date, account: str | None = None) -> int:
    """How many jobs of a night are queued or leased, on both accounts or one. Uses job_counts."""
    which = [] if account is None else [job.c.account == account]
    statement = select(func.count()).where(job.c.night == night, job.c.state.in_(("queued", "leased")), *which)
    return connection.execute(statement).scalar_one()


def summarised_at(connection: Connection, night: date) -> datetime | None:
    """When a night was last summarised; None where it was not."""
    statement = select(night_table.c.summarised_at).where(night_table.c.night == night)
    return connection.execute(statement).scalar_one_or_none()


def mark_summarised(connection: Connection, night: date, resolved: int, ended: int, now: datetime) -> None:
    """Store the counts that a summary was made of, so that `stale_nights` finds later changes.

    A night whose backfill has ended since it was compared is to be compared again, and one whose scorers of later,
    like a rubric whose judge came only then, have ended.
    """
    is_open = open_jobs(connection, night) > 0
    own = night_table.c.night == night
    connection.execute(
        update(night_table).where(own).values(resolved=resolved, ended=ended, summarised_at=now, had_open_jobs=is_open)
    )
    if not is_open:
        ended_since = select(job.c.pk).where(
            job.c.night == night, job.c.account == BACKFILL, job.c.resolved_at > night_table.c.compared_at
        )
        came_later = select(enrolment.c.scorer_pk).where(
            enrolment.c.night == night,
            enrolment.c.purpose == "production",
            enrolment.c.enrolled_at > night_table.c.compared_at,
        )
        is_new = or_(ended_since.exists(), came_later.exists())
        connection.execute(update(night_table).where(own, is_new).values(compared_at=None))


def backfilled_scorers(connection: Connection, night: date) -> set[int]:
    """Keys of the scorers that owe some of their jobs of a night to a backfill."""
    of_night = (job.c.night == night, job.c.account == BACKFILL, job.c.purpose == "production")
    return set(connection.execute(select(job.c.scorer_pk).where(*of_night).distinct()).scalars())


def summarised_nights(connection: Connection, since: date, until: date) -> int:
    """How many of these nights (bounds included) have a summary; nights without runs count too."""
    is_summarised = and_(night_table.c.night.between(since, until), night_table.c.summarised_at.is_not(None))
    return connection.execute(select(func.count()).where(is_summarised)).scalar_one()


def mark_compared(connection: Connection, night: date, now: datetime) -> None:
    """Store that the drift tests have read a night."""
    connection.execute(update(night_table).where(night_table.c.night == night).values(compared_at=now))


def uncompared_nights(connection: Connection) -> list[date]:
    """Summarised nights that the drift tests have not read yet, oldest first."""
    statement = (
        select(night_table.c.night)
        .where(night_table.c.summarised_at.is_not(None), night_table.c.compared_at.is_(None))
        .order_by(night_table.c.night)
    )
    return list(connection.execute(statement).scalars())
