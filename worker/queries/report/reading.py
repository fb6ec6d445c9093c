"""The runs of a report that people read: ten at random and ten of the worst, loaded one at a time and cut down."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping

from worker.core.report import excerpts
from worker.core.report.model import Window
from worker.core.report.reading import ReadingList, RunToRead, ScoreLine
from worker.records import Run
from worker.store.results import report as stored
from worker.store.results import scores
from worker.store.runs import runs

RANDOM, WORST = 10, 10


class Ranking(NamedTuple):
    """What runs are ranked by."""

    scorer: str | None
    """A rubric; None for the mean of the heuristics."""
    pks: Sequence[int]
    """The series whose values count: one of each scorer."""
    over: Collection[int]
    """Series that another has taken over from."""


def read_runs(
    connection: Connection,
    window: Window,
    task_type: str | None,
    primary: str | None,
    heuristics: Mapping[int, str],
    primary_pk: int | None,
    over: Collection[int],
    *,
    is_redacted: bool,
) -> ReadingList:
    """Twenty runs to read.

    Args:
        connection: A read transaction.
        window: Of which nights.
        task_type: Only this one; None for all.
        primary: The rubric that ranks them.
        heuristics: Names by key, one series each; their mean ranks them where the rubric has no score.
        primary_pk: The rubric's series that ranks them; None where it has none.
        over: Series that another has taken over from; their scores are shown, and rank nothing.
        is_redacted: Whether secrets and personal data become names.
    """
    chosen = stored.smallest_keys(connection, window.since, window.until, task_type, RANDOM)
    primary_pks = [] if primary_pk is None else [primary_pk]
    by, ranked = primary, _lowest(connection, window, primary_pks, task_type)
    if not ranked and not _has_scores(connection, window, primary_pks, task_type):
        by, ranked = "heuristics", _lowest(connection, window, list(heuristics), task_type)
        if not ranked and not _has_scores(connection, window, list(heuristics), task_type):
            by = None
    worst = [pk for pk, _ in ranked if pk not in chosen][:WORST]
    drawn = stored.drawn_runs(connection, [*chosen, *worst])
    ranking = Ranking(primary, primary_pks, over) if by == primary else Ranking(None, list(heuristics), over)

    def read(pks: Sequence[int]) -> tuple[RunToRead, ...]:
        found = [_read(connection, pk, ranking, is_drawn=pk in drawn, is_redacted=is_redacted) for pk in pks]
        return tuple(found)

    return ReadingList(read(chosen), read(worst), by)


def _lowest(
    connection: Connection, window: Window, pks: Sequence[int], task_type: str | None
) -> list[tuple[int, float]]:
    if not pks:
        return []
    return stored.lowest_scored(connection, window.since, window.until, pks, task_type, RANDOM + WORST)


def _has_scores(connection: Connection, window: Window, pks: Sequence[int], task_type: str | None) -> bool:
    """Whether anything was scored at all: perfect scores rank nobody, and are no reason to rank by something else."""
    if not pks:
        return False
    return bool(stored.scored_facts(connection, window.since, window.until, pks, task_type, limit=1))


def _read(connection: Connection, pk: int, ranking: Ranking, *, is_drawn: bool, is_redacted: bool) -> RunToRead:
    run_id, source = stored.identities(connection, [pk])[pk]
    run = next(run for key, run in runs.find_runs(connection, run_id, source) if key == pk)
    facts = scores.run_row(connection, pk)
    rows = [row for row in scores.scores_of(connection, pk) if row["purpose"] == "production"]
    lines = [_line(row, ranking, is_redacted=is_redacted) for row in rows]
    lines.sort(key=lambda line: not line.is_rubric)
    value = _value(rows, ranking)
    return RunToRead(
        run_id=run_id,
        source=source,
        task_type=run.task_type,
        status=run.status,
        agent=run.agent,
        agent_version=run.agent_version,
        ended_at=run.ended_at,
        cost_usd=run.cost_usd,
        latency_ms=run.latency_ms,
        flags=tuple(flag for flag in facts["flags"].split(",") if flag),
        error=excerpts.optional_excerpt(run.error, excerpts.ERROR_CHARS, is_redacted=is_redacted),
        input=excerpts.optional_excerpt(run.input, excerpts.INPUT_CHARS, is_redacted=is_redacted),
        output=excerpts.optional_excerpt(run.output, excerpts.OUTPUT_CHARS, is_redacted=is_redacted),
        steps=excerpts.step_excerpts(run, is_redacted=is_redacted),
        steps_in_all=_steps(run, facts),
        scores=tuple(lines),
        value=value,
        unscored="" if value is not None else _why_not(connection, pk, rows, ranking, is_drawn=is_drawn),
    )


def _steps(run: Run, facts: Any) -> int:  # noqa: ANN401 a row
    """As counted at intake: the texts may be pruned, or the middle steps left out."""
    return max(len(run.steps), int(facts["steps"]))


def _line(row: Any, ranking: Ranking, *, is_redacted: bool) -> ScoreLine:  # noqa: ANN401 a row
    return ScoreLine(
        scorer=row["name"],
        criterion=row["criterion"],
        series=row["series"],
        is_rubric=row["kind"] == "judge",
        value=row["value"],
        reason=row["reason"],
        rationale=excerpts.optional_excerpt(row["rationale"], excerpts.RATIONALE_CHARS, is_redacted=is_redacted),
        is_over=row["scorer_pk"] in ranking.over,
    )


def _value(rows: Sequence[RowMapping], ranking: Ranking) -> float | None:
    """The aggregate of the rubric that ranks; without one, the mean of the heuristics' values. One series of each."""
    known = [row["value"] for row in rows if row["scorer_pk"] in ranking.pks and row["criterion"] is None]
    if ranking.scorer is not None:
        return known[-1] if known else None
    values = [value for value in known if value is not None]
    return sum(values) / len(values) if values else None


def _why_not(connection: Connection, pk: int, rows: Sequence[RowMapping], ranking: Ranking, *, is_drawn: bool) -> str:
    if not is_drawn:
        return "not drawn into the sample"
    own = [row for row in rows if ranking.scorer in (None, row["name"]) and row["criterion"] is None]
    reasons = [row["reason"] for row in own if row["reason"] and row["scorer_pk"] in ranking.pks]
    if reasons:
        return str(reasons[-1])
    if other := [row["series"] for row in own if row["value"] is not None and row["scorer_pk"] not in ranking.pks]:
        return f"scored by {other[-1]} only, which is not compared"
    states = [row["state"] for row in scores.jobs_of(connection, pk) if ranking.scorer in (None, row["name"])]
    return (
        {"queued": "still waits to be scored", "leased": "being scored"}.get(states[-1], states[-1]) if states else ""
    )
