"""The Celery app: broker, queues, time limits, beat schedule."""

from typing import Any

from celery import Celery

from worker.celery import broker
from worker.settings import Settings, read_here

QUEUES = {"judge": "judge", "heuristic": "heuristics", "control": "control"}
"""Lanes of the ledger, and the queue each is woken through."""
_TASKS = {
    "judge": "spotcheck.drain_judge",
    "heuristic": "spotcheck.drain_heuristics",
    "batch": "spotcheck.drain_batches",
}
_QUEUE_OF = QUEUES | {"batch": QUEUES["judge"]}
"""Batches are made and taken in by those who ask the judge: it is their key, and takes as long."""
_TICK_S, _RECONCILE_S, _DELIVER_S = 60.0, 30.0, 30.0


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
_here: dict[str, Any] = {}


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
