"""What becomes of the turns at a lane: noted for all to see, and told once when trouble begins and when it ends."""

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

_NOTE_S = 5.0
_ADVICE = r"; check (?:OPENAI_API_KEY|OPENAI_BASE_URL|its billing|SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL)"
_THEIR_WORDS = re.compile(
    rf"(?P<ours>.*?): (?:(?<=gave no usable answer: )(?P<kind>\w+))?.*?(?P<advice>{_ADVICE})?", re.DOTALL
)
"""What follows the first colon, but for the kind of an exception and our own advice at the end."""


class TroubleChange(NamedTuple):
    """What a log is to say."""

    said: str
    is_trouble: bool
    """Whether it begins; else it is over."""
    seconds: float | None
    """How long it was, when it is over."""


class TroubleLog:
    """What this process has noted of its turns; all note in one place, so that one of them tells."""

    def __init__(self, project: Project) -> None:
        """Note nothing yet."""
        self._project = project
        self._noted: dict[str, tuple[float, str | None]] = {}

    def after(self, lane: str, done: DrainResult) -> TroubleChange | None:
        """Note a turn; `spotcheck health` and `up` read it.

        Args:
            lane: Whose turn.
            done: What it did.

        Returns:
            What begins or ends with it; None where that is known, to whichever process.

        Raises:
            StoreError: The database does not answer.
        """
        said = done.refused or done.outage
        at, before = self._noted.get(lane, (-_NOTE_S, None))
        if said == before and time.monotonic() < at + _NOTE_S:
            return None
        with self._project.store.write() as connection:
            news = self._note(connection, lane, done, self._project.store.now(connection))
        self._noted[lane] = (time.monotonic(), said)
        return news

    def _note(self, connection: Connection, lane: str, done: DrainResult, now: datetime) -> TroubleChange | None:
        known = _read(meta.get_meta(connection, f"{TURN}{lane}"))
        trouble, since, kind = known.get("trouble"), known.get("since"), known.get("kind")
        said = done.refused or done.outage
        if said == LEFT_ALONE or (trouble and said is None and self._is_unproven(connection, lane, done, now)):
            said = trouble  # nobody was asked; where another process was answered meanwhile, that stands
        elif said is not None:
            is_new = trouble is None or kind != ("refused" if done.refused else "outage")
            kind = "refused" if done.refused else "outage"
            since = now.isoformat() if is_new else since
        noted = {"at": now.isoformat(), "trouble": said}
        if said is not None:
            noted |= {"since": since, "kind": kind}
        meta.set_meta(connection, f"{TURN}{lane}", json.dumps(noted))
        if said is None and trouble:
            return TroubleChange("answers again", is_trouble=False, seconds=_seconds(since, now))
        if said is not None and since != known.get("since"):
            return TroubleChange(in_short(said), is_trouble=True, seconds=None)
        return None

    @staticmethod
    def _is_unproven(connection: Connection, lane: str, done: DrainResult, now: datetime) -> bool:
        """Whether a turn without trouble says nothing: it settled nothing, though jobs wait."""
        if done.settled:
            return False
        waiting = backlog.lane_backlog(connection, now, lane)
        return waiting.due + waiting.later + waiting.leased > 0


def in_short(said: str) -> str:
    """A judge's trouble without its server's words, which may be a run's: a log goes further than the database.

    Example:
        >>> in_short("the judge at http://h:1/v1 answers 500: cannot read 'my name is Ann'; sorry")
        'the judge at http://h:1/v1 answers 500'
        >>> in_short("the judge at http://h:1/v1 gave no usable answer: ConnectionRefusedError: [Errno 111]")
        'the judge at http://h:1/v1 gave no usable answer (ConnectionRefusedError)'
        >>> in_short("the judge says the account has no quota left (402): pay for 'Ann'; check its billing")
        'the judge says the account has no quota left (402); check its billing'
    """
    found = _THEIR_WORDS.fullmatch(said)
    if found is None:
        return said
    kind = f" ({found['kind']})" if found["kind"] else ""
    return f"{found['ours']}{kind}{found['advice'] or ''}"


def _read(said: str | None) -> dict[str, Any]:
    found = json.loads(said) if said else {}
    return found if isinstance(found, dict) else {}


def _seconds(since: str | None, now: datetime) -> float | None:
    return None if since is None else (now - datetime.fromisoformat(since)).total_seconds()
