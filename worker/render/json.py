"""The report as JSON. The schema is stable: fields are added, never renamed or removed.

    {"window": null | {"since", "until", "label", "weeks": [...], "nights", "runs",
                       "nights_over": null | NUMBER},
     "task_type": null | "refund",
     "sentences": ["..."],
     "series_changes": [{"scorer", "since", "before", "after", "last", "changed": [{"part", "before", "after"}],
                         "is_scored", "is_back", "tested_from", "text"}],
     "primary": null | "task_completion", "primary_series": null | "1.1.0+9be1aa02",
     "streams": [{"task_type", "scorer", "rubric", "state": "tested|young|unscored|elsewhere", "nights",
                  "scorer_version",
                  "points": [{"week", "scorer_version", "population", "sampled", "scored", "unscored", "coverage",
                              "mean", "low", "high", "raw_mean"}],
                  "marks": [{"night", "kind": "version|series|finding", "text", "why"}]}],
     "findings": [{"finding_id", "stream": {"task_type", "scorer", "scorer_version", "criterion"}, "kind", "direction",
                   "before", "after", "window_nights", "window_hours", "scored", "z", "chance_per_year", "since",
                   "found_night", "state", "is_new", "text", "level": LEVEL, "level_later": LEVEL, "nights_later",
                   "has_stayed": null | true | false, "part_of": null | NUMBER,
                   "series_ended": null | "2026-11-23", "bad_means", "compared_runs",
                   "compared_facts", "differs": [CONTRAST], "worst": [{"run_id", "source", "figure"}]}],
     "alerts": [{"alert_id", "kind", "urgency", "task_type", "text", "night", "state", "run_id"}],
     "cost": [{"task_type", "weeks": [{"week", "cost_usd": FIGURE, "errors": FIGURE, "aborts": FIGURE,
                                        "steps": FIGURE}],
               "tools": [{"tool", "weeks": [FIGURE with "week"]}]}],
     "outcomes": [{"task_type", "runs", "completed", "aborted", "errored", "incomplete", "judged",
                   "good", "good_low", "good_high", "poor"}],
     "common": {"runs", "bad", "compared_facts", "found": [CONTRAST], "nearest": null | CONTRAST},
     "reading": {"worst_by", "random": [RUN], "worst": [RUN]},
     "sampled": {"reconciles", "scorers": [{"scorer", "scorer_version", "ended", "filtered", "before_start",
                 "sampled_out", "scored", "unscored", "failed", "shed", "pending", "coverage",
                 "reasons": [{"state", "reason", "count"}]}],
                 "judges": [{"model", "verdicts", "priced", "cost_usd", "input_tokens", "output_tokens"}],
                 "smallest_drop": [{"task_type", "drop", "nights"}],
                 "no_smallest_drop": [{"task_type", "reason"}], "false_alarms_per_year"},
     "made_at", "store", "time_zone", "version"}

A task type of null is the overall line. `good` and `poor` are shares of all ended runs; null means not judged, which
is not 0. `nights_over` is set while the window is not over. `before` and `after` of a finding are those of its own
window; `level` is the mean of all nights since, and `level_later` of the `nights_later` after it was found, all null
where it has recovered. One with `part_of` is grouped under that finding, as both may have one cause. LEVEL is
{"n", "mean", "low", "high"}; FIGURE is {"n", "value", "low", "high", "total"}; CONTRAST is {"kind", "name",
"task_type", "bad_with", "n_with", "bad_without", "n_without", "p_corrected"}; RUN is {"run_id", "source", "task_type",
"status", "agent_version", "score", "unscored", "scores": [{"scorer", "scorer_version", "criterion",
"value", "reason", "rationale"}]}: the texts are in `show RUN_ID --json`.
Shares and scores are 0..1, money is US dollars.
"""

from typing import Any

from worker.core.report import story
from worker.core.report.model import Change, Report, ScorerCounts, StreamChart, TaskTypeOutcome
from worker.core.report.operational import OperationalWeeks, WeekFigure
from worker.core.report.reading import RunToRead
from worker.core.report.series import change_json
from worker.core.stats.contrast import Contrast
from worker.records import Alert, Estimate
from worker.render.charts import shares_of


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values; dates and times are ISO text."""
    window = report.window
    return {
        "window": None
        if window is None
        else window._asdict() | {"since": str(window.since), "until": str(window.until), "weeks": list(window.weeks)},
        "task_type": report.task_type,
        "sentences": ["".join(sentence) for sentence in report.sentences],
        "series_changes": [
            change_json(change, report.window.until if report.window else None) for change in report.series_changes
        ],
        "primary_series": report.primary_series,
        "primary": report.primary,
        "streams": [_stream(stream) for stream in report.streams],
        "findings": [_finding(change, report.primary) for change in report.changes],
        "alerts": [_alert(alert) for alert in report.alerts],
        "cost": [_operations(weeks) for weeks in report.operations],
        "outcomes": [_group(group) for group in report.groups],
        "common": {
            "runs": report.common.runs,
            "bad": report.common.bad,
            "compared_facts": report.common.looked_at,
            "found": [_contrast(contrast) for contrast in report.common.found],
            "nearest": None if report.common.nearest is None else _contrast(report.common.nearest),
        },
        "reading": {
            "worst_by": report.reading.worst_by,
            "random": [_run(run) for run in report.reading.random],
            "worst": [_run(run) for run in report.reading.worst],
        },
        "sampled": {
            "reconciles": report.sampled.reconciles,
            "scorers": [_scorer_counts(counts) for counts in report.sampled.tallies],
            "judges": [usage._asdict() for usage in report.sampled.judged],
            "smallest_drop": [
                {"task_type": entry.task_type, "drop": entry.drop, "nights": report.sampled.sensitivity_nights}
                for entry in report.sampled.sensitivity
            ],
            "no_smallest_drop": [stream._asdict() for stream in report.sampled.untold],
            "false_alarms_per_year": report.sampled.false_alarms_per_year,
        },
        "made_at": report.made_at.isoformat(),
        "store": report.store,
        "time_zone": report.time_zone,
        "version": report.version,
    }


def _stream(stream: StreamChart) -> dict[str, Any]:
    points = []
    for point in stream.points:
        fields = point._asdict() | {"coverage": point.coverage}
        points.append({"week": fields.pop("week"), "scorer_version": fields.pop("series")} | fields)
    return {
        "task_type": stream.task_type,
        "scorer": stream.scorer,
        "rubric": stream.is_rubric,
        "state": stream.state,
        "nights": stream.nights,
        "scorer_version": stream.of,
        "points": points,
        "marks": [mark._asdict() | {"night": str(mark.night)} for mark in stream.marks],
    }


def _finding(change: Change, primary: str | None) -> dict[str, Any]:
    fields = change.drift.model_dump(mode="json", exclude={"stream"})
    return {
        "finding_id": fields.pop("finding_id"),
        "stream": change.drift.stream._asdict(),
        **fields,
        "is_new": change.is_new,
        "text": "".join(story.headline(change, primary)),
        "level": None if change.since is None else _level(change.since.whole),
        "level_later": None if change.since is None else _level(change.since.later),
        "nights_later": None if change.since is None else change.since.nights,
        "has_stayed": change.has_stayed,
        "part_of": change.part_of,
        "series_ended": None if change.ended is None else str(change.ended),
        "bad_means": change.bad_means,
        "compared_runs": change.differs.runs,
        "compared_facts": change.differs.looked_at,
        "differs": [_contrast(contrast) for contrast in change.differs.found],
        "worst": [ref._asdict() for ref in change.worst],
    }


def _level(estimate: Estimate) -> dict[str, Any]:
    return {"n": estimate.n, "mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def _alert(alert: Alert) -> dict[str, Any]:
    fields = ("alert_id", "kind", "urgency", "task_type", "text", "night", "state", "run_id")
    return alert.model_dump(mode="json", include=set(fields))


def _contrast(contrast: Contrast) -> dict[str, Any]:
    fields = contrast._asdict()
    fields["p_corrected"] = fields.pop("p")
    return fields


def _figure(figure: WeekFigure) -> dict[str, Any]:
    return {"n": figure.n, "value": figure.value, "low": figure.low, "high": figure.high, "total": figure.total}


def _operations(operations: OperationalWeeks) -> dict[str, Any]:
    weeks = [
        {
            "week": cost.week,
            "cost_usd": _figure(cost),
            "errors": _figure(errors),
            "aborts": _figure(aborts),
            "steps": _figure(steps),
        }
        for cost, errors, aborts, steps in zip(
            operations.cost, operations.errors, operations.aborts, operations.steps, strict=True
        )
    ]
    tools = [
        {"tool": tool, "weeks": [{"week": figure.week} | _figure(figure) for figure in figures]}
        for tool, figures in operations.tools
    ]
    within = operations.within
    window = {
        "runs": within.runs,
        "cost_usd": _figure(within.cost),
        "errors": _figure(within.errors),
        "aborts": _figure(within.aborts),
        "steps": _figure(within.steps),
    }
    return {"task_type": operations.task_type, "window": window, "weeks": weeks, "tools": tools}


def _group(group: TaskTypeOutcome) -> dict[str, Any]:
    shares = shares_of(group)
    completed = group.completed / group.runs if group.runs else 0.0
    low, high = ((None if limit is None else completed * limit) for limit in (group.good.low, group.good.high))
    is_judged = group.good.mean is not None
    return {
        "task_type": group.task_type,
        "runs": group.runs,
        "completed": group.completed,
        "aborted": group.aborted,
        "errored": group.errored,
        "incomplete": group.incomplete,
        "judged": group.good.n,
        "good": shares["good"] if is_judged else None,
        "good_low": low,
        "good_high": high,
        "poor": shares["poor"] if is_judged else None,
    }


def _run(run: RunToRead) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "source": run.source,
        "task_type": run.task_type,
        "status": run.status,
        "agent_version": run.agent_version,
        "score": run.value,
        "unscored": run.unscored or None,
        "scores": [
            {
                "scorer": line.scorer,
                "scorer_version": line.series,
                "criterion": line.criterion,
                "value": line.value,
                "reason": line.reason,
                "rationale": None if line.rationale is None else line.rationale.text,
            }
            for line in run.scores
        ],
    }


def _scorer_counts(scorer_counts: ScorerCounts) -> dict[str, Any]:
    fields = scorer_counts._asdict()
    reasons = [{"state": state, "reason": reason, "count": count} for state, reason, count in fields.pop("reasons")]
    fields.pop("is_rubric")
    return (
        {"scorer": fields.pop("scorer"), "scorer_version": fields.pop("series")}
        | fields
        | {
            "coverage": scorer_counts.coverage,
            "reasons": reasons,
        }
    )
