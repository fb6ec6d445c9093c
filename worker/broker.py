"""How Celery reaches its broker: options for each kind, and a folder broker that is safe to kill.

kombu's own folder broker opens a message under its final name and then writes it. A reader in between, or a `kill -9`,
leaves an empty file, and an empty file ends every worker that reads it. Ours puts a message whole or not at all, and
drops half a one: the ledger keeps the work.
"""

import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, filesystem, get_transport_cls
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

from worker.errors import SettingsError
from worker.settings import Settings, without_password

log = logging.getLogger("spotcheck")
MOST_FILES = 32
"""Messages of a queue that may lie in a folder: nobody may be listening, and each poll sorts all of them."""
_POLL_S = {"filesystem": 0.05, "memory": 0.01}
_LOOK_S = 0.5
"""Longest wait for a message before the worker looks whether it was told to stop; kombu's own is 2 s."""
_KNOCK_S = 2.0
_PART = ".part"
_PART_OLD_S = 3_600.0
_REDIS = {
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "global_keyprefix": "spotcheck:",
}


def shown(settings: Settings) -> str:
    """The broker as people may see it."""
    return without_password(settings.broker)


def use(app: Celery, settings: Settings) -> None:
    """Point an app at a broker; nothing is connected.

    Raises:
        SettingsError: The broker's client is not installed, or Celery does not know it.
    """
    scheme = settings.broker.split("://", 1)[0]
    _check(scheme)
    app.conf.broker_url = settings.broker
    app.conf.broker_transport_options = {}
    if scheme in ("redis", "rediss"):
        app.conf.broker_transport_options = dict(_REDIS)
    elif scheme == "memory":
        app.conf.broker_transport_options = {"polling_interval": _POLL_S[scheme]}
    elif scheme == "filesystem":
        folder = _folder(settings)
        app.conf.broker_url = "filesystem://localhost//"  # without a host kombu warns at every look
        app.conf.broker_transport_options = {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "polling_interval": _POLL_S[scheme],
        }


def _check(scheme: str) -> None:
    if scheme == "sentinel":
        raise SettingsError("SPOTCHECK_BROKER_URL: sentinel needs options that cannot be given here; use redis://")
    try:
        get_transport_cls(scheme)
    except (ImportError, KeyError) as error:
        why = f"module {error.name} is not installed" if isinstance(error, ImportError) else "Celery does not know it"
        raise SettingsError(f"SPOTCHECK_BROKER_URL: {scheme}://: {why}; use redis:// or a folder") from None


def prepare(settings: Settings) -> None:
    """Make a folder broker's folders, and take away what writers that were killed left half done.

    Raises:
        OSError: They cannot be made.
    """
    if not settings.broker.startswith("filesystem://"):
        return
    for name in ("queue", "control"):
        (_folder(settings) / name).mkdir(parents=True, exist_ok=True)
        for part in (_folder(settings) / name).glob(f".*{_PART}"):
            try:
                if time.time() - part.stat().st_mtime > _PART_OLD_S:
                    part.unlink()
            except FileNotFoundError:
                pass


def room(settings: Settings, queue: str) -> int:
    """How many more messages a queue may take; nobody counts but in a folder."""
    if not settings.broker.startswith("filesystem://"):
        return MOST_FILES
    waiting = sum(1 for _ in (_folder(settings) / "queue").glob(f"*.{queue}.msg"))
    return max(0, MOST_FILES - waiting)


def knock(app: Celery, settings: Settings) -> None:
    """Look whether the broker is there; left to itself, kombu tries for six seconds.

    Raises:
        KombuError, OSError: It is not.
    """
    if settings.broker.startswith(("filesystem://", "memory://")):
        return
    options = {"socket_connect_timeout": _KNOCK_S} if settings.broker.startswith("redis") else {}
    with app.connection_for_write(connect_timeout=_KNOCK_S, transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_KNOCK_S)


def _folder(settings: Settings) -> Path:
    return Path(settings.broker.removeprefix("filesystem://"))


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu ships no types
    """Queues as files, each put and taken in one step of the file system."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # noqa: ANN401 as kombu's own
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out) / name, dumps(payload))

    def _get(self, queue: str) -> Any:  # noqa: ANN401 as kombu's own
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 names are all it needs, many times a second
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            try:
                body = (folder / name).read_bytes()
                (folder / name).unlink()  # of two that read it, one succeeds
            except FileNotFoundError:
                continue
            try:
                return loads(bytes_to_str(body))
            except ValueError:
                log.warning("broker: %s is no message and was dropped; the ledger keeps the work", name)
        raise Empty

    def get_table(self, exchange: str) -> list[Any]:
        """Queues of an exchange; none when its file is half a one, and then they are bound anew."""
        try:
            found: list[Any] = super().get_table(exchange)
        except (ValueError, TypeError):
            return []
        return found

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        file = self._exchange_file(exchange)
        self.control_folder.mkdir(exist_ok=True)
        wanted = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with _locked(self.control_folder / ".lock"):
            known = self.get_table(exchange)
            if wanted not in known:
                _write_whole(file, dumps([wanted, *known]))


class Transport(filesystem.Transport):  # type: ignore[misc]  # kombu ships no types
    """kombu's, with our channel, and a shorter wait."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # noqa: ANN401 as kombu's own
        """Deliver one message.

        Raises:
            TimeoutError: None came; after half a second at most, so that a stop is seen soon.
        """
        super().drain_events(connection, timeout=None if timeout is None else min(timeout, _LOOK_S))


TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"  # before kombu first looks, since it remembers


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{uuid.uuid4()}{_PART}")
    part.write_bytes(str_to_bytes(text))
    part.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        filesystem.lock(file, filesystem.LOCK_EX)
        try:
            yield
        finally:
            filesystem.unlock(file)
