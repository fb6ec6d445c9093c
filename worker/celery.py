"""The Celery app: tasks of a few lines that wake, drain and heal. `celery -A worker worker` works.

Messages carry nothing: each says "there may be work", and the ledger says which. So a lost, doubled or reordered
message is harmless on any broker, and a crashed task needs no retry.
"""

import logging
import mmap
import os
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import Celery, signals
from kombu.exceptions import KombuError

from worker.errors import SpotcheckError
from worker.flow.desk import BATCH_S, Desk
from worker.flow.draw import draw_night
from worker.flow.nightly import due_nights
from worker.flow.project import Project
from worker.flow.reconcile import reconcile
from worker.judge.client import preload
from worker.settings import Settings, read_here, without_password
from worker.store import workers

log = logging.getLogger("spotcheck")
QUEUES = {"judge": "judge", "heuristic": "heuristics", "control": "control"}
"""Lanes of the ledger, and the queue each is woken through."""
_TASKS = {"judge": "spotcheck.drain_judge", "heuristic": "spotcheck.drain_heuristics"}
_JOBS_A_WAKE = 200
_MOST_WAKES = 16
_MOST_FILES = 32
_BEAT_S = 15.0
_POLL_S = {"filesystem": 0.05, "memory": 0.01}

_stopping = mmap.mmap(-1, 1)  # anonymous and shared: the parent sets it, forked children see it


def is_stopping() -> bool:
    """Whether this worker was told to stop."""
    return _stopping[0] == 1


def configure(celery: Celery, settings: Settings) -> None:
    """Point the app at a broker; nothing is connected."""
    url = settings.broker
    scheme = url.split("://", 1)[0]
    celery.conf.update(
        broker_url=url,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,  # a wake-up that comes twice finds nothing to do
        task_reject_on_worker_lost=False,  # no crash loops: the ledger counts attempts
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=500,
        task_soft_time_limit=600,
        task_time_limit=660,
        worker_soft_shutdown_timeout=20,
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
        },
        beat_schedule={
            "tick": {"task": "spotcheck.tick", "schedule": 60.0, "options": {"expires": 60}},
            "reconcile": {"task": "spotcheck.reconcile", "schedule": 30.0, "options": {"expires": 30}},
        },
    )
    if scheme in ("redis", "rediss"):
        celery.conf.broker_transport_options = {
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": "spotcheck:",
        }
    elif scheme == "filesystem":
        folder = _folder(settings)
        celery.conf.broker_url = "filesystem://"
        celery.conf.broker_transport_options = {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "polling_interval": _POLL_S[scheme],
        }
    elif scheme == "memory":
        celery.conf.broker_transport_options = {"polling_interval": _POLL_S[scheme]}


def _folder(settings: Settings) -> Path:
    return Path(settings.broker.removeprefix("filesystem://"))


def _prepare_folders(settings: Settings) -> None:
    if settings.broker.startswith("filesystem://"):
        for name in ("queue", "control"):
            (_folder(settings) / name).mkdir(parents=True, exist_ok=True)


app = Celery("spotcheck", set_as_current=True)
_here: dict[str, Any] = {}


def use(settings: Settings) -> None:
    """Give the app its settings; the doors call it, and `celery -A worker` gets those of its folder."""
    _here.clear()
    _here["settings"] = settings
    configure(app, settings)
    _prepare_folders(settings)


@app.on_configure.connect
def _from_here(**_: object) -> None:
    if "settings" not in _here:
        use(read_here()[0])


def _settings() -> Settings:
    if "settings" not in _here:
        use(read_here()[0])
    settings: Settings = _here["settings"]
    return settings


def _desk() -> Desk:
    """This process's desk; a forked child makes its own."""
    if _here.get("pid") != os.getpid():
        _here["desk"] = Desk(Project(_settings()).open())
        _here["pid"] = os.getpid()
    desk: Desk = _here["desk"]
    return desk


def wake(lane: str, due: int = 1) -> None:
    """Tell workers of a lane that there may be work. A broker that is down costs time, nothing else."""
    count = min(_MOST_WAKES, 1 + due // _JOBS_A_WAKE)
    queue = QUEUES[lane]
    settings = _settings()
    if settings.broker.startswith("filesystem://"):
        # nobody may be listening, and each poll sorts the whole folder
        waiting = sum(1 for _ in (_folder(settings) / "queue").glob(f"*.{queue}.msg"))
        count = min(count, max(0, _MOST_FILES - waiting))
    try:
        for _ in range(count):
            app.send_task(_TASKS[lane], queue=queue, expires=60, retry=False, ignore_result=True)
    except (KombuError, OSError) as error:
        log.warning("broker %s is not reachable (%s); the ledger keeps the work", shown_broker(settings), error)


def shown_broker(settings: Settings) -> str:
    """The broker as people may see it."""
    return without_password(settings.broker)


def beat_file(settings: Settings) -> Path:
    """Where beat notes what it sent; losing it costs nothing."""
    folder = settings.sqlite_path.parent if settings.sqlite_path else Path()
    return folder / "spotcheck.beat"


@app.task(name=_TASKS["judge"])
def drain_judge() -> None:
    """Work off the judge lane for a while. Idempotent: the ledger leases each job to one worker. Limit 600 s."""
    _drain("judge")


@app.task(name=_TASKS["heuristic"])
def drain_heuristics() -> None:
    """Work off the heuristics for a while. Idempotent: the ledger leases each job to one worker. Limit 600 s."""
    _drain("heuristic")


def _drain(lane: str) -> None:
    try:
        done = _desk().drain(lane, budget_s=BATCH_S, stop=is_stopping)
    except SpotcheckError as error:
        log.error("%s: %s", lane, error)  # the ledger keeps the work; a traceback would add nothing
        return
    if done.settled or done.shed or done.retried:
        log.info("%s: %d settled, %d to retry, %d shed", lane, done.settled, done.retried, done.shed)
    if done.refused or done.outage:
        log.error("%s: %s", lane, done.refused or done.outage)
    elif done.settled and not is_stopping():
        wake(lane)  # there may be more; an idle wake-up ends the chain


@app.task(name="spotcheck.reconcile")
def reconcile_now() -> None:
    """Heal: late runs, lost wake-ups, finished nights. Idempotent; every 30 s from beat."""
    try:
        project = _desk().project
        done = reconcile(project, datetime.now(UTC), wake)
    except SpotcheckError as error:
        log.error("reconcile: %s", error)
        return
    for drift in done.found:
        log.warning("drift: %s %s %.3f to %.3f", drift.stream.task_type, drift.stream.scorer, drift.before, drift.after)


@app.task(name="spotcheck.tick")
def tick() -> None:
    """Draw each night that is due since the project's first tick. Idempotent: a night is drawn once. Every 60 s."""
    try:
        project = _desk().project
        now = datetime.now(UTC)
        project.first_tick(now)
        if now.astimezone(project.settings.zone).time() < project.settings.schedule.at:
            return
        for night in due_nights(project, now):
            strata = draw_night(project, night, now)
            log.info(
                "night %s: %d of %d runs drawn",
                night,
                sum(s.sampled for s in strata),
                sum(s.population for s in strata),
            )
    except SpotcheckError as error:
        log.error("tick: %s", error)


@signals.worker_init.connect
def _before_fork(**_: object) -> None:
    _stopping[0] = 0
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line a call
    project = Project(_settings()).open()  # an empty database gets its schema, a wrong one is told now
    project.store.close()  # sockets must not cross the fork
    if project.settings.is_judge_configured:
        preload()  # 1.5 s of CPU once, not once a child


@signals.worker_shutting_down.connect
def _stop(**_: object) -> None:
    _stopping[0] = 1


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: object) -> None:
    if _here.get("pid") == os.getpid():
        _here.pop("desk").close()
        _here.pop("pid")


_beating = threading.Event()
_forking = threading.Lock()  # a child forked while the heartbeat holds a lock of some library would never get it
os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)


@signals.worker_ready.connect
def _start_heartbeat(sender: Any = None, **_: object) -> None:  # noqa: ANN401 celery's Consumer
    queues: Sequence[str] = sorted(
        getattr(getattr(sender, "task_consumer", None), "queues", None) or QUEUES.values(), key=str
    )
    lanes = [lane for lane, queue in QUEUES.items() if any(queue == getattr(each, "name", each) for each in queues)]
    _beating.clear()
    threading.Thread(target=_beat, args=(lanes,), name="spotcheck-heartbeat", daemon=True).start()


@signals.worker_shutdown.connect
def _stop_heartbeat(**_: object) -> None:
    _beating.set()


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
