"""Matching findings with planted changes: which finding shows which change, and which is a false alarm."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from worker.demo.history import COST_RISE, QUALITY_DROP, TOOL_FAILURE, Planted
from worker.records import Drift

RUBRIC = "task_completion"


class Found(NamedTuple):
    """A finding with the planted change that it shows."""

    drift: Drift
    planted: Planted | None
    """None for a false alarm."""


def match_findings(findings: Sequence[Drift], planted: Sequence[Planted]) -> list[Found]:
    """Each finding with the first planted change of its kind, direction and task type that is not later than it."""
    return [Found(drift, next((change for change in planted if _shows(drift, change)), None)) for drift in findings]


def _shows(drift: Drift, planted: Planted) -> bool:
    """Whether a finding shows a planted change.

    A quality drop shows in the judge's scores of its task type and in the overall line, which includes it. A tool
    failure and a cost rise are counted by task type only. A mix shift is no change of an agent: a finding that it
    caused would be a false alarm.
    """
    scorer, where = drift.stream.scorer, drift.stream.task_type
    if drift.found_night < planted.night:
        return False
    match planted.what:
        case "quality drop":
            is_there = where in (planted.task_type, None)
            return is_there and drift.kind == "agent" and scorer == RUBRIC and drift.direction == "down"
        case "tool failure":
            is_it = scorer == f"tool_failure:{planted.tool}"
            return where == planted.task_type and is_it and drift.kind == "tool" and drift.direction == "up"
        case "cost rise":
            is_it = scorer == "cost_per_run"
            return where == planted.task_type and is_it and drift.kind == "cost" and drift.direction == "up"
    return False


def first_finding(found: Sequence[Found], planted: Planted) -> Drift | None:
    """The earliest finding of a change, its own task type before the overall line; None without any."""
    drifts = [finding.drift for finding in found if finding.planted == planted]
    return min(drifts, key=lambda drift: (drift.found_night, drift.stream.task_type is None), default=None)


def nights_needed(planted: Planted, found_night: date) -> int:
    """How many changed nights had been tested when the change was found; 1 for its first night."""
    return (found_night - planted.night).days + 1


def planted_json(planted: Planted, found: Sequence[Found]) -> dict[str, Any]:
    """A planted change for `--json`, with when it was found."""
    finding = first_finding(found, planted)
    return {
        "what": planted.what,
        "task_type": planted.task_type,
        "night": planted.night,
        "size": planted.size,
        "raises_alarm": planted.what in (QUALITY_DROP, TOOL_FAILURE, COST_RISE),
        "found": finding is not None,
        "found_night": None if finding is None else finding.found_night,
        "nights": None if finding is None else nights_needed(planted, finding.found_night),
    }


def found_json(finding: Found) -> dict[str, Any]:
    """A finding for `--json`; `what` is that of the planted change, or `false alarm`."""
    drift = finding.drift
    return {
        "what": "false alarm" if finding.planted is None else finding.planted.what,
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
