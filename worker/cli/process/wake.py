"""How a command tells the workers that there is work: through a broker that may be down without harm."""

import tempfile
import threading
import time
from pathlib import Path

from worker import celery
from worker.celery import broker
from worker.cli.output import counted, note
from worker.errors import SettingsError
from worker.project.project import Project
from worker.queries.status import count_live_workers

_ANSWER_S = 4.0
"""Longest wait for a broker; the ledger has the work already, so a person need not wait for more."""
_LOOK_AGAIN_S = 30.0


class Waking:
    """Wakes workers; of a broker that does not answer it says so once, and leaves it alone for a while."""

    def __init__(self, opened: Project) -> None:
        """Point Celery at the project's broker; nothing is connected.

        Raises:
            SettingsError: The broker is a folder that cannot be made.
        """
        self._opened = opened
        self._is_up: bool | None = None
        self._look_at = 0.0
        try:
            celery.use(opened.settings)
        except OSError as error:
            shown = broker.shown(opened.settings)
            raise SettingsError(f"SPOTCHECK_BROKER_URL: {shown} cannot be made: {error.strerror}") from None

    def __call__(self, lane: str, due: int = 1) -> None:
        """Tell workers of a lane that there may be work."""
        if not self._is_up and time.monotonic() >= self._look_at:
            self._look()
        if self._is_up:
            celery.wake(lane, due)

    def told(self, still_open: int) -> str:
        """How many jobs are open, and who will do them."""
        if not still_open:
            return "no job is open"
        jobs = f"{counted(still_open, 'job')} {'is' if still_open == 1 else 'are'} open"
        alive = count_live_workers(self._opened)
        if not alive:
            return f"{jobs}, and no worker is seen alive: start one with spotcheck worker, or add --wait"
        if self._is_up is False:
            return f"{jobs}; the workers find them when the broker is back"
        return f"{jobs}; {counted(alive, 'worker')} told"

    def _look(self) -> None:
        was_down = self._is_up is False
        why = _why_down(self._opened.settings.broker)
        self._is_up = why is None
        self._look_at = time.monotonic() + _LOOK_AGAIN_S
        if why is not None and not was_down:
            shown = broker.shown(self._opened.settings)
            note(f"broker {shown} is not reachable ({why}); the work is stored, and nothing is lost")


def _why_down(url: str) -> str | None:
    """Why a broker cannot be reached; None when it can."""
    if url.startswith("memory://"):
        return None
    if url.startswith("filesystem://"):
        return _why_closed(Path(url.removeprefix("filesystem://")) / "queue")
    said: list[str | None] = []
    # in a thread that may be left behind: clients retry on their own, some for minutes
    knocking = threading.Thread(target=lambda: said.append(_knock()), name="spotcheck-broker", daemon=True)
    knocking.start()
    knocking.join(_ANSWER_S)
    return said[0] if said else f"no answer in {_ANSWER_S:.0f} s"


def _why_closed(folder: Path) -> str | None:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _knock() -> str | None:
    try:
        with celery.app.connection_for_write(connect_timeout=_ANSWER_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_ANSWER_S)
    except Exception as error:  # noqa: BLE001 each transport raises its own; whatever it is, the broker is not there
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return None
