"""The runs of a report that people read: ten at random and ten of the worst, loaded one at a time and cut down."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from worker.core.report import excerpts
from worker.core.report.model import Window
from worker.core.report.reading import ReadingList, RunToRead, ScoreLine
from worker.records import Run
from worker.store.results import report as stored
from worker.store.results import scores
from worker.store.runs import runs

RANDOM, WORST = 10, 10


def read_runs(
    connection: Connection,
    window: Window,
    task_type: str | None,
    primary: str | None,
    heuristics: Mapping[int, str],
    primary_pks: Sequence[int],
    *,
    is_redacted: bool,
) -> ReadingList:
    """Twenty runs to read.

    Args:
        connection: A read transaction.
        window: Of which nights.
        task_type: Only this one; None for all.
        primary: The rubric that ranks them.
        heuristics: Names by key; their mean ranks them where the rubric has no score.
        primary_pks: The rubric's keys.
        is_redacted: Whether secrets and personal data become names.
    """
    chosen = stored.smallest_keys(connection, window.since, window.until, task_type, RANDOM)
    by, ranked = primary, _lowest(connection, window, primary_pks, task_type)
    if not ranked and not _has_scores(connection, window, primary_pks, task_type):
        by, ranked = "heuristics", _lowest(connection, window, list(heuristics), task_type)
        if not ranked and not _has_scores(connection, window, list(heuristics), task_type):
            by = None
    worst = [pk for pk, _ in ranked if pk not in chosen][:WORST]
    drawn = stored.drawn_runs(connection, [*chosen, *worst])
    ranking = primary if by == primary else None

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


def _read(connection: Connection, pk: int, ranking: str | None, *, is_drawn: bool, is_redacted: bool) -> RunToRead:
    run_id, source = stored.identities(connection, [pk])[pk]
    run = next(run for key, run in runs.find_runs(connection, run_id, source) if key == pk)
    facts = scores.run_row(connection, pk)
    rows = [row for row in scores.scores_of(connection, pk) if row["purpose"] == "production"]
    lines = [_line(row, is_redacted=is_redacted) for row in rows]
    lines.sort(key=lambda line: not line.is_rubric)
    value = _value(lines, ranking)
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
        unscored="" if value is not None else _why_not(connection, pk, lines, ranking, is_drawn=is_drawn),
    )


def _steps(run: Run, facts: Any) -> int:  # noqa: ANN401 a row
    """As counted at intake: the texts may be pruned, or the middle steps left out."""
    return max(len(run.steps), int(facts["steps"]))


def _line(row: Any, *, is_redacted: bool) -> ScoreLine:  # noqa: ANN401 a row
    return ScoreLine(
        scorer=row["name"],
        criterion=row["criterion"],
        series=row["series"],
        is_rubric=row["kind"] == "judge",
        value=row["value"],
        reason=row["reason"],
        rationale=excerpts.optional_excerpt(row["rationale"], excerpts.RATIONALE_CHARS, is_redacted=is_redacted),
    )


def _value(lines: Sequence[ScoreLine], ranking: str | None) -> float | None:
    """The newest aggregate of the rubric that ranks; without one, the mean of the heuristics' values."""
    if ranking is not None:
        own = [line.value for line in lines if line.scorer == ranking and line.criterion is None]
        return own[-1] if own else None
    known = [line.value for line in lines if not line.is_rubric and line.value is not None]
    return sum(known) / len(known) if known else None


def _why_not(
    connection: Connection, pk: int, lines: Sequence[ScoreLine], ranking: str | None, *, is_drawn: bool
) -> str:
    if not is_drawn:
        return "not drawn into the sample"
    own = [line.reason for line in lines if ranking in (None, line.scorer) and line.criterion is None and line.reason]
    if own:
        return own[-1]
    states = [row["state"] for row in scores.jobs_of(connection, pk) if ranking in (None, row["name"])]
    return (
        {"queued": "still waits to be scored", "leased": "being scored"}.get(states[-1], states[-1]) if states else ""
    )
