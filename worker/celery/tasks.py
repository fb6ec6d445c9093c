"""The Celery tasks: a few lines each, that work off a lane or do what beat asks for.

Messages carry nothing: each says "there may be work", and the job queue in the database says which. So a lost, doubled
or reordered message is harmless on any broker, and a crashed task needs no retry.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from worker.celery.config import TASKS, app
from worker.celery.process import this_process
from worker.celery.store_trouble import store_trouble
from worker.celery.waking import wake
from worker.errors import SchemaOutdated, SpotcheckError, StoreError
from worker.jobs.processor import BATCH_S
from worker.jobs.trouble import TroubleChange, in_short
from worker.logs import fields
from worker.pipeline.deliver import deliver
from worker.pipeline.draw import draw_night
from worker.pipeline.nightly import due_nights
from worker.pipeline.operations.standing import look_at_standing
from worker.pipeline.operations.watch import watch
from worker.pipeline.reconcile import reconcile, wake_due
from worker.project.project import Project
from worker.project.stored import unavailable_line
from worker.records import Drift
from worker.store import meta, schema
from worker.store.health import LAST_TICK

log = logging.getLogger("spotcheck")


@app.task(name=TASKS["judge"])
def drain_judge() -> None:
    """Work off the judge lane for a while. Idempotent: each job is leased to one worker. Limit 600 s."""
    _drain("judge")


@app.task(name=TASKS["heuristic"])
def drain_heuristics() -> None:
    """Work off the heuristics for a while. Idempotent: each job is leased to one worker. Limit 600 s."""
    _drain("heuristic")


@app.task(name=TASKS["batch"])
def drain_batches() -> None:
    """Move batches on. Idempotent: a batch is worked on by one process at a time. Limit 600 s."""
    _drain("batch")


def _drain(lane: str) -> None:
    with this_process.alone(lane) as is_ours:
        if is_ours and not this_process.is_stopping():
            _take_a_turn(lane)


def _take_a_turn(lane: str) -> None:
    began = time.monotonic()
    try:
        processor = this_process.processor(lane)
        done = processor.drain(lane, budget_s=BATCH_S, stop=this_process.is_stopping)
        change = this_process.troubles.after(lane, done)
        missing = processor.missing_models.line(processor.wanted_models.get(lane, ()))
        if missing:
            this_process.log_once(f"{lane}: jobs are left to other workers: {in_short(missing)}")
        in_the_way = (unavailable_line(processor.unavailable.get(lane, ())), missing)
        this_process.notice(lane, "; ".join(line for line in in_the_way if line) or None)
    except SchemaOutdated as error:
        _say_outdated(lane, error)
        return
    except StoreError as error:
        store_trouble.say(lane, error)
        return
    except SpotcheckError as error:
        log.error("%s: %s", lane, error, extra=fields(lane=lane))  # the jobs stay queued
        return
    store_trouble.over(lane)
    if done.settled or done.shed or done.retried:
        shown = fields(
            lane=lane,
            settled=done.settled,
            retried=done.retried,
            shed=done.shed,
            seconds=round(time.monotonic() - began, 3),
        )
        text = "%s: %d settled, %d to retry, %d shed"
        log.info(text, lane, done.settled, done.retried, done.shed, extra=shown)
    if change is not None:
        _log_trouble(lane, change)
    if done.settled and not (done.refused or done.outage) and not this_process.is_stopping():
        wake(lane)  # there may be more; an idle wake-up ends the chain


def _say_outdated(kind: str, error: SchemaOutdated) -> None:
    """Once in the log, and beside the worker's heartbeat, as far as the other release's schema takes it."""
    this_process.log_once(str(error))
    try:
        this_process.notice(kind, str(error))
    except SpotcheckError as problem:
        log.debug("%s: %s", kind, problem)


def _log_trouble(lane: str, change: TroubleChange) -> None:
    """Once when it begins, once when it is over, whichever process works at the lane."""
    shown = fields(lane=lane, model=this_process.settings.judge.model, seconds=change.seconds)
    if change.is_trouble:
        log.error("%s: paused, it is tried again by itself and no job is lost: %s", lane, change.text, extra=shown)
    else:
        log.warning("%s: %s after %.0f s", lane, change.text, change.seconds or 0.0, extra=shown)


def _note_tick(project: Project) -> None:
    """Write down that a task of beat was handled now; `spotcheck health` reads it."""
    with project.store.write() as connection:
        meta.set_meta(connection, LAST_TICK, project.store.now(connection).isoformat())


@contextmanager
def _from_beat(what: str) -> Iterator[Project | None]:
    """The project for a task of beat; None where this process does it already. An error is one line in the log.

    After another release has migrated the schema nothing is decided here any more, and no tick counts as handled.
    """
    with this_process.alone(what) as is_ours:
        project = None
        try:
            if is_ours:
                opened = this_process.project
                with opened.store.read() as connection:
                    schema.insist_on_current(connection)
                _note_tick(opened)
                project = opened
        except SchemaOutdated as error:
            _say_outdated("control", error)
        except StoreError as error:
            store_trouble.say(what, error)
        except SpotcheckError as error:
            log.error("%s: %s", what, error)
        try:
            yield project
            if project is not None:
                store_trouble.over(what)
        except StoreError as error:
            store_trouble.say(what, error)
        except SpotcheckError as error:
            log.error("%s: %s", what, error)


@app.task(name="spotcheck.reconcile")
def reconcile_now() -> None:
    """Heal: late runs, lost wake-ups, finished nights. Idempotent; every 30 s from beat."""
    with _from_beat("reconcile") as project:
        if project is not None:
            drawing = this_process.draw.reread(with_rubrics=False)
            done = reconcile(drawing, drawing.settings.clock.now(), wake)
            _note_tick(project)
            this_process.notice("control", done.trouble, done.revision)
            for drift in done.found:
                _log_drift(drift)


@app.task(name="spotcheck.tick")
def tick() -> None:
    """Draw each night that is due since the project's first tick, and watch all runs. Idempotent. Every 60 s."""
    with _from_beat("tick") as project:
        if project is None:
            return
        now = project.settings.clock.now()
        nights = due_nights(project, now)
        drawing = this_process.draw.reread() if nights else project
        for night in nights:
            strata = draw_night(drawing, night, now)
            sampled = sum(stratum.sampled for stratum in strata)
            population = sum(stratum.population for stratum in strata)
            if strata:  # else its runs may be on their way
                shown = fields(night=str(night), sampled=sampled, population=population)
                log.info("night %s: %d of %d runs drawn", night, sampled, population, extra=shown)
                wake_due(project, wake)
            _note_tick(project)
        for drift in watch(project, now).found:
            _log_drift(drift)
        look_at_standing(project, now)
        _note_tick(project)


@app.task(name="spotcheck.deliver")
def deliver_now() -> None:
    """Send alerts that wait for the webhook; nothing leaves in a rehearsal. Idempotent; every 30 s from beat."""
    with _from_beat("deliver") as project:
        if project is not None and project.settings.clock.is_real:
            deliver(project, datetime.now(UTC), stop=this_process.is_stopping)


def _log_drift(drift: Drift) -> None:
    where, scorer = drift.stream.task_type or "all task types", drift.stream.scorer
    shown = fields(task_type=drift.stream.task_type, scorer=scorer, before=drift.before, after=drift.after)
    log.warning("drift: %s %s %.3f to %.3f", where, scorer, drift.before, drift.after, extra=shown)
