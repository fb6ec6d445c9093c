"""From verdicts to rows: what a scorer said becomes score rows and a job's final state."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.records import JudgeCall, Judging, Outcome, PackedJudgment, Run, ScorerKey, Scoring, score_id, unscored
from worker.scorers.protocol import Scorer
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

_RATIONALE_CHARS = 4_000


def settled(job: Job, run: Run, scorer: ScorerKey, scoring: Scoring) -> Settled:
    """A job's outcome from its scorer's: `scored` when the aggregate has a value, else `unscored` with its reason.

    A verdict that was overruled by another judge is stored beside it, with its own calls' cost, under a purpose that no
    estimate reads; the job cost both.
    """
    aggregate = next(outcome for outcome in scoring.outcomes if outcome.criterion is None)
    state = "scored" if aggregate.is_scored else "unscored"
    rows = _rows(job, run, scorer, scoring, job.purpose)
    costs = [_cost_usd(scoring)]
    if scoring.overruled is not None:
        rows += _rows(job, run, scorer, scoring.overruled, "escalation")
        costs.append(_cost_usd(scoring.overruled))
    known = [cost for cost in costs if cost is not None]
    return Settled(job, state, aggregate.reason, sum(known) if len(known) == len(costs) else None, rows)


def _rows(job: Job, run: Run, scorer: ScorerKey, scoring: Scoring, purpose: str) -> list[Mapping[str, Any]]:
    return [_row(job, run, scorer, outcome, scoring.judging, purpose) for outcome in scoring.outcomes]


def _cost_usd(scoring: Scoring) -> float | None:
    return 0.0 if scoring.judging is None else scoring.judging.cost_usd


def settled_without(job: Job, run: Run, scorer: ScorerKey, reason: str, *, was_called: bool) -> Settled:
    """An outcome for a run that could not be scored; after a call whose cost is unknown, what was reserved is spent."""
    outcome = unscored(reason)
    row = _row(job, run, scorer, outcome, None, job.purpose)
    return Settled(job, "unscored", reason, None if was_called else 0.0, [row])


def judgment_of(
    scorer: Scorer, run: Run, calls: Sequence[JudgeCall], scoring: Scoring | None = None
) -> PackedJudgment | None:
    """What a judge was asked about a run and what it answered, to be stored with the outcome; None without a call.

    Args:
        scorer: Who asked; only a rubric's calls are kept.
        run: As it was shown.
        calls: In the order in which they were asked, readable or not.
        scoring: What was made of them; None where that failed.
    """
    if not calls or not isinstance(scorer, RubricScorer):
        return None
    suspicions = () if scoring is None else scoring.suspicions
    return scorer.packer.pack(calls, revision=run.revision, suspicions=suspicions)


def failed(job: Job, reason: str, *, was_called: bool) -> Settled:
    """A job that is given up; it has no score row, and counts as failed."""
    return Settled(job, "failed", reason[:300], None if was_called else 0.0, [])


def _row(
    job: Job, run: Run, scorer: ScorerKey, outcome: Outcome, judging: Judging | None, purpose: str
) -> Mapping[str, Any]:
    aggregate_only = judging if outcome.criterion is None else None  # tokens and cost once a job, not once a criterion
    return {  # created_at is stamped when it is stored
        "score_id": score_id(run, scorer, outcome.criterion, purpose, job.replicate),
        "run_pk": job.run_pk,
        "revision": run.revision,
        "night": job.night,
        "scorer_pk": job.scorer_pk,
        "criterion": outcome.criterion,
        "purpose": purpose,
        "replicate": job.replicate,
        "outcome": "scored" if outcome.is_scored else "unscored",
        "value": outcome.value,
        "reason": outcome.reason,
        "label": outcome.label,
        "rationale": outcome.rationale[:_RATIONALE_CHARS] if outcome.rationale else None,
        "evidence": [dict(item) for item in outcome.evidence] or None,
        "evidence_ok": outcome.evidence_ok,
        "p_pass": outcome.p_pass,
        "injection_suspected": outcome.injection_suspected,
        "prompt_hash": judging.prompt_hash if judging else None,
        "digest_version": judging.digest_version if judging else None,
        "model_requested": judging.model_requested if judging else None,
        "model_served": judging.model_served if judging else None,
        "fingerprint": judging.fingerprint if judging else None,
        "params_effective": dict(aggregate_only.params_effective) if aggregate_only else None,
        "service_tier": aggregate_only.service_tier if aggregate_only else None,
        "input_tokens": aggregate_only.input_tokens if aggregate_only else None,
        "cached_tokens": aggregate_only.cached_tokens if aggregate_only else None,
        "output_tokens": aggregate_only.output_tokens if aggregate_only else None,
        "cost_usd": aggregate_only.cost_usd if aggregate_only else None,
        "latency_ms": aggregate_only.latency_ms if aggregate_only else None,
    }
