"""A folder broker that is safe to kill.

kombu's own opens a message under its final name and then writes it. A reader in between, or a `kill -9`, leaves an
empty file, and an empty file ends every worker that reads it. Ours puts a message whole or not at all, and drops half a
one: the jobs are in the database. A folder that is deleted under running workers is made again.
"""

import logging
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any, BinaryIO

from kombu.transport import filesystem
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

from worker.celery.messages import MAX_BYTES, UNREADABLE, CheckedTransport

log = logging.getLogger("spotcheck")
PART = ".part"
"""How the name of a message ends that is still being written."""
_LOOK_S = 0.5
"""Longest wait for a message before the worker looks whether it was told to stop; kombu's own is 2 s."""
_MAX_FILE = 2 * MAX_BYTES
"""A larger file is not read into memory: it is no message."""
_TRIES = 5
"""Times that a write makes its folder again, which somebody may be deleting."""


class FolderChannel(filesystem.Channel):  # type: ignore[misc]  # kombu ships no types
    """Queues as files, each put and taken in one step of the file system."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 as kombu's own
        super().__init__(*args, **options)
        self._logged: set[str] = set()

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # noqa: ANN401 as kombu's own
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out) / name, dumps(payload))

    def _get(self, queue: str) -> Any:  # noqa: ANN401 as kombu's own
        folder = Path(self.data_folder_in)
        for name in sorted(_names(folder)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            try:
                found = (folder / name).stat()
                is_small_file = stat.S_ISREG(found.st_mode) and found.st_size <= _MAX_FILE
                body = (folder / name).read_bytes() if is_small_file else b""
                (folder / name).unlink()  # of two that read it, one succeeds
            except FileNotFoundError:
                continue
            except OSError as error:
                self._log_once(f"broker: {name} cannot be taken: {error.strerror}; remove it by hand")
                continue
            try:
                return loads(bytes_to_str(body))
            except UNREADABLE:
                log.warning("broker: %.200s is no message and was dropped; the ledger keeps the work", name)
        raise Empty

    def _log_once(self, line: str) -> None:
        if line not in self._logged:
            log.warning("%s", line)
        self._logged.add(line)

    def get_table(self, exchange: str) -> list[Any]:
        """Queues of an exchange; none when its file is half a one, and then they are bound anew."""
        try:
            found: list[Any] = super().get_table(exchange)
        except (ValueError, TypeError):
            return []
        return found

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        file = self._exchange_file(exchange)
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with _locked(self.control_folder / ".lock"):
            bindings = self.get_table(exchange)
            if binding not in bindings:
                _write_whole(file, dumps([binding, *bindings]))


class FolderTransport(CheckedTransport, filesystem.Transport):  # type: ignore[misc]  # kombu ships no types
    """kombu's, with our channel, and a shorter wait."""

    Channel = FolderChannel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # noqa: ANN401 as kombu's own
        """Deliver one message.

        Raises:
            TimeoutError: None came; after half a second at most, so that a stop is seen soon.
        """
        super().drain_events(connection, timeout=None if timeout is None else min(timeout, _LOOK_S))


def _names(folder: Path) -> list[str]:
    """What lies in a folder, many times a second; nothing where it was deleted, and then it is made again."""
    try:
        return os.listdir(folder)  # noqa: PTH208 names are all it needs
    except FileNotFoundError:
        log.warning("broker: folder %s was gone and is made again; the ledger keeps the work", folder)
        _make(folder)
        return []


def _make(folder: Path) -> None:
    """Make a folder; where somebody deletes it, or one above it, in that moment, it is left for the next time."""
    with suppress(FileNotFoundError, FileExistsError):
        folder.mkdir(parents=True, exist_ok=True)


def _write_whole(path: Path, text: str) -> None:
    """Write a file in one step of the file system.

    Raises:
        OSError: It cannot be written.
    """
    for left in reversed(range(_TRIES)):
        part = path.with_name(f".{uuid.uuid4()}{PART}")
        try:
            part.write_bytes(str_to_bytes(text))
            part.replace(path)
        except FileNotFoundError:
            if not left:
                raise
            _make(path.parent)
        else:
            return


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made with its folder."""
    with _opened(path) as file:
        filesystem.lock(file, filesystem.LOCK_EX)
        try:
            yield
        finally:
            filesystem.unlock(file)


def _opened(path: Path) -> BinaryIO:
    for _ in range(_TRIES - 1):
        with suppress(FileNotFoundError):
            return path.open("ab")
        _make(path.parent)
    return path.open("ab")
