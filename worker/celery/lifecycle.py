"""What happens at the beginning and the end of a worker process: logs, fork, garbage collection, shutdown."""

import gc
import logging
from typing import Any

from celery import signals

from worker import logs
from worker.celery.process import this_process
from worker.judge.transport import preload
from worker.project.project import Project

log = logging.getLogger("spotcheck")
GC_THRESHOLDS = (10_000, 20, 20)
"""Thresholds of Python's cycle collector, see `gc.set_threshold`. Here are few cycles, and with Python's own first
threshold (700 objects) the collector takes 8 % of a judgment's CPU."""


@signals.setup_logging.connect
def set_up_logs(loglevel: int | str = logging.INFO, logfile: Any = None, **_: object) -> None:  # noqa: ANN401 as celery's
    """Give Celery's log lines and ours one form; with a receiver of this signal Celery sets up none of its own."""
    logs.set_up(this_process.settings, loglevel, logfile if isinstance(logfile, str) else None)


@signals.worker_ready.connect
@signals.beat_init.connect
def _warn_of_rehearsal(**_: object) -> None:
    if warning := this_process.settings.clock.warning():
        log.warning(warning)


@signals.worker_init.connect
def _before_fork(**_: object) -> None:
    this_process.start()
    logs.hush()
    this_process.import_scorers()
    project = Project(this_process.settings).open()  # an empty database gets its schema, a wrong one fails here
    this_process.known.forget()
    this_process.known.of(project.settings, project.store)
    project.store.close()  # sockets must not cross the fork
    if project.settings.is_judge_configured:
        preload()  # 1.5 s of CPU once, not once a child
    gc.freeze()  # children share the memory of what was loaded, as long as no collection touches it
    gc.set_threshold(*GC_THRESHOLDS)


@signals.worker_shutting_down.connect
def stop_working(**_: object) -> None:
    """Have every lane finish or give back what is in hand; no more is claimed until the next worker starts."""
    this_process.stop()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: object) -> None:
    this_process.close()


@signals.worker_shutdown.connect
def _leave_quickly(**_: object) -> None:
    gc.freeze()  # a last collection takes up to one of the five seconds in which a worker ends
