"""The night: which nights are due, and draw, score, summarise, compare for them."""

import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from worker.core.calendar import nights_between
from worker.jobs.drain_result import DrainResult
from worker.jobs.processor import JobProcessor
from worker.jobs.queue import Stop, open_scorers
from worker.jobs.trouble import workers_without
from worker.pipeline.draw import draw_night
from worker.pipeline.reconcile import Wake, finish_nights, wake_due
from worker.project.project import Project
from worker.records import Drift
from worker.records.job import LANES, SCORER_KINDS
from worker.records.sample import StratumDraw
from worker.store.queue import backlog, workers
from worker.store.runs import draws

_LOOK_S, _LOOK_MOST_S = 0.2, 1.0
"""Between two looks at what is left, while it changes and while it does not: a batch may take a day."""
PATIENCE_S = 20.0
"""So long without one answer from the judge, beyond what it asked for itself, and waiting is given up; jobs stay."""
_STALLED_S = 5.0
"""Without progress for so long, and with no live worker, the waiting process works itself."""

OnWait = Callable[[int, int], None]
"""Told (jobs resolved, jobs in all) while waiting."""
OnHeld = Callable[[Sequence[backlog.BlockedJobs]], None]


class Waited(NamedTuple):
    """How a wait for scores ended."""

    drained: DrainResult
    """What this process did itself."""
    still_open: int
    """Jobs that are not resolved; more than 0 when it was stopped or the judge refused."""
    postponed: int = 0
    """Those of them that belong to a backfill and wait for the next day's money."""


def due_nights(project: Project, now: datetime) -> list[date]:
    """Nights to draw unasked, oldest first: from the project's first night on, not drawn yet, and past their time.

    A night is due from the schedule's time of day on the day after it; one that was missed, at once.
    """
    return _undrawn(project, project.nights.first_tick(now), project.nights.last_due(now))


def over_nights(project: Project, now: datetime) -> list[date]:
    """Nights to draw when somebody asks: as `due_nights`, without waiting for the schedule's time of day."""
    return _undrawn(project, project.nights.first_tick(now), project.nights.last_over(now))


def _undrawn(project: Project, start: date, last: date) -> list[date]:
    with project.store.read() as connection:
        drawn = set(draws.drawn_nights(connection, start, last))
    return [night for night in nights_between(start, last) if night not in drawn]


def draw_nights(
    project: Project, nights: Sequence[date], now: datetime, *, on_night: Callable[[date, list[StratumDraw]], None]
) -> None:
    """Draw nights one by one, oldest first; one that is drawn already only takes in its late runs."""
    for night in sorted(nights):
        on_night(night, draw_night(project, night, now))


def open_jobs(
    project: Project,
    nights: tuple[date, date] | None = None,
    *,
    in_force_only: bool = False,
    account: str | None = None,
) -> int:
    """Jobs that are not resolved, of all nights or of some; of all scorers, or of those that can be done here.

    Args:
        project: Whose.
        nights: First and last night, included; None for all.
        in_force_only: Whether jobs that cannot be done here do not count.
        account: Only jobs of `nightly` or of `backfill`; None for both.
    """
    pks = [row.pk for kind in SCORER_KINDS for row, _ in open_scorers(project, kind)[0]] if in_force_only else None
    with project.store.read() as connection:
        now = project.store.now(connection)
        lanes = [backlog.lane_backlog(connection, now, lane, nights, pks, account) for lane in LANES]
    return sum(lane.due + lane.later + lane.leased for lane in lanes)


def wait_for_scores(
    project: Project,
    processor: JobProcessor,
    wake: Wake,
    *,
    nights: tuple[date, date] | None = None,
    account: str | None = None,
    stop: Stop,
    on_wait: OnWait = lambda _done, _total: None,
    on_trouble: Callable[[str], None] = lambda _: None,
    on_held: OnHeld = lambda _: None,
) -> Waited:
    """Wait until every job that can be done is resolved; with no live worker to do it, do it here.

    Args:
        project: Whose ledger.
        processor: Where to work when nobody else does.
        wake: Wakes the workers.
        nights: Only these (bounds included); None for all.
        account: Only jobs of `nightly` or of `backfill`; None for both. Jobs of a backfill that wait for the next day's
            money are not waited for.
        stop: Asked often; once true, what is in hand is finished or given back.
        on_wait: Told the progress.
        on_trouble: Told when the judge answers nobody, before it is tried again.
        on_held: Told what nobody may take yet, while there is nothing else to do.
    """
    total = left = open_jobs(project, nights, in_force_only=True, account=account)
    drained = DrainResult()
    woken_at = 0.0
    moved_at, rest_s = time.monotonic(), _LOOK_S
    while left and not stop():
        on_wait(total - left, total)
        if time.monotonic() - woken_at > _STALLED_S:
            wake_due(project, wake)
            woken_at = time.monotonic()
        with project.store.read() as connection:
            helpers = len(workers.live_workers(connection, project.store.now(connection)))
        if not helpers or time.monotonic() - moved_at > 2 * _STALLED_S:
            done = processor.drain_all(LANES, stop=stop, on_progress=_advancing(on_wait, total, left))
            if done.missing_model is not None:  # a worker may have it: nobody is to blame before all were refused
                processor.missing_models.add(done.missing_model, str(done.refused))
                done = done._replace(refused=None, missing_model=None)
            done = done._replace(refused=done.refused or _nobody_has_the_model(project, processor))
            drained += done
            silent_s = processor.judge_silent_s()
            if done.refused or (silent_s is not None and silent_s >= PATIENCE_S):
                left = open_jobs(project, nights, in_force_only=True, account=account)
                break
            if done.outage:
                on_trouble(done.outage)
            elif not done.settled and silent_s is None:
                on_held(_held(project))
        _rest(rest_s, stop)
        still = open_jobs(project, nights, in_force_only=True, account=account)
        total = max(total, still)
        rest_s = min(_LOOK_MOST_S, 1.25 * rest_s)
        if still != left:
            moved_at, rest_s = time.monotonic(), _LOOK_S
        left = still
        if left and left <= _postponed(project):
            break
    on_wait(total - left, total)
    return Waited(drained, left, min(left, _postponed(project)))


def _nobody_has_the_model(project: Project, processor: JobProcessor) -> str | None:
    """That this process and every live worker were refused the models of all that is left, by name; else None."""
    if processor.missing_models.line() is None:
        return None
    left = [scorer for kind in SCORER_KINDS for _, scorer in open_scorers(project, kind)[0]]
    if not all(processor.missing_models.any_of(scorer.calls) for scorer in left):
        return None
    wanted = {model for scorer in left for model in scorer.calls}
    why = processor.missing_models.line(wanted)
    others, lacking = workers_without(project, wanted)
    if why is None or len(lacking) < len(others):
        return None
    if not lacking:
        return why
    return f"{why}; {', '.join(lacking)} {'was' if len(lacking) == 1 else 'were'} refused it too"


def _postponed(project: Project) -> int:
    with project.store.read() as connection:
        return backlog.waiting_for_money(connection, project.store.now(connection))


def _rest(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while not stop() and (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, _LOOK_S))  # others work, and tell nobody when they are done


def _held(project: Project) -> list[backlog.BlockedJobs]:
    with project.store.read() as connection:
        return backlog.blocked_jobs(connection, project.store.now(connection))


def _advancing(on_wait: OnWait, total: int, left: int) -> Callable[[int], None]:
    done = total - left

    def advance(count: int) -> None:
        nonlocal done
        done += count
        on_wait(min(done, total), total)

    return advance


def finish(project: Project, now: datetime) -> list[Drift]:
    """Summarise and compare every night that is ready."""
    return finish_nights(project, now, is_far_back=True)[1]
