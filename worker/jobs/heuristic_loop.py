"""Heuristics over due jobs, in a plain loop."""

import time
from collections.abc import Coroutine, Sequence
from typing import Any

from worker.jobs.drain_result import DrainResult, OnProgress, ignore_progress, pruned
from worker.jobs.outcome import failed, settled
from worker.jobs.queue import ClaimedJob, JobQueue, Stop
from worker.records import Scoring
from worker.scorers.custom.scorer import CustomScorer
from worker.store.queue.settling import Settled

HEURISTICS_AT_ONCE = 450
"""Jobs a claim: one transaction to take, one to settle."""
CUSTOM_AT_ONCE = 50
"""Of one custom scorer, whose code may be slow: it takes no job of another scorer along when its process is killed."""


def drain_heuristics(
    queue: JobQueue, *, budget_s: float, stop: Stop, on_progress: OnProgress = ignore_progress
) -> DrainResult:
    """Score with heuristics until nothing is due, time is up, or a stop is asked for.

    The built-in ones first, then each custom scorer by itself.

    Args:
        queue: The heuristic lane.
        budget_s: Seconds after which no more is claimed, and what is claimed and not scored is released.
        stop: Asked between runs.
        on_progress: Told how many jobs each batch settled.
    """
    until = time.monotonic() + budget_s
    total = DrainResult()
    for scorer_pks, max_jobs in _groups(queue):
        while time.monotonic() < until and not stop():
            claimed = queue.claim(max_jobs, scorer_pks).work
            if not claimed:
                break
            if isinstance(claimed[0].scorer, CustomScorer):
                claimed = _one_suspect(queue, claimed)
            done = _score(queue, claimed, until, stop)
            count = queue.settle(done)
            on_progress(count)
            total += DrainResult(settled=count)
    return total


def _groups(queue: JobQueue) -> list[tuple[list[int], int]]:
    """Scorers that are claimed together, with the jobs of one claim."""
    custom = [pk for pk in queue.scorers.pks if isinstance(queue.scorers.get(pk), CustomScorer)]
    built_in = [pk for pk in queue.scorers.pks if pk not in custom]
    return [(built_in, HEURISTICS_AT_ONCE), *(([pk], CUSTOM_AT_ONCE) for pk in custom)]


def _one_suspect(queue: JobQueue, claimed: list[ClaimedJob]) -> list[ClaimedJob]:
    """Of jobs whose last attempt ended with its process, the first alone: whichever of them ended it takes none along.

    The rest is released untried. Where there is no such job, all that was claimed.
    """
    suspect = next((work for work in claimed if work.job.attempt > 1), None)
    if suspect is None:
        return claimed
    queue.release_untried([work.job for work in claimed if work is not suspect])
    return [suspect]


def _score(queue: JobQueue, claimed: Sequence[ClaimedJob], until: float, stop: Stop) -> list[Settled]:
    """Outcomes of claimed jobs, one at least; when time is up the rest is released. Renews leases meanwhile."""
    done: list[Settled] = []
    renewed_at = time.monotonic()
    for position, work in enumerate(claimed):
        now = time.monotonic()
        if position and (stop() or now >= until):
            queue.release_untried([left.job for left in claimed[position:]])
            break
        if now - renewed_at > queue.lease_s / 3:
            queue.renew([held.job for held in claimed])
            renewed_at = now
        done.append(_outcome(work))
    return done


def _outcome(work: ClaimedJob) -> Settled:
    if work.run is None:
        return pruned(work.job)
    try:
        scoring = at_once(work.scorer.score(work.run, work.context))
        return settled(work.job, work.run, work.scorer.key, scoring)
    except Exception as error:  # noqa: BLE001 one scorer's bug must not cost the other runs
        return failed(work.job, f"scorer_error: {type(error).__name__}: {error}", was_called=False)


def at_once(scoring: Coroutine[Any, Any, Scoring]) -> Scoring:
    """The result of a scorer that asks nobody, without an event loop."""
    try:
        scoring.send(None)
    except StopIteration as done:
        result: Scoring = done.value
        return result
    scoring.close()
    raise RuntimeError("a heuristic must not wait")
