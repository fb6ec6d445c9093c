"""A database that does not take writes is one line in a worker's log, and another one when it does again."""

import logging
import mmap
import struct
import time
import zlib

from worker.errors import StoreError

log = logging.getLogger("spotcheck")
_FORGOTTEN_S = 600.0
"""Trouble that was not met for so long is said again."""
_TOLD = struct.Struct("<IId")
"""What was said, whose work met it (both as checksums; 0 is nothing), and when it was met last, monotonic seconds."""


class StoreTrouble:
    """What was said of it, shared by a worker and its children: each of them meets it, twice a minute and more."""

    def __init__(self) -> None:
        """Make this before the pool forks."""
        self._shared = mmap.mmap(-1, _TOLD.size)

    def say(self, what: str, error: StoreError) -> None:
        """Log it, unless a process of this worker has.

        Args:
            what: The work that met it.
            error: What the database said.
        """
        told, whose, at = self._read()
        text, now = zlib.crc32(str(error).encode()), time.monotonic()
        if told == text and now < at + _FORGOTTEN_S:
            self._write(told, whose, now)
            return
        self._write(text, zlib.crc32(what.encode()), now)
        log.error("%s: %s (said once; this worker tries again by itself, and asks no judge until then)", what, error)

    def over(self, what: str) -> None:
        """This work was stored; where the trouble was met there, it is over."""
        told, whose, _ = self._read()
        if told and whose == zlib.crc32(what.encode()):
            self._write(0, 0, 0.0)
            log.warning("%s: the database takes writes again", what)

    def _read(self) -> tuple[int, int, float]:
        told, whose, at = _TOLD.unpack(self._shared[:])
        return told, whose, at

    def _write(self, told: int, whose: int, at: float) -> None:
        self._shared[:] = _TOLD.pack(told, whose, at)


store_trouble = StoreTrouble()
"""The one of this worker."""
