"""Replaying a history: for each night its runs are ingested, drawn, scored, summarised and compared.

Everything is the product's own: intake, draw, job queue, Celery tasks in a worker of this process, the openai client
over HTTP, trends, drift scan and alerts. Only the clock is simulated: it shows the morning after the replayed night.
"""

import io
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import orjson
from celery import signals
from celery.worker import state as worker_state

from worker import celery
from worker.connectors.sources import jsonl
from worker.connectors.sources.source import Rejected
from worker.demo.history import History
from worker.errors import SpotcheckError
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import take
from worker.pipeline.nightly import finish
from worker.pipeline.operations.watch import watch
from worker.pipeline.reconcile import wake_due
from worker.project.project import Project
from worker.records import Drift
from worker.settings import Settings
from worker.store.results import cells

_LOOK_S = 0.5
"""The job queue is checked at least this often, even when no task signals its end."""
_STUCK_S = 60.0


class ReplayedNight(NamedTuple):
    """The progress of a replay after a night."""

    night: date
    nights: int
    """Nights replayed so far."""
    runs: int
    """Runs ingested so far."""
    sampled: int
    """Runs drawn so far."""
    found: list[Drift]
    """Findings of this night."""


def replay(project: Project, history: History, on_night: Callable[[ReplayedNight], None]) -> list[Drift]:
    """Replay a history from its first night to its last.

    Args:
        project: An empty project; a worker must run for it (`worker_thread`).
        history: The history.
        on_night: Called after each night.

    Returns:
        All findings, oldest first.
    """
    findings: list[Drift] = []
    runs = sampled = 0
    project.nights.is_replaying = True  # alerts are stored and not sent
    scored = _NightScored()
    with scored.listening():
        for count, night in enumerate(history.nights, start=1):
            morning = morning_after(night)
            lines = io.BytesIO(b"\n".join(orjson.dumps(run) for run in history.night(night)))
            items = jsonl.read(lines, now=morning, limits=project.settings.intake)
            runs += take(project, items, morning, on_rejected=_refuse).accepted
            project.nights.first_tick(morning)
            sampled += sum(stratum.sampled for stratum in draw_night(project, night, morning))
            scored.wait(project, night)
            new = finish(project, morning) + watch(project, morning).found
            findings += new
            on_night(ReplayedNight(night, count, runs, sampled, new))
    return findings


def morning_after(night: date) -> datetime:
    """When a night is drawn: 02:00 UTC of the day after it, or now if that is in the future."""
    usual = datetime(night.year, night.month, night.day, 2, tzinfo=UTC) + timedelta(days=1)
    return min(usual, datetime.now(UTC))


class _NightScored:
    """Waits until the worker has resolved all jobs of a night, without polling the database continuously."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Subscribe to the ends of Celery tasks in this process."""
        signals.task_postrun.connect(self._on_task_end)
        try:
            yield
        finally:
            signals.task_postrun.disconnect(self._on_task_end)

    def _on_task_end(self, **_: object) -> None:
        self._ended.set()

    def wait(self, project: Project, night: date) -> None:
        """Wake the worker and wait until it has resolved the jobs of a night.

        Raises:
            SpotcheckError: No job was resolved for a minute.
        """
        left, moved_at = _open_jobs(project, night), time.monotonic()
        wake_due(project, celery.wake)
        while left:
            self._ended.wait(_LOOK_S)
            self._ended.clear()
            still = _open_jobs(project, night)
            if still < left:
                left, moved_at = still, time.monotonic()
            elif time.monotonic() - moved_at > _STUCK_S:
                raise SpotcheckError(f"{left:,} jobs of the demo were not scored within a minute; repeat the command")


def _open_jobs(project: Project, night: date) -> int:
    with project.store.read() as connection:
        return cells.open_jobs(connection, night)


def _refuse(rejected: Rejected) -> None:
    raise AssertionError(f"a made-up run was rejected: {rejected.reason}")


@contextmanager
def worker_thread(settings: Settings) -> Iterator[None]:
    """Run a Celery worker for all lanes in a thread of this process, on the in-memory broker."""
    celery.use(settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")  # the worker runs demo tasks only
        worker = celery.app.Worker(
            pool="solo",
            concurrency=1,
            queues=list(celery.QUEUES.values()),
            without_heartbeat=True,
            without_gossip=True,
            without_mingle=True,
            loglevel="ERROR",
            quiet=True,
        )
        thread = threading.Thread(target=worker.start, name="spotcheck-worker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            worker_state.should_stop = 0
            thread.join(timeout=15)
            worker_state.should_stop = None
