"""Eight weeks in minutes, the way they would have gone: each night's runs taken in, drawn, scored, compared, watched.

Everything is the product's own: intake, draw, ledger, Celery tasks in a worker of this process, the openai client over
HTTP, trends, scan and alerts. Only the clock is made up: it says the morning after the night in hand.
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
"""The ledger is looked at this often even when no task says that it ended."""
_STUCK_S = 60.0


class Progress(NamedTuple):
    """How far the replay is."""

    night: date
    nights: int
    """Done, this one included."""
    runs: int
    sampled: int
    found: list[Drift]
    """In this night."""


def replay(project: Project, history: History, on_night: Callable[[Progress], None]) -> list[Drift]:
    """Live through a history, from its first night to its last.

    Args:
        project: An empty one; a worker must run for it (`working`).
        history: Whose nights.
        on_night: Told after each.

    Returns:
        Everything that was found, oldest first.
    """
    found: list[Drift] = []
    runs = sampled = 0
    project.nights.is_replaying = True  # stored, and nothing sent anywhere
    scored = _Scored()
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
            found += new
            on_night(Progress(night, count, runs, sampled, new))
    return found


def morning_after(night: date) -> datetime:
    """When a night is drawn: two in the morning of the day after it, or now where that is still to come."""
    usual = datetime(night.year, night.month, night.day, 2, tzinfo=UTC) + timedelta(days=1)
    return min(usual, datetime.now(UTC))


class _Scored:
    """Waits until the worker has resolved every job, without asking the ledger all the time."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear of tasks that end in this process."""
        signals.task_postrun.connect(self._hear)
        try:
            yield
        finally:
            signals.task_postrun.disconnect(self._hear)

    def _hear(self, **_: object) -> None:
        self._ended.set()

    def wait(self, project: Project, night: date) -> None:
        """Wake the worker and wait until it has resolved the jobs of a night.

        Raises:
            SpotcheckError: Nothing was resolved for a minute: the judge of the demo is gone.
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
def working(settings: Settings) -> Iterator[None]:
    """A Celery worker for all lanes in a thread of this process, on the in-process broker."""
    celery.use(settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")  # nothing but the demo runs in it
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
