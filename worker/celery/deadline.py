"""A worker that was told to stop ends within five seconds, also when something in it waits for ever.

The pool's threads wait without a limit for locks and pipes that a child may have held as it died. So whoever waits in
the main process is left waiting: after the deadline the children are killed, and the process leaves. What they had in
hand is taken up by others when its lease runs out, as after a power cut.
"""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from billiard.process import active_children
from celery import signals
from celery.platforms import EX_OK

log = logging.getLogger("spotcheck")
_INTERRUPTED = 130
"""As every command that Ctrl-C ends."""
DEADLINE_S = 4.3
"""From the signal to the end; children that work give back what they hold within two."""
_LAST_WORDS_S = 0.3
"""Longest wait for a line in the log, whose lock may be held by what is left waiting."""


class ShutdownDeadline:
    """A thread of a worker's main process that does nothing until the worker is told to stop."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._told: int | None = None
        """The end of a pipe that wakes the thread: a signal handler may write to it, whatever it interrupted."""
        self._pid: int | None = None

    def watch(self, deadline_s: float = DEADLINE_S) -> None:
        """Begin to wait for a stop. Called in the main process as its worker is ready."""
        heard, self._told = os.pipe()
        self._pid = os.getpid()
        arguments = (heard, deadline_s)
        threading.Thread(target=_end_after, args=arguments, name="spotcheck-deadline", daemon=True).start()

    def begin(self, exit_code: int = EX_OK) -> None:
        """The worker was told to stop; safe to call in a signal handler, and more than once: the first time counts.

        Args:
            exit_code: What the process ends with where the deadline has to end it.
        """
        if self._told is not None and self._pid == os.getpid():
            with suppress(OSError):
                os.write(self._told, bytes([exit_code]))


def _end_after(heard: int, deadline_s: float) -> None:
    exit_code = os.read(heard, 1)[0]
    time.sleep(deadline_s)  # the thread ends with the process, where that is sooner
    killed = []
    for child in active_children():
        with suppress(ProcessLookupError, TypeError):
            os.kill(child.pid, signal.SIGKILL)
            killed.append(str(child.pid))
    last_words = threading.Thread(target=_say, args=(deadline_s, killed), daemon=True)
    last_words.start()
    last_words.join(_LAST_WORDS_S)
    os._exit(exit_code)


def _say(deadline_s: float, killed: list[str]) -> None:
    who = f"child processes {', '.join(killed)} were killed" if killed else "its child processes were gone"
    log.warning(
        "stopped after %g s although something still waited; %s. Nothing is lost: what was in hand is taken up again "
        "when its lease runs out",
        deadline_s,
        who,
    )


_deadline = ShutdownDeadline()


@signals.worker_ready.connect
def _watch(sender: Any = None, **_: object) -> None:  # noqa: ANN401 celery's Consumer
    if _is_prefork(sender):
        _deadline.watch()


@signals.worker_shutting_down.connect
def _begin(sig: str = "", **_: object) -> None:
    _deadline.begin(_INTERRUPTED if sig == "SIGINT" else EX_OK)


@signals.worker_process_init.connect
def _leave_stopping_to_the_parent(**_: object) -> None:
    """A signal to the whole group, or to all processes of a service, would end a child in the middle of its calls.

    The parent hears it too, and has its children stop in order. A child that does not is killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _is_prefork(consumer: Any) -> bool:  # noqa: ANN401 celery's Consumer
    """Whether the worker has child processes: `spotcheck up`, whose tasks are threads, has a deadline of its own."""
    return bool(getattr(getattr(consumer, "pool", None), "uses_semaphore", False))
