"""How the turns at each lane ended: kept in the store, and logged once when trouble begins and when it ends."""

import json
import re
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from worker.jobs.drain_result import LEFT_ALONE, DrainResult
from worker.judge.failures import ANOTHER_MODEL, NO_MODEL
from worker.project.project import Project
from worker.store import meta
from worker.store.health import TURN
from worker.store.queue import backlog, enrol, workers

_WRITE_S = 5.0
_ADVICE = (
    r"; (?:check (?:OPENAI_API_KEY|OPENAI_BASE_URL|its billing|SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL)"
    rf"|{ANOTHER_MODEL})"
)
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


def workers_without(project: Project, models: Collection[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The live workers of the judge lane, and those of them that say that their server lacks one of these models.

    What a worker alone was refused stands with the turns of the lane, not beside its heartbeat.
    """
    with project.store.read() as connection:
        live = workers.live_workers(connection, project.store.now(connection))
        turn = _read(meta.get_meta(connection, f"{TURN}judge")).get("trouble") or ""
    serving = [row for row in live if "judge" in row["lanes"].split(",")]
    told = {row["name"]: row["trouble"] or (turn if len(serving) == 1 else "") for row in serving}
    return list(told), [name for name, text in told.items() if _lacks(text, models)]


def end_missing_models(project: Project) -> None:
    """End what was said of a missing model once no open job asks for it: who said so may take no turn for long."""
    with project.store.read() as connection:
        now = project.store.now(connection)
        said = [row["name"] for row in workers.live_workers(connection, now) if NO_MODEL in (row["trouble"] or "")]
        turns = [lane for lane in _ASKING if NO_MODEL in (_turn_trouble(connection, lane) or "")]
        if not said and not turns:
            return
        models = _wanted_models(connection)
    with project.store.write() as connection:
        for name in said:
            for kind, text in (workers.noted(connection, name) or (None, {}))[1].items():
                if NO_MODEL in text and not _lacks(text, models):
                    workers.note_configuration(connection, name, kind, None)
        for lane in turns:
            if not _lacks(_turn_trouble(connection, lane) or "", models):
                row = _read(meta.get_meta(connection, f"{TURN}{lane}"))
                meta.set_meta(connection, f"{TURN}{lane}", json.dumps({"at": row.get("at"), "trouble": None}))


_ASKING = ("judge", "batch")


def _turn_trouble(connection: Connection, lane: str) -> str | None:
    text = _read(meta.get_meta(connection, f"{TURN}{lane}")).get("trouble")
    return None if text is None else str(text)


def _wanted_models(connection: Connection) -> set[str]:
    """Every model that an open job asks for, second judges included."""
    specs = [row.key.spec for row in enrol.scorers_with_open_jobs(connection, "judge")]
    seconds = [spec["escalate"].get("to") for spec in specs if isinstance(spec.get("escalate"), dict)]
    return {str(model) for model in (*(spec.get("model") for spec in specs), *seconds) if model}


def _lacks(trouble: str, models: Collection[str]) -> bool:
    """Whether a line of trouble says that a server lacks one of these models."""
    return any(f"{NO_MODEL} {model!r}" in trouble for model in models)


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
