"""Heuristics over due jobs, in a plain loop."""

import time
from collections.abc import Coroutine
from typing import Any

from worker.jobs.drain_result import DrainResult, OnProgress, ignore_progress, pruned
from worker.jobs.outcome import failed, settled
from worker.jobs.queue import JobQueue, Stop
from worker.records import Scoring

HEURISTICS_AT_ONCE = 450
"""Jobs a claim: one transaction to take, one to settle."""


def drain_heuristics(
    queue: JobQueue, *, budget_s: float, stop: Stop, on_progress: OnProgress = ignore_progress
) -> DrainResult:
    """Score with heuristics until nothing is due, time is up, or a stop is asked for.

    Args:
        queue: The heuristic lane.
        budget_s: Seconds after which no more is claimed.
        stop: Asked between batches.
        on_progress: Told how many jobs each batch settled.
    """
    until = time.monotonic() + budget_s
    total = DrainResult()
    while time.monotonic() < until and not stop():
        claimed = queue.claim(HEURISTICS_AT_ONCE)
        if not claimed.work:
            break
        done = []
        for work in claimed.work:
            if work.run is None:
                done.append(pruned(work.job))
                continue
            try:
                scoring = at_once(work.scorer.score(work.run, work.context))
                done.append(settled(work.job, work.run, work.scorer.key, scoring))
            except Exception as error:  # noqa: BLE001 one scorer's bug must not cost the other runs
                done.append(failed(work.job, f"scorer_error: {type(error).__name__}: {error}", was_called=False))
        count = queue.settle(done)
        on_progress(count)
        total += DrainResult(settled=count)
    return total


def at_once(scoring: Coroutine[Any, Any, Scoring]) -> Scoring:
    """The result of a scorer that asks nobody, without an event loop."""
    try:
        scoring.send(None)
    except StopIteration as done:
        result: Scoring = done.value
        return result
    scoring.close()
    raise RuntimeError("a heuristic must not wait")
