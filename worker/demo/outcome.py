"""What a demo came to: found beside planted, the mix, the counts, the judge's bill; as one answer for machines."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from worker.core.calendar import week_of
from worker.demo.findings import RUBRIC, Found, found_json, matched, planted_json
from worker.demo.history import MIX_SHIFT, History, Planted
from worker.project.project import Project
from worker.records import Drift
from worker.store.results import alerts, counts, report, trends

_TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")


def outcome(project: Project, history: History, found: Sequence[Drift]) -> dict[str, Any]:
    """Everything a demo says at its end.

    Args:
        project: Whose store holds the replayed history.
        history: What was planted.
        found: Every finding of the replay.
    """
    told = matched(found, history.planted)
    first, last = history.nights[0], history.nights[-1]
    with project.store.read() as connection:
        registered = [each for each, _ in project.scorers.register()]
        rows = counts.night_counts(connection, first, last, registered, project.nights.start())
        judged = report.judging_costs(connection, first, last)
        raised = alerts.list_alerts(connection, everything=True)
        points = trends.points(connection, dimension="task_type", scorer_name=RUBRIC, task_type=None, since_week=None)
    judging = [each._asdict() for each in judged]
    shift = next(one for one in history.planted if one.what == MIX_SHIFT)
    return {
        "planted": [planted_json(one, told) for one in history.planted],
        "found": [found_json(one) for one in told],
        "false_alarms": sum(1 for one in told if one.planted is None),
        "reconciles": all(row.reconciles for row in rows),
        "counts": {term: sum(getattr(row, term) for row in rows if row.scorer == RUBRIC) for term in _TERMS},
        "scorers": len({row.scorer for row in rows}),
        "mix": mix([dict(point) for point in points], shift, told),
        "alerts": [one.model_dump(mode="json", include=_OF_ALERT) for one in raised if one.finding_id is None],
        "judge": {
            "is_simulated": True,
            "calls": sum(each["verdicts"] for each in judging),
            "input_tokens": sum(each["input_tokens"] for each in judging),
            "output_tokens": sum(each["output_tokens"] for each in judging),
            "cost_usd": round(sum(each["cost_usd"] for each in judging), 4),
        },
        "weeks": {"since": first, "until": last},
    }


_OF_ALERT = {"kind", "urgency", "task_type", "subject", "text", "night"}


def mix(points: Sequence[Mapping[str, Any]], shift: Planted, told: Sequence[Found]) -> dict[str, Any]:
    """How far the overall line moved by itself and at the same mix, around a traffic shift.

    Returns:
        Means 0..1 as they came (`raw_…`) and at the reference mix (`same_mix_…`), over the whole weeks before the shift
        and those after it; None where there are no scores. `alarms` are quality alarms after the shift that no planted
        change explains.
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
    answer["alarms"] = sum(1 for one in told if _is_alarm_on(one, shift.night))
    return answer


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _is_alarm_on(one: Found, since: date) -> bool:
    return one.planted is None and one.drift.kind in ("agent", "mix") and one.drift.found_night >= since
