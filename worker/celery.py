"""The Celery app: tasks of a few lines that wake, drain and heal. `celery -A worker worker` works.

Messages carry nothing: each says "there may be work", and the ledger says which. So a lost, doubled or reordered
message is harmless on any broker, and a crashed task needs no retry.
"""

import gc
import logging
import mmap
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, beat, signals
from kombu.exceptions import KombuError

from worker import broker, logs
from worker.broker import quota
from worker.errors import SpotcheckError
from worker.export.prometheus import CONTENT_TYPE
from worker.export.scraped import MetricsServer
from worker.flow.deliver import deliver
from worker.flow.desk import BATCH_S, JobProcessor
from worker.flow.draw import draw_night
from worker.flow.metrics import MetricsCollector
from worker.flow.nightly import due_nights
from worker.flow.project import Project
from worker.flow.reconcile import reconcile, wake_due
from worker.flow.turn_note import TroubleChange, TroubleLog
from worker.flow.watch import watch
from worker.judge.transport import preload
from worker.logs import fields
from worker.records import Drift
from worker.sections import listen_address
from worker.settings import Settings, read_here
from worker.store import draws, workers
from worker.store.vitals import LAST_TICK

log = logging.getLogger("spotcheck")
QUEUES = {"judge": "judge", "heuristic": "heuristics", "control": "control"}
"""Lanes of the ledger, and the queue each is woken through."""
_TASKS = {
    "judge": "spotcheck.drain_judge",
    "heuristic": "spotcheck.drain_heuristics",
    "batch": "spotcheck.drain_batches",
}
_QUEUE_OF = QUEUES | {"batch": QUEUES["judge"]}
"""Batches are made and taken in by those who ask the judge: it is their key, and takes as long."""
_JOBS_A_WAKE = 200
_MOST_WAKES = 16
_BEAT_S = 15.0
_TICK_S, _RECONCILE_S, _DELIVER_S = 60.0, 30.0, 30.0
_QUIET_S = 15.0
"""How long a broker that did not answer is left alone."""

_stopping = mmap.mmap(-1, 1)  # anonymous and shared: the parent sets it, forked children see it


def is_stopping() -> bool:
    """Whether this worker was told to stop."""
    return _stopping[0] == 1


def configure(celery: Celery, settings: Settings) -> None:
    """Point the app at a broker; nothing is connected."""
    tick_s, reconcile_s = settings.clock.beat_s(_TICK_S), settings.clock.beat_s(_RECONCILE_S)
    broker.use(celery, settings)
    celery.conf.update(
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,  # a wake-up that comes twice finds nothing to do
        task_reject_on_worker_lost=False,  # no crash loops: the ledger counts attempts
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=500,
        task_soft_time_limit=600,
        task_time_limit=660,
        worker_soft_shutdown_timeout=5,  # after a second Ctrl-C; what is in hand is given back within two
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=5,
        task_serializer="json",
        accept_content=["json"],
        enable_utc=True,
        timezone="UTC",
        worker_send_task_events=False,
        worker_redirect_stdouts=False,  # in one process the results go to stdout
        task_default_queue=QUEUES["control"],
        task_routes={
            _TASKS["judge"]: {"queue": QUEUES["judge"]},
            _TASKS["heuristic"]: {"queue": QUEUES["heuristic"]},
            _TASKS["batch"]: {"queue": _QUEUE_OF["batch"]},
        },
        beat_scheduler=f"{__name__}:Ticker",
        beat_schedule={
            "tick": {"task": "spotcheck.tick", "schedule": tick_s, "options": {"expires": max(10.0, tick_s)}},
            "reconcile": {
                "task": "spotcheck.reconcile",
                "schedule": reconcile_s,
                "options": {"expires": max(10.0, reconcile_s)},
            },
            "deliver": {"task": "spotcheck.deliver", "schedule": _DELIVER_S, "options": {"expires": _DELIVER_S}},
        },
    )


app = Celery("spotcheck", set_as_current=True)
_here: dict[str, Any] = {}
_making = threading.Lock()


def use(settings: Settings) -> None:
    """Give the app its settings; the doors call it, and `celery -A worker` gets those of its folder."""
    _here.clear()
    _here["settings"] = settings
    configure(app, settings)
    broker.prepare(settings)


@app.on_configure.connect
def _from_here(**_: object) -> None:
    if "settings" not in _here:
        use(read_here()[0])


def _settings() -> Settings:
    if "settings" not in _here:
        use(read_here()[0])
    settings: Settings = _here["settings"]
    return settings


def _project() -> Project:
    """This process's project; a forked child makes its own, threads share it."""
    with _making:
        if _here.get("pid") != os.getpid():
            _here["project"] = Project(_settings()).open()
            _here["desks"] = {}
            _here["turns"] = TroubleLog(_here["project"])
            _here["pid"] = os.getpid()
    project: Project = _here["project"]
    return project


def _desk(lane: str) -> JobProcessor:
    """This process's desk of a lane; one turn at a time is worked at it."""
    project = _project()
    desk: JobProcessor = _here["desks"].setdefault(lane, JobProcessor(project, share=quota.shared(project.settings)))
    return desk


_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def _alone(what: str) -> Iterator[bool]:
    """Whether nobody in this process does this already; where tasks are threads, a second one would only wait."""
    turn = _turns[what]
    is_ours = turn.acquire(blocking=False)
    try:
        yield is_ours
    finally:
        if is_ours:
            turn.release()


def wake(lane: str, due: int = 1) -> None:
    """Tell workers of a lane that there may be work.

    A broker that does not answer is left alone for a quarter of a minute: reconcile wakes again when it is back.
    """
    if time.monotonic() < _here.get("quiet_until", 0.0):
        return
    settings = _settings()
    queue = _QUEUE_OF[lane]
    most = 1 if lane == "batch" else _MOST_WAKES
    count = min(most, 1 + due // _JOBS_A_WAKE, broker.room(settings, queue))
    try:
        if not _here.get("is_broker_up"):
            broker.knock(app, settings)
        for _ in range(count):
            app.send_task(_TASKS[lane], queue=queue, expires=60, retry=False, ignore_result=True)
    except (KombuError, OSError, ValueError) as error:
        _here["quiet_until"] = time.monotonic() + _QUIET_S
        _here["is_broker_up"] = False
        log.warning("broker %s is not reachable (%s); the ledger keeps the work", broker.shown(settings), error)
    else:
        _here["is_broker_up"] = True


class Ticker(beat.Scheduler):  # type: ignore[misc]  # celery ships no types
    """Beat without a memory: the database knows which nights are due, so everything is sent at the start and then on.

    It keeps no file, so beat runs on a read-only disk, and a beat that is restarted every few seconds still ticks.
    """

    def setup_schedule(self) -> None:
        """Take our entries, all due now."""
        self.merge_inplace(self.app.conf.beat_schedule)
        for entry in self.schedule.values():
            entry.last_run_at = self.app.now() - timedelta(days=1)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:  # noqa: ANN401 as celery's own
        """Send one, unless nobody has taken the last ones."""
        if not broker.room(_settings(), QUEUES["control"]):
            return
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except beat.SchedulingError as error:
            log.warning("beat: %s", str(error).splitlines()[0])


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
        draws.set_meta(connection, LAST_TICK, project.store.now(connection).isoformat())


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


@signals.setup_logging.connect
def set_up_logs(loglevel: int | str = logging.INFO, logfile: Any = None, **_: object) -> None:  # noqa: ANN401 as celery's
    """Have Celery and us write one kind of line; it sets up nothing of its own then."""
    logs.set_up(_settings(), loglevel, logfile if isinstance(logfile, str) else None)


@signals.worker_ready.connect
@signals.beat_init.connect
def _say_rehearsal(**_: object) -> None:
    if warning := _settings().clock.warning():
        log.warning(warning)


_GARBAGE = (10_000, 20, 20)
"""Objects, and turns, between two looks for garbage in cycles, of which there is little here: Python's own 700 look so
often that they are 8 % of a judgment's CPU."""


@signals.worker_init.connect
def _before_fork(**_: object) -> None:
    _stopping[0] = 0
    logs.hush()
    project = Project(_settings()).open()  # an empty database gets its schema, a wrong one is told now
    project.store.close()  # sockets must not cross the fork
    if project.settings.is_judge_configured:
        preload()  # 1.5 s of CPU once, not once a child
    gc.freeze()  # children share what was loaded, as long as nobody looks for garbage in it
    gc.set_threshold(*_GARBAGE)


@signals.worker_shutting_down.connect
def stop_working(**_: object) -> None:
    """Have every lane finish or give back what is in hand; no more is taken. Until the next worker starts."""
    _stopping[0] = 1


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: object) -> None:
    if _here.pop("pid", None) == os.getpid():
        for desk in _here.pop("desks").values():
            desk.close()


@signals.worker_shutdown.connect
def _leave_quickly(**_: object) -> None:
    gc.freeze()  # Python would look for garbage on its way out: up to one of the five seconds in which a worker ends


_beating = threading.Event()
_heart: dict[str, threading.Thread] = {}
_LAST_BEAT_S = 2.0
"""A worker that ends says so; where the database does not answer, it counts as gone in a minute."""
_forking = threading.Lock()  # a child forked while the heartbeat holds a lock of some library would never get it
os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)


@signals.worker_ready.connect
def _start_heartbeat(sender: Any = None, **_: object) -> None:  # noqa: ANN401 celery's Consumer
    queues: Sequence[str] = sorted(
        getattr(getattr(sender, "task_consumer", None), "queues", None) or QUEUES.values(), key=str
    )
    lanes = [lane for lane, queue in QUEUES.items() if any(queue == getattr(each, "name", each) for each in queues)]
    _beating.clear()
    _heart["thread"] = threading.Thread(target=_beat, args=(lanes,), name="spotcheck-heartbeat", daemon=True)
    _heart["thread"].start()
    if "control" in lanes:
        _start_metrics(_settings())


_scraped: list[MetricsServer] = []


def _start_metrics(settings: Settings) -> None:
    """Answer `GET /metrics` from this process, where the settings say so."""
    address = listen_address(settings.metrics.listen or "")
    if address is not None:
        metrics = MetricsCollector(Project(settings), alone=_forking)
        _scraped.append(MetricsServer(*address, metrics.text, CONTENT_TYPE))
        _scraped[-1].start()


@signals.worker_shutdown.connect
def _stop_heartbeat(**_: object) -> None:
    _beating.set()
    while _scraped:
        _scraped.pop().close()
    if "thread" in _heart:
        _heart.pop("thread").join(_LAST_BEAT_S)


def _beat(lanes: Sequence[str]) -> None:
    name = f"{socket.gethostname()}:{os.getpid()}"
    store = Project(_settings()).store
    while True:
        with _forking:
            try:
                with store.write() as connection:
                    workers.seen(connection, name, lanes, os.getpid(), store.now(connection))
            except SpotcheckError as error:
                log.warning("heartbeat: %s", error)
            finally:
                store.close()
        if _beating.wait(_BEAT_S):
            break
    try:
        with store.write() as connection:
            workers.gone(connection, name)
    except SpotcheckError:
        pass  # it will count as gone in a minute
    finally:
        store.close()
