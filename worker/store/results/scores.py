"""The stored facts, jobs and scores of one run, and what scores cost."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, RowMapping, func, select

from worker.records import CACHED
from worker.store.tables import CutRow, DrawRow, EnrolmentRow, JobRow, RunRow, SampleRow, ScoreRow, ScorerRow, core

run, draw, sample, job, score, scorer, cut, enrolment = (
    core(row) for row in (RunRow, DrawRow, SampleRow, JobRow, ScoreRow, ScorerRow, CutRow, EnrolmentRow)
)


def mean_cost(connection: Connection, scorer_pk: int, tier_prices: Mapping[str, float]) -> float | None:
    """Mean cost of a score of this scorer at the full price, US dollars; None when no score has a known cost.

    The calls of a second judge are included. Scores from cached answers do not count, since the next call will be paid.

    Args:
        connection: A read transaction.
        scorer_pk: The scorer's key.
        tier_prices: Price of a service tier as a multiple of the full price, for example 0.5 for batch.
    """
    tier = func.coalesce(score.c.service_tier, "")
    statement = (
        select(tier, func.sum(score.c.cost_usd), func.count().filter(score.c.purpose != "escalation"))
        .where(
            score.c.scorer_pk == scorer_pk,
            score.c.criterion.is_(None),
            score.c.cost_usd.is_not(None),
            tier != CACHED,
        )
        .group_by(tier)
    )
    total, count = 0.0, 0
    for name, usd, scores in connection.execute(statement):
        if times := tier_prices.get(name, 1.0):
            total, count = total + usd / times, count + scores
    return total / count if count else None


def has_unpriced(connection: Connection, scorer_pk: int, since: datetime) -> bool:
    """Whether a call for this scorer was answered since a moment whose cost is not known; stops at the first.

    Looks at the nights that it was enrolled for since the day before, so an answer to a job that waited longer is not
    seen. Uses score_by_night.

    Args:
        connection: A read transaction.
        scorer_pk: The scorer's key.
        since: By the store's clock.
    """
    mine = (enrolment.c.scorer_pk == scorer_pk, enrolment.c.enrolled_at >= since - timedelta(days=1))
    statement = select(score.c.pk).where(
        score.c.night.in_(select(enrolment.c.night).where(*mine)),
        score.c.scorer_pk == scorer_pk,
        score.c.criterion.is_(None),
        score.c.created_at >= since,
        score.c.cost_usd.is_(None),
        score.c.model_requested.is_not(None),
        func.coalesce(score.c.service_tier, "") != CACHED,
    )
    return connection.execute(statement.limit(1)).first() is not None


def judging_cost(connection: Connection, since: date, until: date) -> float:
    """Known cost of judging these nights (bounds included), US dollars; 0.0 when nothing is known."""
    statement = select(func.sum(score.c.cost_usd)).where(score.c.night.between(since, until))
    return float(connection.execute(statement).scalar_one_or_none() or 0.0)


def run_row(connection: Connection, run_pk: int) -> RowMapping:
    """The stored columns of a run."""
    return connection.execute(select(run).where(run.c.pk == run_pk)).mappings().one()


def draw_of(connection: Connection, run_pk: int) -> tuple[RowMapping | None, RowMapping | None]:
    """The current draw of a run's stratum, and the run's row in the sample; None where there is none."""
    stratum = (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged)
    current = select(draw).join(run, stratum).where(run.c.pk == run_pk, draw.c.is_current)
    drawn = select(sample).where(sample.c.run_pk == run_pk)
    return connection.execute(current).mappings().one_or_none(), connection.execute(drawn).mappings().one_or_none()


def jobs_of(connection: Connection, run_pk: int) -> Sequence[RowMapping]:
    """The jobs of a run with their scorers, by scorer kind and name."""
    statement = (
        select(job, scorer.c.name, scorer.c.series, scorer.c.kind, scorer.c.spec)
        .join(scorer, scorer.c.pk == job.c.scorer_pk)
        .where(job.c.run_pk == run_pk)
        .order_by(scorer.c.kind, scorer.c.name, job.c.pk)
    )
    return connection.execute(statement).mappings().all()


def scores_of(connection: Connection, run_pk: int) -> Sequence[RowMapping]:
    """The scores of a run, of every purpose, by scorer; the aggregate before its criteria. Uses score_by_run."""
    statement = (
        select(score, scorer.c.name, scorer.c.series, scorer.c.kind)
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
        .where(score.c.run_pk == run_pk)
    )
    rows = connection.execute(statement).mappings().all()
    return sorted(rows, key=lambda row: (row["kind"], row["name"], row["scorer_pk"], row["criterion"] or ""))


def worst_runs(
    connection: Connection,
    scorer_pks: Sequence[int],
    *,
    task_type: str | None,
    status: str | None,
    since: date | None,
    until: date | None,
    agent_version: str | None,
    below: float | None,
    limit: int,
    offset: int = 0,
) -> Sequence[RowMapping]:
    """Scored runs without their texts, the lowest score first, then the newest; with `value` and `scorer_pk`.

    Args:
        connection: A read transaction.
        scorer_pks: Versions of one scorer. A run that several have scored is there several times.
        task_type: Only this one; None for all. So are the others.
        status: Only runs that ended so.
        since: First night.
        until: Last night, included.
        agent_version: Only runs of this one.
        below: Only scores below this, 0..1.
        limit: The most to return.
        offset: How many to pass over.
    """
    columns = [column for column in run.columns if column.name not in ("content_sha", "sample_key")]
    wanted = [
        score.c.scorer_pk.in_(list(scorer_pks)),
        score.c.criterion.is_(None),
        score.c.purpose.in_(("production", "backfill")),
        score.c.outcome == "scored",
    ]
    for column, value in ((run.c.task_type, task_type), (run.c.status, status), (run.c.agent_version, agent_version)):
        wanted += [] if value is None else [column == value]
    wanted += [] if since is None else [score.c.night >= since]
    wanted += [] if until is None else [score.c.night <= until]
    wanted += [] if below is None else [score.c.value < below]
    statement = (
        select(*columns, score.c.value, score.c.scorer_pk)
        .join(run, run.c.pk == score.c.run_pk)
        .where(*wanted)
        .order_by(score.c.value, score.c.night.desc(), score.c.scorer_pk.desc(), score.c.pk)
        .limit(limit)
        .offset(offset)
    )
    return connection.execute(statement).mappings().all()


def lowest_criterion(connection: Connection, run_pk: int, scorer_pk: int) -> RowMapping | None:
    """The criterion of a run with the lowest score, with its rationale; None where the scorer has no criteria."""
    statement = (
        select(score.c.criterion, score.c.value, score.c.rationale)
        .where(
            score.c.run_pk == run_pk,
            score.c.scorer_pk == scorer_pk,
            score.c.criterion.is_not(None),
            score.c.purpose.in_(("production", "backfill")),
            score.c.value.is_not(None),
        )
        .order_by(score.c.value, score.c.pk)
        .limit(1)
    )
    return connection.execute(statement).mappings().first()


def rationale_of(connection: Connection, run_pk: int, scorer_pk: int) -> str | None:
    """What a scorer without criteria said of a run."""
    statement = select(score.c.rationale).where(
        score.c.run_pk == run_pk, score.c.scorer_pk == scorer_pk, score.c.criterion.is_(None)
    )
    return connection.execute(statement.limit(1)).scalar_one_or_none()
