"""The healer, on beat and on demand: late runs, lost wake-ups, nights that are done. Safe at any moment, by anyone."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

import worker
from worker.errors import ConfigError
from worker.jobs import reply_cache
from worker.jobs.trouble import end_missing_models
from worker.pipeline.activate import Active, adjust, as_stored
from worker.pipeline.compare import compare_night
from worker.pipeline.draw import decide_late, retire
from worker.pipeline.operations.outcomes import look_at_outcomes
from worker.pipeline.summarise import Stale, summarise
from worker.project.project import Project
from worker.records import Drift
from worker.records.job import LANES, SCORER_KINDS
from worker.store.budget.accounts import BACKFILL, NIGHTLY
from worker.store.queue import backlog, batches, enrol, handover, judgments, workers
from worker.store.results import cells
from worker.store.rubrics import revisions
from worker.store.runs import draws

Wake = Callable[[str, int], None]
"""Wakes workers of a lane in which so many jobs are due; carries nothing, and losing it costs only time."""
_SUMMARISE_ANYWAY_H = 24
"""A night whose last jobs hang on is summarised all the same; when they end, again."""


class Reconciled(NamedTuple):
    """What one round did."""

    jobs_added: int
    summarised: list[date]
    found: list[Drift]
    revision: int = 0
    """Number of the revision in force; 0 before the first."""
    trouble: str | None = None
    """In what this process's settings differ from it, where they may not become active."""


def reconcile(project: Project, now: datetime, wake: Wake, *, may_remove: bool = True) -> Reconciled:
    """Decide late runs of the lookback, wake lanes with due work, finish nights whose jobs are resolved, and prune.

    Args:
        project: Whose nights.
        now: The time.
        wake: Wakes the workers of a lane.
        may_remove: Whether scorers that the settings do not name any more end here; not for a command that draws none.
    """
    active = _active(project, now, may_remove=may_remove)
    scorers = active.scorers
    lost = lost_scorers(project)
    since = project.nights.last_over(now) - timedelta(days=project.settings.sampling.lookback_nights)
    with project.store.read() as connection:
        recent = draws.drawn_nights(connection, since)
        to_settle = handover.nights_with_retired_jobs(connection, scorers, lost) if active.number else []
    added = sum(decide_late(project, night, now, active, lost) for night in recent)
    for night in sorted(set(to_settle) - set(recent)):  # nobody would ever do them, and somebody may wait for them
        retire(project, night, now, scorers, lost)
    wake_due(project, wake)
    summarised, found = finish_nights(project, now)
    end_missing_models(project)
    reply_cache.prune(project)
    prune_judgments(project)
    return Reconciled(added, summarised, found, active.number, active.trouble)


def _active(project: Project, now: datetime, *, may_remove: bool) -> Active:
    """What is active; where a setting is wrong that is one line, and jobs go on by what is active already."""
    try:
        active = adjust(project, now, may_remove=may_remove)
    except ConfigError as error:
        project.scorers.tell([f"{error}; nights that are drawn go on with their scorers"])
        with project.store.read() as connection:
            current = revisions.current(connection)
            active = (
                Active([], project.settings.sampling, 0)
                if current is None
                else as_stored(project, connection, current, trouble=str(error))
            )
    project.scorers.tell([*active.lines, *([active.trouble] if active.trouble else ())])
    return active


def lost_scorers(project: Project) -> set[int]:
    """Keys of scorers with open jobs that this process cannot make, and that no live worker of another release might.

    Their jobs are handed over to the active version. While another release runs too, they are left to it.
    """
    with project.store.read() as connection:
        now = project.store.now(connection)
        rows = [row for kind in SCORER_KINDS for row in enrol.scorers_with_open_jobs(connection, kind)]
        others = [
            row for row in workers.live_workers(connection, now) if row["release"] not in (None, worker.__version__)
        ]
    _, unavailable = project.stored.make(rows)
    if others:
        return set()
    return {entry.scorer.pk for entry in unavailable}


def prune_judgments(project: Project) -> int:
    """Delete prompts and answers of scores that are older than runs' texts are kept, a few thousand at a time.

    Returns:
        Judgments that were deleted; their scores stay.
    """
    with project.store.read() as connection:
        before = project.store.now(connection) - timedelta(days=project.settings.store.traces_days)
        if not judgments.is_any_older(connection, before):
            return 0
    with project.store.write() as connection:
        return judgments.prune(connection, before, reply_cache.PRUNED_AT_ONCE)


def wake_due(project: Project, wake: Wake) -> None:
    """Wake each lane that has due work."""
    with project.store.read() as connection:
        now = project.store.now(connection)
        due = {lane: backlog.lane_backlog(connection, now, lane).due for lane in LANES}
        look_at = batches.next_poll_at(connection)
    if look_at is not None and look_at <= now:
        due["batch"] += 1
    for lane, count in due.items():
        if count:
            wake(lane, count)


def finish_nights(project: Project, now: datetime, *, is_far_back: bool = False) -> tuple[list[date], list[Drift]]:
    """Summarise nights that changed and compare those that are new, oldest first.

    A night is compared once, after all nights before it; a night with open jobs holds those behind it for a day. Jobs
    of a backfill hold none: a night that is summarised already is so again once they have ended, or after a day.

    Args:
        project: Whose nights.
        now: The time.
        is_far_back: Look for changes on every drawn night, not only on those of the lookback: a person may have
            raised the rate of an old night, or taken in late runs of it.

    Returns:
        Nights summarised, and new findings.
    """
    since = project.nights.last_over(now) - timedelta(days=project.settings.sampling.lookback_nights)
    if is_far_back:
        since = date.min
    with project.store.read() as connection:
        stale = cells.stale_nights(connection, since)
        open_jobs = {night: cells.open_jobs(connection, night, NIGHTLY) for night, _, _ in stale}
        waits = {night: _waits_for_backfill(connection, night, now) for night, _, _ in stale if not open_jobs[night]}
        drawn_at = draws.drawn_at(connection, [night for night, _, _ in stale])
    ready = []
    for each in stale:
        if open_jobs[each[0]] and now - drawn_at[each[0]] < timedelta(hours=_SUMMARISE_ANYWAY_H):
            break
        if not waits.get(each[0]):
            ready.append(Stale(*each))
    summarise(project, ready, now)
    found = _compare_new(project, now)
    look_at_outcomes(project, [one.night for one in ready], now)
    return [one.night for one in ready], found


def _waits_for_backfill(connection: Connection, night: date, now: datetime) -> bool:
    """Whether only a backfill is still at work on a night that has a summary of today."""
    last = cells.summarised_at(connection, night)
    is_recent = last is not None and now - last < timedelta(hours=_SUMMARISE_ANYWAY_H)
    return is_recent and cells.open_jobs(connection, night, BACKFILL) > 0


def _compare_new(project: Project, now: datetime) -> list[Drift]:
    with project.store.read() as connection:
        nights = cells.uncompared_nights(connection)
    return [drift for night in nights for drift in compare_night(project, night, now)]
