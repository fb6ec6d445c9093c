"""A worker says that it lives, and serves metrics."""

import logging
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

from celery import signals

from worker.celery.config import QUEUES, _settings
from worker.celery.metrics_server import MetricsServer
from worker.errors import SpotcheckError
from worker.project.project import Project
from worker.queries.metrics import MetricsCollector
from worker.render.prometheus import CONTENT_TYPE
from worker.settings import Settings
from worker.settings.sections_alerts import listen_address
from worker.store.queue import workers

log = logging.getLogger("spotcheck")
_BEAT_S = 15.0


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
                    workers.record_heartbeat(connection, name, lanes, os.getpid(), store.now(connection))
            except SpotcheckError as error:
                log.warning("heartbeat: %s", error)
            finally:
                store.close()
        if _beating.wait(_BEAT_S):
            break
    try:
        with store.write() as connection:
            workers.remove(connection, name)
    except SpotcheckError:
        pass  # it will count as gone in a minute
    finally:
        store.close()
