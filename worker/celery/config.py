"""The Celery app: broker, queues, time limits, beat schedule."""

from celery import Celery

from worker.celery import broker
from worker.settings import Settings

QUEUES = {"judge": "judge", "heuristic": "heuristics", "control": "control"}
"""Queues of the broker, by the lane of the job queue whose workers listen to them."""
TASKS = {
    "judge": "spotcheck.drain_judge",
    "heuristic": "spotcheck.drain_heuristics",
    "batch": "spotcheck.drain_batches",
}
"""The task that works off each lane."""
QUEUE_OF = QUEUES | {"batch": QUEUES["judge"]}
"""The queue that each lane is woken through; batches need the judge's key, and take as long as its lane."""
_TICK_S, _RECONCILE_S, _DELIVER_S = 60.0, 30.0, 30.0


def configure(celery: Celery, settings: Settings) -> None:
    """Point the app at a broker; nothing is connected."""
    tick_s, reconcile_s = settings.clock.beat_s(_TICK_S), settings.clock.beat_s(_RECONCILE_S)
    broker.use(celery, settings)
    celery.conf.update(
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,  # a wake-up that comes twice finds nothing to do
        task_reject_on_worker_lost=False,  # no crash loops: the job queue counts attempts
        worker_prefetch_multiplier=1,
        worker_consumer="worker.celery.consumer:CheckedConsumer",
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
            TASKS["judge"]: {"queue": QUEUES["judge"]},
            TASKS["heuristic"]: {"queue": QUEUES["heuristic"]},
            TASKS["batch"]: {"queue": QUEUE_OF["batch"]},
        },
        beat_scheduler="worker.celery.beat:Ticker",
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
