"""How Celery reaches its broker: options for each kind, and transports that hold where kombu's own do not."""

import time
from pathlib import Path

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, get_transport_cls

from worker.celery.folder_transport import PART
from worker.errors import SettingsError
from worker.settings import Settings, without_password

MAX_FILES = 32
"""Messages of a queue that may lie in a folder: there may be no worker, and each poll sorts all of them."""
_POLL_S = {"filesystem": 0.05, "memory": 0.01}
_CHECK_S = 2.0
_OLD_PART_S = 3_600.0
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
        app.conf.broker_url = "memory://localhost//"  # without a host kombu warns at every look
        app.conf.broker_transport_options = {"polling_interval": _POLL_S[scheme]}
    elif scheme == "filesystem":
        folder = _folder(settings)
        app.conf.broker_url = "filesystem://localhost//"
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
    """Make a folder broker's folders, and remove the unfinished files, an hour old, of writers that were killed.

    Raises:
        OSError: They cannot be made.
    """
    if not settings.broker.startswith("filesystem://"):
        return
    for name in ("queue", "control"):
        (_folder(settings) / name).mkdir(parents=True, exist_ok=True)
        for part in (_folder(settings) / name).glob(f".*{PART}"):
            try:
                if time.time() - part.stat().st_mtime > _OLD_PART_S:
                    part.unlink()
            except FileNotFoundError:
                pass


def room(settings: Settings, queue: str) -> int:
    """How many more messages a queue may take; they are counted only where the broker is a folder."""
    if not settings.broker.startswith("filesystem://"):
        return MAX_FILES
    waiting = sum(1 for _ in (_folder(settings) / "queue").glob(f"*.{queue}.msg"))
    return max(0, MAX_FILES - waiting)


def check_broker(app: Celery, settings: Settings) -> None:
    """Try to connect to the broker, for two seconds at most; left to itself, kombu tries for six.

    Raises:
        KombuError, OSError: It is not.
    """
    if settings.broker.startswith(("filesystem://", "memory://")):
        return
    options = {"socket_connect_timeout": _CHECK_S} if settings.broker.startswith("redis") else {}
    with app.connection_for_write(connect_timeout=_CHECK_S, transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_CHECK_S)


def _folder(settings: Settings) -> Path:
    return Path(settings.broker.removeprefix("filesystem://"))


# kombu keeps what it finds at its first look; by name, so that the client of another broker is not imported
TRANSPORT_ALIASES["memory"] = "worker.celery.memory_transport:MemoryTransport"
TRANSPORT_ALIASES["filesystem"] = "worker.celery.folder_transport:FolderTransport"
TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "worker.celery.redis_transport:RedisTransport")
