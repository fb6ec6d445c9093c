"""The queries of the weekly review. Each has a bounded result, and none reads the texts of runs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select, true

from worker.store.tables import CellRow, CutRow, DrawRow, JobRow, RunRow, SampleRow, ScoreRow, ScorerRow, TrendRow, core

run, draw, cut, sample, job, score, scorer, cell, trend = (
    core(row) for row in (RunRow, DrawRow, CutRow, SampleRow, JobRow, ScoreRow, ScorerRow, CellRow, TrendRow)
)
_FACTS = (run.c.task_type, run.c.agent, run.c.agent_version, run.c.status, run.c.flags, run.c.tools, run.c.input_tokens)


class ScoredSpan(NamedTuple):
    """Since when, and in how many nights, a scorer has scored a task type."""

    scorer_pk: int
    task_type: str
    first: date
    nights: int
    """Nights with scores."""


class AgentVersion(NamedTuple):
    """An agent's version in a task type, and when it was first seen there."""

    task_type: str
    agent: str
    agent_version: str
    first: date


class RunFacts(NamedTuple):
    """A run without its texts."""

    pk: int
    figure: float | None
    """Its score, or its value in the column that was asked for; None where it has none."""
    task_type: str
    agent: str
    agent_version: str
    status: str
    flags: tuple[str, ...]
    tools: Mapping[str, tuple[int, int]]
    """By tool name: calls, failed calls."""
    input_tokens: int | None


def status_counts(connection: Connection, since: date, until: date, task_type: str | None) -> Sequence[Row[Any]]:
    """Ended runs by night, task type and status, bounds included. Uses run_by_facts."""
    keys = (run.c.night, run.c.task_type, run.c.status)
    statement = select(*keys, func.count().label("runs")).where(run.c.night.between(since, until), _of(task_type))
    return connection.execute(statement.group_by(*keys)).all()


def _of(task_type: str | None) -> ColumnElement[bool]:
    return true() if task_type is None else run.c.task_type == task_type


def week_points(connection: Connection, first_week: str, last_week: str, task_type: str | None) -> Sequence[Row[Any]]:
    """Weekly points of every scorer's aggregate, by task type and overall; oldest week first. Uses trend_by_week."""
    columns = [column for column in trend.c if column.name not in ("pk", "criterion", "dimension", "segment")]
    statement = select(*columns).where(
        trend.c.dimension == "task_type",
        trend.c.week.between(first_week, last_week),
        trend.c.criterion.is_(None),
    )
    if task_type is not None:
        statement = statement.where(trend.c.task_type == task_type)
    return connection.execute(statement.order_by(trend.c.week, trend.c.scorer_pk)).all()


def scored_spans(connection: Connection, until: date) -> list[ScoredSpan]:
    """Since when, and in how many nights up to `until`, each scorer has scored each task type."""
    statement = (
        select(cell.c.scorer_pk, cell.c.task_type, func.min(cell.c.night), func.count(cell.c.night.distinct()))
        .where(cell.c.criterion.is_(None), cell.c.scored > 0, cell.c.night <= until)
        .group_by(cell.c.scorer_pk, cell.c.task_type)
    )
    return [ScoredSpan(*row) for row in connection.execute(statement)]


def agent_versions(connection: Connection, until: date) -> list[AgentVersion]:
    """When each version of an agent was first seen in each task type, oldest first."""
    keys = (cell.c.task_type, cell.c.agent, cell.c.agent_version)
    statement = (
        select(*keys, func.min(cell.c.night))
        .where(cell.c.criterion.is_(None), cell.c.population > 0, cell.c.night <= until)
        .group_by(*keys)
    )
    return sorted(
        (AgentVersion(*row) for row in connection.execute(statement)), key=lambda version: (version.first, *version[:3])
    )


def scorer_names(connection: Connection) -> dict[int, tuple[str, str, str]]:
    """Name, series and kind of every stored scorer, by key, oldest first."""
    statement = select(scorer.c.pk, scorer.c.name, scorer.c.series, scorer.c.kind).order_by(scorer.c.pk)
    return {pk: (name, series, kind) for pk, name, series, kind in connection.execute(statement)}


def completed_runs(connection: Connection, since: date, until: date, task_type: str | None) -> Sequence[Row[Any]]:
    """Completed runs by night, task type and flag: the base of the good and poor shares. Uses run_by_facts."""
    keys = (run.c.night, run.c.task_type, run.c.flagged)
    statement = select(*keys, func.count().label("runs")).where(
        run.c.night.between(since, until), run.c.status == "completed", _of(task_type)
    )
    return connection.execute(statement.group_by(*keys)).all()


def good_runs(
    connection: Connection, since: date, until: date, scorer_pks: Collection[int], threshold: float
) -> Sequence[Row[Any]]:
    """Scored completed runs by night, scorer, task type and flag, and how many of them score at least `threshold`.

    Only runs below the effective threshold of their stratum count, as in the cells: above a budget cut the scored runs
    are not a random sample.
    """
    keys = (run.c.night, score.c.scorer_pk, run.c.task_type, run.c.flagged)
    statement = (
        _scored(since, until, scorer_pks)
        .where(run.c.status == "completed")
        .with_only_columns(
            *keys, func.count().label("scored"), func.count().filter(score.c.value >= threshold).label("good")
        )
        .group_by(*keys)
    )
    return connection.execute(statement).all()


def _scored(since: date, until: date, scorer_pks: Collection[int]) -> Select[Any]:
    """The scored aggregates that count in the sample, joined with their runs. Uses score_by_night."""
    stratum = (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged)
    return (
        select(run.c.pk)
        .select_from(score)
        .join(run, run.c.pk == score.c.run_pk)
        .join(draw, and_(stratum, draw.c.is_current))
        .outerjoin(cut, (cut.c.draw_pk == draw.c.pk) & (cut.c.scorer_pk == score.c.scorer_pk))
        .where(
            score.c.night.between(since, until),
            score.c.scorer_pk.in_(list(scorer_pks)),
            score.c.criterion.is_(None),
            score.c.purpose == "production",
            score.c.outcome == "scored",
            run.c.sample_key < func.coalesce(cut.c.threshold, draw.c.threshold),
        )
    )


def scored_facts(
    connection: Connection, since: date, until: date, scorer_pks: Collection[int], task_type: str | None, limit: int
) -> list[RunFacts]:
    """At most `limit` scored runs, those with the smallest sample keys, with their score by one series.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included.
        scorer_pks: One series of one scorer; of more, which are not comparable, each run has the newest one's.
        task_type: Only this one; None for all.
        limit: The most rows to read.
    """
    statement = (
        _scored(since, until, scorer_pks)
        .where(_of(task_type))
        .with_only_columns(score.c.scorer_pk, run.c.pk, score.c.value, *_FACTS)
        .order_by(run.c.sample_key, run.c.pk, score.c.scorer_pk)
        .limit(limit)
    )
    newest = {row[1]: _facts(row[1:]) for row in connection.execute(statement)}
    return list(newest.values())


def run_facts(
    connection: Connection, since: date, until: date, task_type: str | None, figure: str | None, limit: int
) -> list[RunFacts]:
    """Ended runs without their texts, by sample key: all, or about `limit` of them, a uniform subset.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included.
        task_type: Only this one; None for all.
        figure: A column of the run table to return as `figure`, for example `cost_usd`; None for the cost.
        limit: About how many at most.
    """
    of_window = (run.c.night.between(since, until), _of(task_type))
    size = connection.execute(select(func.count()).where(*of_window)).scalar_one()
    column = run.c[figure] if figure else run.c.cost_usd
    statement = select(run.c.pk, column.label("figure"), *_FACTS).where(*of_window)
    if size > limit:
        statement = statement.where(run.c.sample_key < limit / size)
    return [_facts(row) for row in connection.execute(statement.order_by(run.c.sample_key, run.c.pk))]


def _facts(row: Sequence[Any]) -> RunFacts:
    pk, figure, task_type, agent, version, status, flags, tools, tokens = row
    by_name = {} if tools is None else {name: (calls, failed) for name, (calls, failed) in orjson.loads(tools).items()}
    named = tuple(flag for flag in flags.split(",") if flag)
    return RunFacts(pk, figure, task_type, agent, version, status, named, by_name, tokens)


def smallest_keys(connection: Connection, since: date, until: date, task_type: str | None, count: int) -> list[int]:
    """Keys of the `count` runs with the smallest sample keys: a uniform random subset that stays the same."""
    statement = (
        select(run.c.pk)
        .where(run.c.night.between(since, until), _of(task_type))
        .order_by(run.c.sample_key, run.c.pk)
        .limit(count)
    )
    return list(connection.execute(statement).scalars())


def lowest_scored(
    connection: Connection, since: date, until: date, scorer_pks: Collection[int], task_type: str | None, count: int
) -> list[tuple[int, float]]:
    """The `count` runs with the lowest mean aggregate of these scorers, only those below 1; ties by sample key.

    Returns:
        Run key and mean, 0..1, lowest first.
    """
    mean = func.avg(score.c.value)
    statement = (
        select(run.c.pk, mean)
        .select_from(score)
        .join(run, run.c.pk == score.c.run_pk)
        .where(
            score.c.night.between(since, until),
            score.c.scorer_pk.in_(list(scorer_pks)),
            score.c.criterion.is_(None),
            score.c.purpose == "production",
            score.c.outcome == "scored",
            _of(task_type),
        )
        .group_by(run.c.pk, run.c.sample_key)
        .having(mean < 1)
        .order_by(mean, run.c.sample_key, run.c.pk)
        .limit(count)
    )
    return [(pk, float(value)) for pk, value in connection.execute(statement)]


def identities(connection: Connection, pks: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Run id and source by run key; an unknown key is absent."""
    statement = select(run.c.pk, run.c.run_id, run.c.source).where(run.c.pk.in_(list(pks)))
    return {pk: (run_id, source) for pk, run_id, source in connection.execute(statement)}


def highest(
    connection: Connection, since: date, until: date, task_type: str | None, figure: str, count: int
) -> list[tuple[int, float]]:
    """The `count` runs with the highest value of a column: run key and value, highest first."""
    column = run.c[figure]
    statement = (
        select(run.c.pk, column)
        .where(run.c.night.between(since, until), _of(task_type), column.is_not(None))
        .order_by(column.desc(), run.c.sample_key, run.c.pk)
        .limit(count)
    )
    return [(pk, float(value)) for pk, value in connection.execute(statement)]


def missing_reasons(
    connection: Connection, since: date, until: date, task_type: str | None = None
) -> list[tuple[int, str, str, int]]:
    """Why jobs ended without a score: scorer key, state, reason, jobs; by scorer, most jobs first."""
    keys = (job.c.scorer_pk, job.c.state, job.c.reason)
    ended_so = (
        select(*keys, func.count())
        .where(
            job.c.night.between(since, until),
            job.c.purpose == "production",
            job.c.state.in_(("unscored", "failed", "shed")),
        )
        .group_by(*keys)
    )
    if task_type is not None:
        ended_so = ended_so.join(run, run.c.pk == job.c.run_pk).where(run.c.task_type == task_type)
    rows = [(pk, state, reason or "", count) for pk, state, reason, count in connection.execute(ended_so)]
    return sorted(rows, key=lambda row: (row[0], -row[3], row[1], row[2]))


def judged_runs(
    connection: Connection, since: date, until: date, scorer_pks: Collection[int], task_type: str | None = None
) -> int:
    """Runs of these nights that any of these scorers has scored, each counted once. Uses score_by_night."""
    statement = select(func.count(score.c.run_pk.distinct())).where(
        score.c.night.between(since, until),
        score.c.scorer_pk.in_(list(scorer_pks)),
        score.c.criterion.is_(None),
        score.c.purpose == "production",
        score.c.outcome == "scored",
    )
    if task_type is not None:
        statement = statement.join(run, run.c.pk == score.c.run_pk).where(run.c.task_type == task_type)
    return int(connection.execute(statement).scalar_one())


def judging_costs(connection: Connection, since: date, until: date, task_type: str | None = None) -> Sequence[Row[Any]]:
    """Cost of judging these nights' runs by model: verdicts, verdicts of known cost, US dollars, tokens; most first."""
    model = func.coalesce(score.c.model_served, score.c.model_requested)
    statement = (
        select(
            model.label("model"),
            func.count().label("verdicts"),
            func.count(score.c.cost_usd).label("priced"),
            func.coalesce(func.sum(score.c.cost_usd), 0.0).label("cost_usd"),
            func.coalesce(func.sum(score.c.input_tokens), 0).label("input_tokens"),
            func.coalesce(func.sum(score.c.output_tokens), 0).label("output_tokens"),
        )
        .where(score.c.night.between(since, until), score.c.criterion.is_(None), model.is_not(None))
        .group_by(model)
    )
    if task_type is not None:
        statement = statement.join(run, run.c.pk == score.c.run_pk).where(run.c.task_type == task_type)
    return sorted(connection.execute(statement).all(), key=lambda row: (-row.verdicts, row.model))


def drawn_runs(connection: Connection, pks: Sequence[int]) -> set[int]:
    """Which of these runs are in the sample."""
    return set(connection.execute(select(sample.c.run_pk).where(sample.c.run_pk.in_(list(pks)))).scalars())
