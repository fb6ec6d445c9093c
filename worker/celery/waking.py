"""Telling workers that there may be work."""

import logging
import time

from kombu.exceptions import KombuError

from worker.celery import broker
from worker.celery.config import _QUEUE_OF, _TASKS, _here, _settings, app

log = logging.getLogger("spotcheck")
_JOBS_A_WAKE = 200
_MOST_WAKES = 16
_QUIET_S = 15.0
"""How long a broker that did not answer is left alone."""


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
