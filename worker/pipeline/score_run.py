"""One run scored now, because a person asks for it; its scores enter no estimate unless its night had drawn it."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping

from worker.jobs.drain_result import DrainResult
from worker.jobs.processor import JobProcessor
from worker.jobs.queue import Stop
from worker.pipeline.backfill import chosen_scorers
from worker.project.project import Project
from worker.records import Run
from worker.records.job import ASKED, SCORER_KINDS
from worker.scorers.protocol import Scorer
from worker.store.queue import backfill as ledger
from worker.store.queue.enrol import Registered
from worker.store.queue.job import WAITS_FOR_MONEY
from worker.store.results import scores

_REST_S = 0.2
_TURN_S = 2.0
"""A turn waits for jobs that are tried again; after so long whoever asked is told what it waits for."""
_OPEN = ("queued", "leased")


class Verdict(NamedTuple):
    """What one scorer says of a run."""

    scorer: str
    series: str
    state: str
    """The job's: scored, unscored or failed, or queued or leased where it did not end; `filtered` where the scorer does
    not apply to such runs."""
    reason: str | None
    """Why there is no value; None where there is one."""
    is_stored: bool
    """Whether it was there before."""
    is_drawn: bool
    """Whether it counts in estimates: the run was drawn, and the scorer enrolled for its night."""
    rows: Sequence[RowMapping]
    """Score rows: the aggregate first, then by criterion; empty without a score."""

    @property
    def total(self) -> RowMapping | None:
        """The aggregate; None without a score."""
        return next((row for row in self.rows if row["criterion"] is None), None)


class RunVerdicts(NamedTuple):
    """What came of it."""

    verdicts: Sequence[Verdict]
    trouble: str | None
    """Why something is not scored; None where all is."""
    is_drawn: bool
    """Whether the run is in its night's sample, whoever was enrolled for the night."""


def score_run(
    project: Project,
    processor: JobProcessor,
    run_pk: int,
    run: Run,
    now: datetime,
    *,
    names: Sequence[str] = (),
    stop: Stop,
    on_trouble: Callable[[str], None] = lambda _: None,
    patience_s: float = 20.0,
) -> RunVerdicts:
    """Score one run here and now with the active scorers, whether its night is drawn or not, and wait for it.

    A scorer that has scored this revision of the run before is not asked again. Where its night has queued the run to
    be scored at once, that job is done; else one that no estimate reads, on the account of backfills.

    Args:
        project: Whose run.
        processor: Works here.
        run_pk: Key of the run.
        run: The run.
        now: The time.
        names: Only these scorers, as in `plan`; all active ones without any.
        stop: Asked often; what is not done is left queued.
        on_trouble: Told what is wrong with the judge, before it is tried again.
        patience_s: Seconds without any answer from the judge after which it is given up.

    Raises:
        SettingsError: A scorer is unknown, or cannot be made here.
    """
    entries = _entries(project, names)
    fitting = [entry for entry in entries if entry[0].applies_to.admits(run.task_type, run.status, run.agent)]
    with project.store.read() as connection:
        before = _stored(connection, run_pk, run.revision)
    missing = [row for row, _ in fitting if row.pk not in before]
    with project.store.write() as connection:
        queued = {job["scorer_pk"] for job in scores.jobs_of(connection, run_pk) if _is_queued_by_night(job)}
        ledger.ask_for(connection, run_pk, [row for row in missing if row.pk not in queued], now)
    wanted = {row.pk for row in missing}
    project.prices.check([scorer for row, scorer in fitting if row.pk in wanted], is_backfill=True)
    trouble = _work(project, processor, run_pk, fitting, wanted, stop, on_trouble, patience_s)
    with project.store.read() as connection:
        after = _stored(connection, run_pk, run.revision)
        jobs = {(job["scorer_pk"], job["purpose"]): job for job in scores.jobs_of(connection, run_pk)}
        _, drawn = scores.draw_of(connection, run_pk)
    # what a person asks for one run is a rubric's verdict: heuristics come after it
    ordered = sorted(entries, key=lambda entry: entry[0].key.kind != "judge")
    verdicts = [_verdict(row, (row, scorer) in fitting, before, after, jobs) for row, scorer in ordered]
    return RunVerdicts(verdicts, trouble, drawn is not None)


def _entries(project: Project, names: Sequence[str]) -> list[tuple[Registered, Scorer]]:
    active = project.scorers.active()
    if any(row.pk < 0 for row in active):  # nothing was drawn yet
        project.scorers.register()
        active = project.scorers.active()
    return chosen_scorers(project, active, names)


def _work(
    project: Project,
    processor: JobProcessor,
    run_pk: int,
    entries: Sequence[tuple[Registered, Scorer]],
    wanted: set[int],
    stop: Stop,
    on_trouble: Callable[[str], None],
    patience_s: float,
) -> str | None:
    """Work until nothing of it is open; why it is not, else None."""
    mine = [entry for entry in entries if entry[0].pk in wanted]
    moved_at = time.monotonic()
    while wanted:
        done = processor.score_run(run_pk, mine, budget_s=_TURN_S, stop=stop) if mine else DrainResult()
        with project.store.read() as connection:
            left = [job for job in scores.jobs_of(connection, run_pk) if _is_open(job) and job["scorer_pk"] in wanted]
        if not left:
            return None
        if all(job["reason"] == WAITS_FOR_MONEY for job in left):
            return WAITS_FOR_MONEY
        silent_s = processor.judge_silent_s()
        if done.refused or stop() or (silent_s is not None and silent_s >= patience_s):
            return done.refused or done.outage or "interrupted"
        if trouble := done.outage or next((job["reason"] for job in left if job["not_before"] is not None), None):
            on_trouble(str(trouble).removeprefix("judge_unavailable: "))
        now = time.monotonic()
        if done.settled or done.retried or any(job["state"] == "leased" or job["not_before"] for job in left):
            moved_at = now
        elif now - moved_at > patience_s:
            return processor.missing_models.line() or "it cannot be scored here: other processes hold its jobs"
        time.sleep(_REST_S)  # another process has it, and tells nobody
    return None


def _is_queued_by_night(job: Any) -> bool:  # noqa: ANN401 a row
    return job["purpose"] == "production" and job["lane"] in SCORER_KINDS and _is_open(job)


def _is_open(job: Any) -> bool:  # noqa: ANN401 a row
    return job["state"] in _OPEN


def _stored(connection: Connection, run_pk: int, revision: int) -> dict[int, list[RowMapping]]:
    """The scores of a run by scorer: those of its night where there are any, else those that somebody asked for."""
    found: dict[int, list[RowMapping]] = {}
    rows = [row for row in scores.scores_of(connection, run_pk) if row["revision"] == revision]
    for purpose in (ASKED, "production"):
        own: dict[int, list[RowMapping]] = {}
        for row in rows:
            if row["purpose"] == purpose and row["replicate"] == 0:
                own.setdefault(row["scorer_pk"], []).append(row)
        found |= own
    return found


def _verdict(
    row: Registered,
    is_fitting: bool,
    before: dict[int, list[RowMapping]],
    after: dict[int, list[RowMapping]],
    jobs: dict[tuple[int, str], Any],
) -> Verdict:
    found = after.get(row.pk, [])
    name = (row.key.name, row.key.series)
    if not is_fitting and not found:
        return Verdict(*name, "filtered", "the scorer does not apply to such runs", False, False, ())
    purpose = found[0]["purpose"] if found else (ASKED if (row.pk, ASKED) in jobs else "production")
    job = jobs.get((row.pk, purpose))
    total = next((one for one in found if one["criterion"] is None), None)
    state = job["state"] if job is not None else "scored" if total is not None else "failed"
    reason = (total["reason"] if total is not None else None) or (job["reason"] if job is not None else None)
    if total is not None and state not in _OPEN:
        state = total["outcome"]
    return Verdict(*name, state, reason, row.pk in before, purpose == "production", found)
