"""`spotcheck health`: whether due jobs are worked on and the scheduler ticks.

Container engines call it every half minute, so it imports very little. It checks the work, not the process: a worker
that runs but takes no jobs is unhealthy; one whose judge is down is not.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from worker.clock import VARIABLE, Clock, read_clock
from worker.core.judging.unread import unread
from worker.errors import SettingsError, SpotcheckError, StoreError
from worker.store import health
from worker.store.health import StoreHealth

LANES = {"judge": "judge", "heuristics": "heuristic", "control": "control", "beat": None}
"""What may be asked about, and the name that workers serve it under."""
NAMES = {lane: name for name, lane in LANES.items() if lane is not None} | {"batch": "batches"}
"""Names of the lanes in commands and messages, by lane."""
MINUTES = 5.0
TICK_S = 60.0
_TICKS, _TICKS_LEAST_S = 3, 15.0
"""Beats that may be missing, and the seconds that a rehearsal, which beats every second, is given at least."""
_BAD, _FAIR, _GOOD = "unhealthy", "degraded", "healthy"


class LaneVerdict(NamedTuple):
    """How one lane is."""

    lane: str
    state: str
    """healthy · degraded (something outside is wrong; a restart would not help) · unhealthy."""
    why: str


def check(environ: Mapping[str, str], lanes: Sequence[str], minutes: float = MINUTES) -> list[LaneVerdict]:
    """Check the lanes against the database.

    Args:
        environ: Has the database's address and a rehearsal's clock.
        lanes: Of `LANES`.
        minutes: A lane is unhealthy when its due jobs were not touched for so long.

    Returns:
        One verdict for each lane; all unhealthy when the database does not answer.

    Raises:
        SettingsError: A variable is wrong.
    """
    url = environ.get("SPOTCHECK_DATABASE_URL", "").strip() or "sqlite:///spotcheck.db"
    try:
        clock = read_clock(environ.get(VARIABLE, ""))
    except ValueError as error:
        raise SettingsError(f"env {VARIABLE}: {error}") from None
    asked = [name for name in (LANES[lane] for lane in lanes) if name in ("judge", "heuristic")]
    try:
        found = health.read(url, [name for name in asked if name is not None])
    except StoreError as error:
        return [LaneVerdict(lane, _BAD, str(error)) for lane in lanes]
    return [_whole(found, clock) if lane == "beat" else _worker(found, lane, clock, minutes) for lane in lanes]


def _whole(found: StoreHealth, clock: Clock) -> LaneVerdict:
    """Beat's verdict, and what it has found to be wrong with the pipeline: no restart would help there."""
    beat = _beat(found, clock)
    if beat.state != _GOOD or not found.troubles:
        return beat
    return LaneVerdict("beat", _FAIR, f"{beat.why}; open in `spotcheck alerts`: {'; '.join(found.troubles)}")


def _beat(found: StoreHealth, clock: Clock) -> LaneVerdict:
    late_s = max(_TICKS * clock.beat_s(TICK_S), _TICKS_LEAST_S)
    is_heard = any("control" in worker.lanes for worker in found.workers)
    hint = "look at beat, and at the broker" if is_heard else "no worker of the control lane is alive to hear it"
    if found.last_tick is None:
        return LaneVerdict("beat", _BAD, f"no tick was ever handled; {hint}")
    age = _ago(found.now, found.last_tick)
    if found.now - found.last_tick > timedelta(seconds=late_s):
        return LaneVerdict("beat", _BAD, f"the last tick was handled {age}; {hint}")
    return LaneVerdict("beat", _GOOD, f"last tick {age}")


def _worker(found: StoreHealth, lane: str, clock: Clock, minutes: float) -> LaneVerdict:
    serving = [worker for worker in found.workers if LANES[lane] in worker.lanes]
    lines = [told.line for ended in found.ended if lane == "judge" and (told := unread(*ended)) is not None]
    if not serving:
        return LaneVerdict(lane, _BAD, "; ".join([f"no live worker was seen for {health.ALIVE_S:.0f} s", *lines]))
    workers = f"{len(serving)} worker{'' if len(serving) == 1 else 's'}"
    for one in serving:
        if text := _trouble_of(one.trouble, lane):
            return LaneVerdict(lane, _BAD, f"worker {one.name}: {text}")
    if lane == "control":
        beat = _beat(found, clock)
        return LaneVerdict(lane, _GOOD if beat.state == _GOOD else _FAIR, f"{workers}, {beat.why}")
    work = found.lanes[str(LANES[lane])]
    is_held = work.held_until is not None and work.held_until >= found.now
    due = f"{work.due:,} due" if work.due <= health.COUNTED else f"over {health.COUNTED:,} due"
    turn = "no turn yet" if work.turn_at is None else f"last turn {_ago(found.now, work.turn_at)}"
    if work.due and not is_held:
        # whatever came last: a touch, the work itself, or the oldest worker's start
        touched = [work.held_until, work.turn_at, min(worker.started_at for worker in serving)]
        due_since = [at for at in (work.made_at and clock.real(work.made_at), work.free_since) if at is not None]
        quiet_since = max([at for at in touched if at is not None] + [min(due_since)])
        if found.now - quiet_since > timedelta(minutes=minutes):
            said = f"{due}, and nothing was leased, renewed or resolved since {_ago(found.now, quiet_since)}"
            return LaneVerdict(lane, _BAD, f"{said} ({workers} alive): it hears no wake-up, or hangs")
    if work.trouble:
        return LaneVerdict(lane, _FAIR, f"the judge's trouble, not ours: {work.trouble} ({workers}, {turn})")
    if lines:
        return LaneVerdict(lane, _FAIR, f"{'; '.join(lines)} ({workers}, {due}, {turn})")
    return LaneVerdict(lane, _GOOD, f"{workers}, {due}, {turn}")


def _trouble_of(trouble: str | None, lane: str) -> str | None:
    """The part of a worker's trouble that is of a lane; as `ConfigurationNotice` writes it."""
    kinds = {"judge": ("judge", "batch"), "heuristics": ("heuristic",), "control": ("control",)}[lane]
    parts = (part.partition(": ") for part in (trouble or "").split(health.SEPARATOR))
    return next((text for kind, _, text in parts if kind in kinds), None)


def _ago(now: datetime, at: datetime) -> str:
    seconds = max(0.0, (now - at).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def wanted(lanes: Sequence[str]) -> list[str]:
    """The lanes that are asked for; all when none is named.

    Raises:
        SettingsError: One is none.
    """
    for lane in lanes:
        if lane not in LANES:
            raise SettingsError(f"--lane {lane!r} is not known; use {', '.join(LANES)}")
    return list(dict.fromkeys(lanes)) or list(LANES)


def tell(told: Sequence[LaneVerdict], *, as_json: bool) -> int:
    """One line, or one JSON document, on stdout.

    Returns:
        The exit code: 1 when a lane is unhealthy.
    """
    worst = next(state for state in (_BAD, _FAIR, _GOOD) if state in {verdict.state for verdict in told})
    if as_json:
        line = json.dumps({"state": worst, "lanes": [verdict._asdict() for verdict in told]}, ensure_ascii=False)
    else:
        shown = [verdict for verdict in told if verdict.state == worst]
        line = f"{worst}: " + "; ".join(f"{verdict.lane}: {verdict.why}" for verdict in shown)
    sys.stdout.write("".join(char if char.isprintable() else " " for char in line) + "\n")
    sys.stdout.flush()
    return 1 if worst == _BAD else 0


def quickly(arguments: Sequence[str]) -> int | None:
    """The exit code of `spotcheck health`, without the rest of the command line being loaded.

    Returns:
        None where it is not `health`, or not plain: help, a mistake; the whole command line knows more.
    """
    asked = _plain(arguments)
    if asked is None:
        return None
    try:
        clock = read_clock(os.environ.get(VARIABLE, ""))
        if warning := clock.warning():
            sys.stderr.write(f"{warning}\n")
        told = check(os.environ, wanted(asked["lane"]), asked["minutes"])
    except (SpotcheckError, ValueError):
        return None
    return tell(told, as_json=asked["json"])


def _plain(arguments: Sequence[str]) -> dict[str, Any] | None:
    asked: dict[str, Any] = {"lane": [], "json": False}
    if list(arguments[:1]) != ["health"]:
        return None
    rest = [part for argument in arguments[1:] for part in argument.split("=", 1)]
    while rest:
        option = rest.pop(0)
        if option == "--json":
            asked["json"] = True
        elif option == "--lane" and rest:
            asked["lane"].append(rest.pop(0))
        elif option == "--minutes" and "minutes" not in asked and rest and rest[0].isdecimal() and int(rest[0]):
            asked["minutes"] = float(rest.pop(0))
        else:
            return None
    return {"minutes": MINUTES, **asked}
