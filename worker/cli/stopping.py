"""Ctrl-C and SIGTERM."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from worker.cli.output import note


def leave(_number: int, _frame: FrameType | None) -> None:
    """Once more Ctrl-C, while a command is tidying up: leave at once. The database is whole at any moment."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)


class StopRequest:
    """Ctrl-C once: finish or give back what is in hand. Twice: leave at once; leases run out, nothing is lost."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take Ctrl-C and SIGTERM as a request."""
        before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
        for sign in before:
            signal.signal(sign, self._on_signal)
        try:
            yield self
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked.is_set():
            signal.signal(signal.SIGINT, leave)
            raise KeyboardInterrupt
        self._asked.set()
        note("stopping: giving back what is in hand (Ctrl-C again leaves at once; nothing is lost)")
