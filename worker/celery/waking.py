"""Telling workers that there may be work."""

import logging
import time

from kombu.exceptions import KombuError

from worker.celery import broker
from worker.celery.config import QUEUE_OF, TASKS, app
from worker.celery.process import this_process

log = logging.getLogger("spotcheck")
JOBS_PER_WAKE_UP = 200
MAX_WAKE_UPS = 16
QUIET_S = 15.0
"""How long nothing is sent to a broker that did not answer."""


def wake(lane: str, due: int = 1) -> None:
    """Tell workers of a lane that there may be work: one message, and one more for every 200 jobs that are due.

    Nothing is sent to a broker that did not answer in the last quarter of a minute: reconcile wakes again when it is
    back, and the jobs are in the database.
    """
    contact = this_process.broker
    if time.monotonic() < contact.quiet_until:
        return
    settings = this_process.settings
    queue = QUEUE_OF[lane]
    max_count = 1 if lane == "batch" else MAX_WAKE_UPS
    try:
        count = min(max_count, 1 + due // JOBS_PER_WAKE_UP, broker.room(settings, queue))
        if not contact.is_up:
            broker.check_broker(app, settings)
        for _ in range(count):
            app.send_task(TASKS[lane], queue=queue, expires=60, retry=False, ignore_result=True)
    except (KombuError, OSError, ValueError) as error:
        contact.quiet_until = time.monotonic() + QUIET_S
        contact.is_up = False
        log.warning("broker %s is not reachable (%s); the ledger keeps the work", broker.shown(settings), error)
    else:
        contact.is_up = True
