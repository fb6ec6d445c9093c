"""The result of a demo as plain values: planted and found changes, the mix, the counts, the cost of judging."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from worker.core.calendar import week_of
from worker.demo.findings import RUBRIC, Found, found_json, match_findings, planted_json
from worker.demo.history import MIX_SHIFT, History, Planted
from worker.project.project import Project
from worker.records import Drift
from worker.store.results import alerts, counts, report, trends

_TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")


def outcome(project: Project, history: History, found: Sequence[Drift]) -> dict[str, Any]:
    """The answer of `spotcheck demo --json`.

    Args:
        project: The project of the replayed history.
        history: The history with its planted changes.
        found: All findings of the replay.
    """
    matches = match_findings(found, history.planted)
    first, last = history.nights[0], history.nights[-1]
    with project.store.read() as connection:
        registered = project.scorers.active()
        rows = counts.night_counts(connection, first, last, registered, project.nights.start())
        judged = report.judging_costs(connection, first, last)
        raised = alerts.list_alerts(connection, everything=True)
        points = trends.points(connection, dimension="task_type", scorer_name=RUBRIC, task_type=None, since_week=None)
    series = {one.key.series for one in registered if one.key.name == RUBRIC}  # the one in force, and no other
    judging = [usage._asdict() for usage in judged]
    shift = next(entry for entry in history.planted if entry.what == MIX_SHIFT)
    return {
        "planted": [planted_json(entry, matches) for entry in history.planted],
        "found": [found_json(entry) for entry in matches],
        "false_alarms": sum(1 for entry in matches if entry.planted is None),
        "reconciles": all(row.reconciles for row in rows),
        "counts": {term: sum(getattr(row, term) for row in rows if row.scorer == RUBRIC) for term in _TERMS},
        "scorers": len({row.scorer for row in rows}),
        "mix": mix_effect([dict(point) for point in points if point["scorer_version"] in series], shift, matches),
        "alerts": [entry.model_dump(mode="json", include=_OF_ALERT) for entry in raised if entry.finding_id is None],
        "judge": {
            "is_simulated": True,
            "calls": sum(usage["verdicts"] for usage in judging),
            "input_tokens": sum(usage["input_tokens"] for usage in judging),
            "output_tokens": sum(usage["output_tokens"] for usage in judging),
            "cost_usd": round(sum(usage["cost_usd"] for usage in judging), 4),
        },
        "weeks": {"since": first, "until": last},
    }


_OF_ALERT = {"kind", "urgency", "task_type", "subject", "text", "night"}


def mix_effect(points: Sequence[Mapping[str, Any]], shift: Planted, matches: Sequence[Found]) -> dict[str, Any]:
    """How far the overall line moved around the mix shift, at its own mix and at the reference mix.

    Returns:
        Means 0..1 at each week's own mix (`raw_…`) and at the reference mix (`same_mix_…`), over the whole weeks before
        and after the shift; None without scores. `alarms` counts quality alarms after the shift that no planted change
        explains.
    """
    overall = [point for point in points if point["task_type"] is None and point["criterion"] is None]
    week = week_of(shift.night)
    answer: dict[str, Any] = {"task_type": shift.task_type, "night": shift.night}
    for column, name in (("raw_mean", "raw"), ("mean", "same_mix")):
        answer[f"{name}_before"] = _mean(point[column] for point in overall if point["week"] < week)
        answer[f"{name}_after"] = _mean(point[column] for point in overall if point["week"] > week)
    answer["moved"] = answer["explained"] = None
    if answer["raw_before"] is not None and answer["raw_after"] is not None:
        answer["moved"] = answer["raw_after"] - answer["raw_before"]
        answer["explained"] = answer["moved"] - (answer["same_mix_after"] - answer["same_mix_before"])
    answer["alarms"] = sum(1 for match in matches if _is_alarm_on(match, shift.night))
    return answer


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _is_alarm_on(match: Found, since: date) -> bool:
    return match.planted is None and match.drift.kind in ("agent", "mix") and match.drift.found_night >= since
