"""Signals: logs, fork, garbage, shutdown."""

import gc
import logging
import os
from typing import Any

from celery import signals

from worker import logs
from worker.celery.config import _here, _settings
from worker.celery.process import _stopping
from worker.judge.transport import preload
from worker.project.project import Project

log = logging.getLogger("spotcheck")


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
