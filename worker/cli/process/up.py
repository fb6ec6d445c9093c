"""`spotcheck up`: worker, beat and control in one process, for one machine, with a live status.

The same Celery tasks as in production, on threads: each lane has one turn at a time, so a judge that takes its minute
never holds the tick back, and a stop gives every lane the same few seconds.
"""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Annotated

import typer
from celery import signals
from celery.beat import EmbeddedService
from celery.worker import state as worker_state
from rich.live import Live

from worker import celery, logs
from worker.celery import broker
from worker.cli.context import close, project
from worker.cli.output import note, plain, raw_note
from worker.cli.process.live import LiveFigures, LiveReader, one_line, panel
from worker.cli.process.log_lines import as_log_lines
from worker.cli.process.run import known_level, ready
from worker.cli.screen import err_console
from worker.errors import SpotcheckError
from worker.project.project import Project
from worker.settings import Settings

_THREADS = 7
"""One each for judge, heuristics, tick, reconcile and delivery, and two for wake-ups that find those busy."""
_LOOK_S, _LINE_S = 1.0, 60.0
_SHARE = 20
"""Looking takes at most one part in so many of the time."""
_STOP_S = 8.0
"""Lanes end within four seconds; a draw that takes longer is undone by the database, and made again."""

log = logging.getLogger("spotcheck")


def up(
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", min=1, max=1024, help="Judge calls in flight; else as in the settings."),
    ] = None,
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")] = "info",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No status, only warnings and errors.")] = False,
) -> None:
    """Everything in one process, for one machine: draw each night, score it, heal, tell how it stands.

    On a terminal the status is live, elsewhere it is a line a minute. `spotcheck score` in another shell wakes it.
    Ctrl-C or SIGTERM stops it within seconds: what is in hand is finished or given back. Kill it, start it again: it
    goes on.

    Examples: spotcheck up · spotcheck up --concurrency 32 --quiet
    """
    known_level(loglevel)
    as_log_lines()
    opened = ready(_wider(project(creates=True), concurrency))
    note(f"store {opened.store.shown} · broker {broker.shown(opened.settings)} · all lanes and beat in this process")
    stopping = _UpShutdown()
    with ExitStack() as ends:
        ends.enter_context(stopping.listening())
        ends.enter_context(_logging(opened.settings, "warning" if quiet else loglevel))
        working = ends.enter_context(_working(stopping))
        shown = ends.enter_context(_screen(opened)) if err_console().is_terminal and not quiet else None
        _watch(opened, stopping, working, shown, is_quiet=quiet)
    if not stopping.is_asked:
        raise SpotcheckError("the worker ended by itself; the log says why. Nothing is lost: start it again")
    note("stopped; nothing is left in hand")


def _wider(opened: Project, concurrency: int | None) -> Project:
    if concurrency is None:
        return opened
    judge = opened.settings.judge.model_copy(update={"concurrency": concurrency})
    return Project(opened.settings.model_copy(update={"judge": judge}), opened.store)


class _UpShutdown:
    """Ctrl-C and SIGTERM once: stop in order. Twice: it is under way. Three times: leave at once, leases run out."""

    def __init__(self) -> None:
        self._times = 0

    @property
    def is_asked(self) -> bool:
        return self._times > 0

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds  # not an Event: its lock may be held by what the signal interrupts
        while not self.is_asked and time.monotonic() < until:
            time.sleep(0.1)  # a signal is seen within this time

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {sign: signal.signal(sign, self._on_signal) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._times += 1
        celery.stop_working()
        said = {
            1: "stopping: giving back what is in hand",
            2: "stopping already, a few seconds more (once more leaves at once; nothing is lost)",
        }
        # not through rich: its lock may be held by what was interrupted
        raw_note(said.get(self._times, "left; the next start goes on"))
        if self._times > 2:
            os._exit(130)


@contextmanager
def _working(stopping: _UpShutdown) -> Iterator[threading.Thread]:
    """A Celery worker for all lanes in a thread of this process, with beat beside it."""
    warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")
    worker_state.should_stop = None
    worker = celery.app.Worker(
        pool="threads",
        concurrency=_THREADS,
        queues=list(celery.QUEUES.values()),
        hostname=f"spotcheck-up-{os.getpid()}@%h",
        without_heartbeat=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    thread = threading.Thread(target=worker.start, name="spotcheck-worker", daemon=True)
    beat = EmbeddedService(celery.app, thread=True, scheduler_cls=celery.Ticker)
    thread.start()
    beat.start()
    try:
        yield thread
    finally:
        celery.stop_working()
        worker_state.should_stop = os.EX_OK
        beat.service.stop(wait=False)
        thread.join(timeout=_STOP_S)
        if thread.is_alive() and stopping.is_asked:
            note("left in the middle of a transaction, which the database undoes; the next start makes it again")
            sys.stderr.flush()
            os._exit(os.EX_OK)
        worker_state.should_stop = None
        close()


def _watch(
    opened: Project, stopping: _UpShutdown, working: threading.Thread, shown: Live | None, *, is_quiet: bool
) -> None:
    """Tell how it stands until it is stopped or the worker ends."""
    look_at = line_at = 0.0
    figures: LiveFigures | None = None
    reader = LiveReader(opened)
    while not stopping.is_asked and working.is_alive():
        began = time.monotonic()
        is_line_due = shown is None and not is_quiet and began >= line_at
        if began >= look_at and (shown is not None or is_line_due):
            figures = reader.read()
            look_at = time.monotonic() + max(_LOOK_S, _SHARE * (time.monotonic() - began))
        if figures is not None and shown is not None:
            shown.update(panel(opened.settings, figures), refresh=True)
        elif figures is not None and is_line_due:
            log.info("%s", one_line(opened.settings, figures))
            line_at = began + _LINE_S
        stopping.wait(_LOOK_S)


@contextmanager
def _screen(opened: Project) -> Iterator[Live]:
    console = err_console()
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:
        live.update(panel(opened.settings, None), refresh=True)
        yield live


class _Lines(logging.Handler):
    """Log lines above the live status; what they quote gives the terminal no orders."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            err_console().print(plain(self.format(record)), markup=False)


@contextmanager
def _logging(settings: Settings, level: str) -> Iterator[None]:
    """Our lines at a level, those of libraries from warnings on; Celery does not set up its own."""
    handler = _Lines()
    handler.setFormatter(logs.formatter(settings, "%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    handlers, before = list(root.handlers), (root.level, log.level)

    def leave_it(**_: object) -> None:
        return None

    signals.setup_logging.disconnect(celery.set_up_logs)
    signals.setup_logging.connect(leave_it)
    root.handlers[:] = [handler]
    root.setLevel("DEBUG" if level.lower() == "debug" else "WARNING")
    log.setLevel(level.upper())
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(before[0])
        log.setLevel(before[1])
        signals.setup_logging.disconnect(leave_it)
        signals.setup_logging.connect(celery.set_up_logs)
