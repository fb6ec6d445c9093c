"""How the turns at each lane ended: kept in the store, and logged once when trouble begins and when it ends."""

import json
import re
import time
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from worker.jobs.drain_result import LEFT_ALONE, DrainResult
from worker.project.project import Project
from worker.store import meta
from worker.store.health import TURN
from worker.store.queue import backlog

_WRITE_S = 5.0
_ADVICE = r"; check (?:OPENAI_API_KEY|OPENAI_BASE_URL|its billing|SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL)"
_THEIR_WORDS = re.compile(
    rf"(?P<ours>.*?): (?:(?<=gave no usable answer: )(?P<kind>\w+))?.*?(?P<advice>{_ADVICE})?", re.DOTALL
)
"""What follows the first colon, apart from an exception's name and our own advice at the end."""


class TroubleChange(NamedTuple):
    """The beginning or the end of trouble, for the log."""

    text: str
    is_trouble: bool
    """Whether it begins; else it is over."""
    seconds: float | None
    """How long it was, when it is over."""


class TroubleLog:
    """Writes to the store how turns ended. All processes share one row a lane, so only one of them logs a change."""

    def __init__(self, project: Project) -> None:
        """Write nothing yet."""
        self._project = project
        self._written: dict[str, tuple[float, str | None]] = {}

    def after(self, lane: str, done: DrainResult) -> TroubleChange | None:
        """Write down how a turn ended; `spotcheck health` and `up` read it.

        Args:
            lane: Whose turn.
            done: What it did.

        Returns:
            What began or ended with it; None where a process, this or another, has written that down before.

        Raises:
            StoreError: The database does not answer.
        """
        trouble = done.refused or done.outage
        at, before = self._written.get(lane, (-_WRITE_S, None))
        if trouble == before and time.monotonic() < at + _WRITE_S:
            return None
        with self._project.store.write() as connection:
            change = self._write(connection, lane, done, self._project.store.now(connection))
        self._written[lane] = (time.monotonic(), trouble)
        return change

    def _write(self, connection: Connection, lane: str, done: DrainResult, now: datetime) -> TroubleChange | None:
        before = _read(meta.get_meta(connection, f"{TURN}{lane}"))
        trouble, since, kind = before.get("trouble"), before.get("since"), before.get("kind")
        text = done.refused or done.outage
        if text == LEFT_ALONE or (trouble and text is None and self._proves_nothing(connection, lane, done, now)):
            text = trouble  # nobody was asked; where another process was answered meanwhile, that stands
        elif text is not None:
            is_new = trouble is None or kind != ("refused" if done.refused else "outage")
            kind = "refused" if done.refused else "outage"
            since = now.isoformat() if is_new else since
        row = {"at": now.isoformat(), "trouble": text}
        if text is not None:
            row |= {"since": since, "kind": kind}
        meta.set_meta(connection, f"{TURN}{lane}", json.dumps(row))
        if text is None and trouble:
            return TroubleChange("answers again", is_trouble=False, seconds=_seconds(since, now))
        if text is not None and since != before.get("since"):
            return TroubleChange(in_short(text), is_trouble=True, seconds=None)
        return None

    @staticmethod
    def _proves_nothing(connection: Connection, lane: str, done: DrainResult, now: datetime) -> bool:
        """Whether a turn without trouble does not show that the judge answers: it settled nothing, though jobs wait."""
        if done.settled:
            return False
        waiting = backlog.lane_backlog(connection, now, lane)
        return waiting.due + waiting.later + waiting.leased > 0


def in_short(trouble: str) -> str:
    """A judge's trouble without its server's words, which may be a run's: a log goes further than the database.

    Example:
        >>> in_short("the judge at http://h:1/v1 answers 500: cannot read 'my name is Ann'; sorry")
        'the judge at http://h:1/v1 answers 500'
        >>> in_short("the judge at http://h:1/v1 gave no usable answer: ConnectionRefusedError: [Errno 111]")
        'the judge at http://h:1/v1 gave no usable answer (ConnectionRefusedError)'
        >>> in_short("the judge says the account has no quota left (402): pay for 'Ann'; check its billing")
        'the judge says the account has no quota left (402); check its billing'
    """
    parts = _THEIR_WORDS.fullmatch(trouble)
    if parts is None:
        return trouble
    kind = f" ({parts['kind']})" if parts["kind"] else ""
    return f"{parts['ours']}{kind}{parts['advice'] or ''}"


def _read(text: str | None) -> dict[str, Any]:
    row = json.loads(text) if text else {}
    return row if isinstance(row, dict) else {}


def _seconds(since: str | None, now: datetime) -> float | None:
    return None if since is None else (now - datetime.fromisoformat(since)).total_seconds()
