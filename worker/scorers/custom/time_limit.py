"""A time limit on code that is not ours."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_AGAIN_S = 1.0
"""The exception is raised anew so often, for code that catches everything and goes on."""


class ScorerTimeout(BaseException):
    """A scorer took too long over one run; no `Exception`, so that `except Exception` in its code does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `ScorerTimeout` in the body after so many seconds.

    By SIGALRM, which only the main thread of a process can be interrupted by: it works in commands and in Celery's
    worker processes. In a thread, as under `spotcheck up`, and on Windows there is no limit. Another timer of the
    process is put back afterwards.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise ScorerTimeout

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:  # it may ring between the last statement of the body and the line above
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *timer)
