"""The story of one run: every decision about it, in the order they were made."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from worker.core.judging.escalation import DOUBT_TEXTS, doubts
from worker.core.rubric.schema import Escalate
from worker.project.project import Project
from worker.records import CACHED, Outcome, Run
from worker.records.job import ASKED
from worker.store.queue import enrol
from worker.store.results import scores
from worker.store.runs import draws


class Decision(NamedTuple):
    """One decision about a run."""

    scorer: str | None
    """None for decisions about the run itself."""
    state: str
    """taken · drawn · sampled_out · pending · before_start · filtered, or a job's state."""
    reason: str
    at: datetime | None
    value: float | None = None
    rationale: str | None = None
    details: dict[str, Any] | None = None


class Story(NamedTuple):
    """A run with its decisions."""

    run: Run
    night: str
    flags: str
    decisions: list[Decision]


def explain(project: Project, run_pk: int, run: Run) -> Story:
    """Why a run was scored or not, and by whom, with what result."""
    with project.store.read() as connection:
        facts = scores.run_row(connection, run_pk)
        current, drawn = scores.draw_of(connection, run_pk)
        jobs = scores.jobs_of(connection, run_pk)
        found = scores.scores_of(connection, run_pk)
        night = facts["night"]
        is_drawn = bool(draws.drawn_subset(connection, [night]))
        looking = enrol.registered(connection, enrol.enrolled(connection, [night])[night])
    taken = Decision(None, "taken", f"from {run.source}, content {run.content}", facts["received_at"])
    decisions = [taken, _drawing(project, facts, current, drawn, is_drawn=is_drawn)]
    seen = set()
    for job in jobs:
        seen.add(job["scorer_pk"])
        own = [row for row in found if row["scorer_pk"] == job["scorer_pk"]]
        beside = [row for row in own if row["purpose"] == "escalation"]
        decisions.append(_scoring(job, [row for row in own if row["purpose"] == job["purpose"]], beside))
    for scorer in looking:
        if scorer.pk not in seen and not scorer.applies_to.admits(run.task_type, run.status, run.agent):
            decisions.append(Decision(scorer.key.name, "filtered", "the scorer does not apply to such runs", None))
    return Story(run, str(night), facts["flags"], decisions)


def _drawing(project: Project, facts: Any, current: Any, drawn: Any, *, is_drawn: bool) -> Decision:  # noqa: ANN401 rows
    stratum = f"{facts['task_type']}/{'flagged' if facts['flagged'] else 'unflagged'}"
    if facts["flags"]:
        stratum += f" ({facts['flags']})"
    key = facts["sample_key"]
    if drawn is not None and current is not None:
        how = (
            f"{stratum}, key {key:.4f} < {current['threshold']:.4f} ({current['why']}; {current['population']:,} runs "
        )
        return Decision(None, "drawn", how + f"that night, {current['drawn']:,} drawn)", drawn["drawn_at"])
    if current is not None and key >= current["threshold"]:
        how = f"{stratum}, key {key:.4f} is not below {current['threshold']:.4f}"
        return Decision(None, "sampled_out", how, current["drawn_at"])
    if is_drawn:
        return Decision(None, "pending", f"{stratum}: came late; the next reconcile decides", None)
    start = project.nights.start()
    if start is None or facts["night"] < start:
        how = f"night {facts['night']} is before the project's first night ({start})"
        if start is None:
            how = f"night {facts['night']} is not drawn, and the project has drawn none so far"
        return Decision(None, "before_start", f"{how}; spotcheck nightly --date {facts['night']}", None)
    return Decision(None, "pending", f"night {facts['night']} is not drawn yet", None)


def _scoring(job: Any, rows: Sequence[Any], beside: Sequence[Any]) -> Decision:  # noqa: ANN401 rows
    said = []
    score = _aggregate(rows)
    details: dict[str, Any] = {"scorer_version": job["series"], "attempts": job["attempt"], "account": job["account"]}
    if job["purpose"] == ASKED:
        said.append("by score --run")
    elif job["account"] == "backfill":
        said.append("by backfill")
    if score is not None and score["model_requested"]:
        said.append(f"judge {score['model_served'] or score['model_requested']}")
        tokens = (score["input_tokens"] or 0) + (score["output_tokens"] or 0)
        said.append(f"{tokens:,} tokens")
        said.append(_paid(score))
        details |= {name: score[name] for name in ("model_requested", "model_served", "prompt_hash", "cost_usd")}
        details["criteria"] = {row["criterion"]: row["value"] for row in rows if row["criterion"]}
        if beside:
            told, details["escalation"] = _escalation(job["spec"], rows, beside)
            said.insert(0, told)
    if job["attempt"] > 1:
        said.append(f"attempt {job['attempt']}")
    reason = job["reason"] or (score["reason"] if score is not None else None)
    if reason:
        said.insert(0, reason)
    state = "pending" if job["state"] in ("queued", "leased") else job["state"]
    if job["state"] == "leased":
        said.append(f"being scored by {job['lease_owner']}")
    return Decision(
        job["name"],
        state,
        "; ".join(said),
        job["resolved_at"],
        None if score is None else score["value"],
        None if score is None else score["rationale"],
        details,
    )


def _aggregate(rows: Sequence[Any]) -> Any:  # noqa: ANN401 a row
    return next((row for row in rows if row["criterion"] is None), None)


def _paid(row: Any) -> str:  # noqa: ANN401 a row
    if row["service_tier"] == CACHED:
        return "answered before, not paid again"
    return "cost unknown" if row["cost_usd"] is None else f"${row['cost_usd']:.4f}"


# rows
def _escalation(spec: Any, rows: Sequence[Any], beside: Sequence[Any]) -> tuple[str, dict[str, Any]]:  # noqa: ANN401
    """What two judges said, and why the second was asked; in words and for machines."""
    is_first_beside = _aggregate(beside)["model_requested"] == spec["model"]
    first, second = (beside, rows) if is_first_beside else (rows, beside)
    policy = Escalate(**{name: spec["escalate"][name] for name in Escalate.model_fields})
    outcomes = [Outcome(**{name: row[name] for name in _OF_OUTCOME}) for row in first]
    why = doubts(policy, outcomes, spec["escalate"]["required"])
    one, other = _aggregate(first), _aggregate(second)
    told = (
        f"first judge {one['model_requested']} ({_paid(one)}): {_verdict(one)}, escalated to {policy.to} "
        f"({', '.join(DOUBT_TEXTS[doubt] for doubt in why)}): {_verdict(other)}"
    )
    details = {
        "why": list(why),
        "first": {name: one[name] for name in _OF_JUDGE},
        "second": {name: other[name] for name in _OF_JUDGE},
    }
    return told if is_first_beside else f"{told}, so that the first verdict counts", details


_OF_OUTCOME = ("criterion", "value", "reason", "label", "evidence_ok", "p_pass")
_OF_JUDGE = ("model_requested", "model_served", "label", "value", "reason", "cost_usd", "service_tier")


def _verdict(row: Any) -> str:  # noqa: ANN401 a row
    return row["label"] or f"unscored ({row['reason']})"
