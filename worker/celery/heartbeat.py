"""A worker writes to the database that it is alive, and serves its metrics."""

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from celery import signals

import worker
from worker.celery.config import QUEUES
from worker.celery.metrics_server import MetricsServer
from worker.celery.process import this_process
from worker.celery.store_trouble import store_trouble
from worker.errors import SpotcheckError, StoreError
from worker.project.project import Project
from worker.queries.metrics import CONTENT_TYPE, MetricsCollector
from worker.settings import Settings
from worker.settings.sections_alerts import listen_address
from worker.store.queue import workers

log = logging.getLogger("spotcheck")
INTERVAL_S = 15.0
LAST_BEAT_S = 2.0
"""Longest wait for the last write, which says that the worker ends; without it, it counts as gone in a minute."""

FORK_LOCK = threading.Lock()
"""Held while the heartbeat or the metrics use a library, and while the pool forks: a child that is forked while another
thread holds a lock of some library would never get that lock."""
os.register_at_fork(before=FORK_LOCK.acquire, after_in_parent=FORK_LOCK.release, after_in_child=FORK_LOCK.release)


class Heartbeat:
    """Two services of a worker's parent process, in threads of their own: the heartbeat and, if wanted, the metrics."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._metrics: MetricsServer | None = None

    def start(self, lanes: Sequence[str], settings: Settings) -> None:
        """Write every 15 seconds that these lanes have a worker."""
        self._is_over.clear()
        self._thread = threading.Thread(
            target=self._run, args=(lanes, settings), name="spotcheck-heartbeat", daemon=True
        )
        self._thread.start()

    def serve_metrics(self, settings: Settings) -> None:
        """Answer `GET /metrics` from this process, where the settings say so."""
        address = listen_address(settings.metrics.listen or "")
        if address is not None:
            metrics = MetricsCollector(Project(settings), alone=FORK_LOCK)
            self._metrics = MetricsServer(*address, metrics.text, CONTENT_TYPE)
            self._metrics.start()

    def stop(self) -> None:
        """The worker ends: say so, and close the port."""
        self._is_over.set()
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            metrics.close()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(LAST_BEAT_S)

    def _run(self, lanes: Sequence[str], settings: Settings) -> None:
        name = this_process.worker_name
        store = Project(settings).store
        while True:
            with FORK_LOCK:
                try:
                    with store.write() as connection:
                        workers.record_heartbeat(
                            connection, name, lanes, os.getpid(), store.now(connection), release=worker.__version__
                        )
                except StoreError as error:
                    store_trouble.say("heartbeat", error)
                except SpotcheckError as error:
                    log.warning("heartbeat: %s", error)
                else:
                    store_trouble.over("heartbeat")
                finally:
                    store.close()
            if self._is_over.wait(INTERVAL_S):
                break
        try:
            with store.write() as connection:
                workers.remove(connection, name)
        except SpotcheckError:
            pass  # it will count as gone in a minute
        finally:
            store.close()


_heartbeat = Heartbeat()


@signals.worker_ready.connect
def _start(sender: Any = None, **_: object) -> None:  # noqa: ANN401 celery's Consumer
    queues = getattr(getattr(sender, "task_consumer", None), "queues", None) or QUEUES.values()
    names = {getattr(queue, "name", queue) for queue in queues}
    lanes = [lane for lane, queue in QUEUES.items() if queue in names]
    _heartbeat.start(lanes, this_process.settings)
    if "control" in lanes:
        _heartbeat.serve_metrics(this_process.settings)


@signals.worker_shutdown.connect
def _stop(**_: object) -> None:
    _heartbeat.stop()
