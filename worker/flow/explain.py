"""The story of one run: every decision about it, in the order they were made."""

from datetime import datetime
from typing import Any, NamedTuple

from worker.flow.project import Project
from worker.records import Run
from worker.store import draws, enrol, scores


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
        facts = scores.facts(connection, run_pk)
        current, drawn = scores.draw_of(connection, run_pk)
        jobs = scores.jobs_of(connection, run_pk)
        found = scores.of_run(connection, run_pk)
        night = facts["night"]
        is_drawn = bool(draws.is_drawn(connection, [night]))
        looking = enrol.registered(connection, enrol.enrolled(connection, [night])[night])
    taken = Decision(None, "taken", f"from {run.source}, content {run.content}", facts["received_at"])
    decisions = [taken, _drawing(project, facts, current, drawn, is_drawn=is_drawn)]
    by_scorer = {row["scorer_pk"]: row for row in found if row["criterion"] is None}
    seen = set()
    for job in jobs:
        seen.add(job["scorer_pk"])
        score = by_scorer.get(job["scorer_pk"])
        decisions.append(_scoring(job, score, [row for row in found if row["scorer_pk"] == job["scorer_pk"]]))
    for one in looking:
        if one.pk not in seen and not one.applies_to.admits(run.task_type, run.status, run.agent):
            decisions.append(Decision(one.key.name, "filtered", "the scorer does not apply to such runs", None))
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
    start = project.start_night()
    if start is None or facts["night"] < start:
        how = f"night {facts['night']} is before the project's first night"
        return Decision(None, "before_start", f"{how} ({start}); spotcheck nightly --date {facts['night']}", None)
    return Decision(None, "pending", f"night {facts['night']} is not drawn yet", None)


def _scoring(job: Any, score: Any, rows: Any) -> Decision:  # noqa: ANN401 rows
    said = []
    details: dict[str, Any] = {"scorer_version": job["series"], "attempts": job["attempt"]}
    if score is not None and score["model_requested"]:
        said.append(f"judge {score['model_served'] or score['model_requested']}")
        tokens = (score["input_tokens"] or 0) + (score["output_tokens"] or 0)
        said.append(f"{tokens:,} tokens")
        said.append("cost unknown" if score["cost_usd"] is None else f"${score['cost_usd']:.4f}")
        details |= {name: score[name] for name in ("model_requested", "model_served", "prompt_hash", "cost_usd")}
        details["criteria"] = {row["criterion"]: row["value"] for row in rows if row["criterion"]}
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
