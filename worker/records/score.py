"""Scores, the outcomes in them, and the identity of the scorer."""

import hashlib
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

from pydantic import Field

from worker.records.judging import Judging, QuestionAnswer
from worker.records.record import Record, Utc
from worker.records.run import Run

ScorerKind = Literal["heuristic", "judge"]
Purpose = Literal["production", "backfill", "bridge", "escalation", "asked"]


class Outcome(Record):
    """The result of a scorer for one run and one criterion: a value, or unscored with a reason."""

    value: float | None = Field(default=None, ge=0, le=1)
    reason: str | None = None
    """Why there is no value, for example `missing:run.output`; None exactly when there is one."""
    criterion: str | None = None
    """The rubric's criterion; None for the aggregate, and for every heuristic."""
    label: str | None = None
    """`pass`, `fail`, or a scale's level."""
    rationale: str | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    evidence_ok: bool | None = None
    """Whether every quoted passage occurs in the run; None when nothing was quoted."""
    p_pass: float | None = Field(default=None, ge=0, le=1)
    injection_suspected: bool = False

    @property
    def is_scored(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


class Scoring(Record):
    """All outcomes of one scorer for one run."""

    outcomes: tuple[Outcome, ...]
    """One for a heuristic; for a rubric the aggregate (criterion None) first, then one a criterion."""
    judging: Judging | None = None
    """How the judge came to it; None for heuristics, and where no call was made."""
    answers: tuple[QuestionAnswer, ...] = ()
    """The calls that gave a verdict, to be cached; repeated samples are left out, since each is a new draw."""
    suspicions: tuple[str, ...] = ()
    """Kinds of prompt injection that the run is suspected of; see `core.judging.injection`."""
    overruled: "Scoring | None" = None
    """The verdict that does not count, where a second judge was called: the first one's, unless only that was readable.
    Its calls and their cost are not included in `judging`."""


def scored(value: float, **details: Any) -> Outcome:  # noqa: ANN401 the fields of Outcome
    """An outcome with a value 0..1."""
    return Outcome(value=value, **details)


def unscored(reason: str, **details: Any) -> Outcome:  # noqa: ANN401 the fields of Outcome
    """An outcome without a value; never a zero."""
    return Outcome(reason=reason, **details)


class ScorerKey(Record):
    """The identity of a scorer; a changed fingerprint starts a new series."""

    name: str
    version: str
    kind: ScorerKind
    fingerprint: str
    """First 16 hex of a hash over `spec`. Of a rubric: its text with includes, judge model, parameters, digest version.
    Of a heuristic: name, version, parameters, settings, and the code where no version is declared. Of both: the
    versions of our own rules that they apply."""
    spec: Mapping[str, Any] = Field(default_factory=dict)
    """The parts that the fingerprint was made of, for people to read."""
    series: str = Field(default_factory=lambda given: f"{given['version']}+{given['fingerprint'][:8]}")
    """The id of the series, as trends show it: VERSION+8 hex. A stored one keeps the id it was stored with: release
    0.1 named a heuristic's series by the plain version."""
    former_fingerprint: str | None = None
    """The fingerprint this scorer had before its settings entered it; None where that never changed."""


class Stream(NamedTuple):
    """What a trend line and a drift test belong to. A task type of None is the overall line."""

    task_type: str | None
    scorer: str
    scorer_version: str
    criterion: str | None = None


class Score(Record):
    """One outcome with all that is needed to repeat it: run revision, scorer, purpose and judging."""

    score_id: str
    run_id: str
    source: str
    revision: int
    night: date
    scorer: ScorerKey
    purpose: Purpose = "production"
    replicate: int = 0
    outcome: Outcome
    judging: Judging | None = None
    created_at: Utc


def score_id(run: Run, scorer: ScorerKey, criterion: str | None, purpose: str, replicate: int) -> str:
    """The deterministic id of a score: scoring a run twice gives the same id.

    Returns:
        32 hex digits of a SHA-256 over source, run, revision, scorer fingerprint, criterion, purpose and replicate.

    Source: DESIGN §5.
    """
    parts = (run.source, run.run_id, str(run.revision), scorer.fingerprint, criterion or "", purpose, str(replicate))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
