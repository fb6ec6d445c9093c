"""What was found beside what was planted: which finding answers to which change, and which to none."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from worker.demo.history import COST_RISE, QUALITY_DROP, TOOL_FAILURE, Planted
from worker.records import Drift

RUBRIC = "task_completion"


class Found(NamedTuple):
    """A finding, and the planted change that it shows."""

    drift: Drift
    planted: Planted | None
    """None for a false alarm."""


def matched(findings: Sequence[Drift], planted: Sequence[Planted]) -> list[Found]:
    """Each finding with the change that it shows: of the right kind, direction, place, and not before its night."""
    return [Found(one, next((each for each in planted if _shows(one, each)), None)) for one in findings]


def _shows(one: Drift, planted: Planted) -> bool:
    """Whether a finding shows a planted change.

    A quality drop shows in the judge's scores of its task type, and in the overall line, of which the task type is a
    part. A tool failure and a cost rise are counted by task type only. A mix shift is no change of any agent: it has no
    finding, and one that it caused would be a false alarm.
    """
    scorer, where = one.stream.scorer, one.stream.task_type
    if one.found_night < planted.night:
        return False
    match planted.what:
        case "quality drop":
            is_there = where in (planted.task_type, None)
            return is_there and one.kind == "agent" and scorer == RUBRIC and one.direction == "down"
        case "tool failure":
            is_it = scorer == f"tool_failure:{planted.tool}"
            return where == planted.task_type and is_it and one.kind == "tool" and one.direction == "up"
        case "cost rise":
            is_it = scorer == "cost_per_run"
            return where == planted.task_type and is_it and one.kind == "cost" and one.direction == "up"
    return False


def first(found: Sequence[Found], planted: Planted) -> Drift | None:
    """The finding that showed a change first, its own task type before the overall line; None when none did."""
    own = [one.drift for one in found if one.planted == planted]
    return min(own, key=lambda one: (one.found_night, one.stream.task_type is None), default=None)


def nights_until(planted: Planted, found_night: date) -> int:
    """Nights of changed runs that had been looked at when it was found, 1 or more."""
    return (found_night - planted.night).days + 1


def planted_json(one: Planted, found: Sequence[Found]) -> dict[str, Any]:
    """A planted change for machines, with when it was found."""
    seen = first(found, one)
    return {
        "what": one.what,
        "task_type": one.task_type,
        "night": one.night,
        "size": one.size,
        "raises_alarm": one.what in (QUALITY_DROP, TOOL_FAILURE, COST_RISE),
        "found": seen is not None,
        "found_night": None if seen is None else seen.found_night,
        "nights": None if seen is None else nights_until(one, seen.found_night),
    }


def found_json(one: Found) -> dict[str, Any]:
    """A finding for machines; `what` is the planted change's, or `false alarm`."""
    drift = one.drift
    return {
        "what": "false alarm" if one.planted is None else one.planted.what,
        "task_type": drift.stream.task_type,
        "night": drift.found_night,
        "kind": drift.kind,
        "scorer": drift.stream.scorer,
        "direction": drift.direction,
        "before": round(drift.before, 4),
        "after": round(drift.after, 4),
        "window_nights": drift.window_nights,
        "chance_per_year": drift.chance_per_year,
    }
