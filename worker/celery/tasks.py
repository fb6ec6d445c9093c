"""The Celery app: tasks of a few lines that wake, drain and heal. `celery -A worker worker` works.

Messages carry nothing: each says "there may be work", and the ledger says which. So a lost, doubled or reordered
message is harmless on any broker, and a crashed task needs no retry.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from worker.celery.config import _TASKS, _here, _settings, app
from worker.celery.process import _alone, _desk, _project, is_stopping
from worker.celery.waking import wake
from worker.errors import SpotcheckError
from worker.jobs.processor import BATCH_S
from worker.jobs.trouble import TroubleChange
from worker.logs import fields
from worker.pipeline.deliver import deliver
from worker.pipeline.draw import draw_night
from worker.pipeline.nightly import due_nights
from worker.pipeline.operations.watch import watch
from worker.pipeline.reconcile import reconcile, wake_due
from worker.project.project import Project
from worker.records import Drift
from worker.store import meta
from worker.store.health import LAST_TICK

log = logging.getLogger("spotcheck")


@app.task(name=_TASKS["judge"])
def drain_judge() -> None:
    """Work off the judge lane for a while. Idempotent: the ledger leases each job to one worker. Limit 600 s."""
    _drain("judge")


@app.task(name=_TASKS["heuristic"])
def drain_heuristics() -> None:
    """Work off the heuristics for a while. Idempotent: the ledger leases each job to one worker. Limit 600 s."""
    _drain("heuristic")


@app.task(name=_TASKS["batch"])
def drain_batches() -> None:
    """Move batches on. Idempotent: a batch is worked on by one process at a time. Limit 600 s."""
    _drain("batch")


def _drain(lane: str) -> None:
    with _alone(lane) as is_ours:
        if is_ours and not is_stopping():
            _take_a_turn(lane)


def _take_a_turn(lane: str) -> None:
    began = time.monotonic()
    try:
        done = _desk(lane).drain(lane, budget_s=BATCH_S, stop=is_stopping)
        news = _here["turns"].after(lane, done)
    except SpotcheckError as error:
        log.error("%s: %s", lane, error, extra=fields(lane=lane))  # the ledger keeps the work
        return
    if done.settled or done.shed or done.retried:
        told = fields(
            lane=lane,
            settled=done.settled,
            retried=done.retried,
            shed=done.shed,
            seconds=round(time.monotonic() - began, 3),
        )
        said = "%s: %d settled, %d to retry, %d shed"
        log.info(said, lane, done.settled, done.retried, done.shed, extra=told)
    if news is not None:
        _tell_trouble(lane, news)
    if done.settled and not (done.refused or done.outage) and not is_stopping():
        wake(lane)  # there may be more; an idle wake-up ends the chain


def _tell_trouble(lane: str, news: TroubleChange) -> None:
    """Once when it begins, once when it is over, whoever works at the lane."""
    said = fields(lane=lane, model=_settings().judge.model, seconds=news.seconds)
    if news.is_trouble:
        log.error("%s: paused, it is tried again by itself and no job is lost: %s", lane, news.said, extra=said)
    else:
        log.warning("%s: %s after %.0f s", lane, news.said, news.seconds or 0.0, extra=said)


def _note_tick(project: Project) -> None:
    """Say in the store that beat is heard; `spotcheck health` reads it."""
    with project.store.write() as connection:
        meta.set_meta(connection, LAST_TICK, project.store.now(connection).isoformat())


@contextmanager
def _from_beat(what: str) -> Iterator[Project | None]:
    """The project for a task of beat; None where this process does it already. An error is one line in the log."""
    with _alone(what) as is_ours:
        project = None
        try:
            if is_ours:
                _note_tick(_project())
                project = _project()
        except SpotcheckError as error:
            log.error("%s: %s", what, error)
        try:
            yield project
        except SpotcheckError as error:
            log.error("%s: %s", what, error)


@app.task(name="spotcheck.reconcile")
def reconcile_now() -> None:
    """Heal: late runs, lost wake-ups, finished nights. Idempotent; every 30 s from beat."""
    with _from_beat("reconcile") as project:
        if project is not None:
            done = reconcile(project, project.settings.clock.now(), wake)
            _note_tick(project)
            for drift in done.found:
                _tell(drift)


@app.task(name="spotcheck.tick")
def tick() -> None:
    """Draw each night that is due since the project's first tick, and watch all runs. Idempotent. Every 60 s."""
    with _from_beat("tick") as project:
        if project is None:
            return
        now = project.settings.clock.now()
        for night in due_nights(project, now):
            strata = draw_night(project, night, now)
            sampled, population = sum(s.sampled for s in strata), sum(s.population for s in strata)
            if strata:  # else its runs may be on their way
                told = fields(night=str(night), sampled=sampled, population=population)
                log.info("night %s: %d of %d runs drawn", night, sampled, population, extra=told)
                wake_due(project, wake)
            _note_tick(project)
        for drift in watch(project, now).found:
            _tell(drift)
        _note_tick(project)


@app.task(name="spotcheck.deliver")
def deliver_now() -> None:
    """Send alerts that wait for the webhook; nothing leaves in a rehearsal. Idempotent; every 30 s from beat."""
    with _from_beat("deliver") as project:
        if project is not None and project.settings.clock.is_real:
            deliver(project, datetime.now(UTC))


def _tell(drift: Drift) -> None:
    where, scorer = drift.stream.task_type or "all task types", drift.stream.scorer
    told = fields(task_type=drift.stream.task_type, scorer=scorer, before=drift.before, after=drift.after)
    log.warning("drift: %s %s %.3f to %.3f", where, scorer, drift.before, drift.after, extra=told)
