"""The nouns: frozen, validated records that every room speaks in.

Times are aware UTC and end in `_at`; probabilities and scores are 0..1; units stand in the names.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

RunStatus = Literal["completed", "aborted", "errored", "incomplete"]
StepKind = Literal["model", "tool", "agent", "other"]
Content = Literal["full", "partial", "none"]
CostSource = Literal["client", "price_table", "unknown"]
ScorerKind = Literal["heuristic", "judge"]
Backend = Literal["chat", "responses", "decisions"]
Purpose = Literal["production", "backfill", "bridge", "escalation"]
Why = Literal["rate", "floor", "all", "flagged", "backfill"]
DriftKind = Literal["agent", "judge", "mix", "errors", "cost", "tool", "steps"]
AlertKind = Literal["drift", "run_cost", "cost_tail", "daily_spend", "spend_jump"]

CACHED = "cache"
"""The service tier of an answer that was paid before."""

Utc = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class Record(BaseModel):
    """A frozen value; unknown fields are an error, so that a typo cannot pass."""

    # built when first used: most commands use few of them, and all together are a tenth of a command's start
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Step(Record):
    """One action inside a run."""

    seq: int = Field(ge=0)
    """Position in the run, from 0."""
    kind: StepKind
    """A model call, a tool call, a nested agent, or anything else."""
    name: str = ""
    """The tool's or model's name."""
    arguments: Any = None
    """What the tool was called with: any JSON value."""
    result: str | None = None
    """What came back, cut at the intake's limit."""
    result_size: int | None = Field(default=None, ge=0)
    """Length of the full result in characters, where it was cut."""
    result_sha: str | None = None
    """SHA-256 of the full result, first 16 hex, where it was cut."""
    error: str | None = None
    """Why the step failed; None when it did not."""
    started_at: Utc | None = None
    duration_ms: float | None = Field(default=None, ge=0)
    model: str | None = None
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    cost_usd: float | None = Field(default=None, ge=0)


class Run(Record):
    """One completed execution of an agent, from request to final output (`spotcheck.run/1`)."""

    run_id: str = Field(min_length=1, max_length=512)
    """Unique together with `source`."""
    source: str = Field(default="jsonl", min_length=1, max_length=200)
    """Where the run came from."""
    revision: int = Field(default=1, ge=1)
    """1, and one more each time the same run is sent with other content."""
    trace_id: str | None = None
    root_span_id: str | None = None
    vendor_ids: Mapping[str, str] = Field(default_factory=dict)
    """Ids that destinations need to find the run again."""
    agent: str = Field(default="", max_length=300)
    agent_version: str = Field(default="", max_length=200)
    task_type: str = Field(min_length=1, max_length=200)
    """What kind of work the run did; the unit of segmentation everywhere."""
    status: RunStatus
    input: str | None = None
    """The request, as text."""
    output: str | None = None
    """The final answer, as text."""
    steps: tuple[Step, ...] = ()
    started_at: Utc | None = None
    ended_at: Utc
    """Decides the night the run belongs to, for ever."""
    received_at: Utc | None = None
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    cost_usd: float | None = Field(default=None, ge=0)
    """What the agent's run cost, US dollars; None when unknown, which is not zero."""
    cost_source: CostSource = "unknown"
    latency_ms: float | None = Field(default=None, ge=0)
    """Wall time of the run; from the two stamps where it is not said."""
    session_id: str | None = None
    user_id: str | None = None
    tags: Mapping[str, Any] = Field(default_factory=dict)
    """Everything else the source said. Never shown to a scorer: outcomes and truths leak in here."""
    content: Content = "full"
    """Whether input and output were recorded at all."""
    stop_reason: str | None = None
    error: str | None = None

    def for_scorer(self) -> "Run":
        """The run as a scorer may see it: without tags, ids of people, or anything the source only noted beside it."""
        return self.model_copy(update={"tags": {}, "user_id": None, "session_id": None, "vendor_ids": {}})


class Reference(NamedTuple):
    """What is usual for a task type: medians over the 28 nights before a night."""

    cost_usd: float | None = None
    steps: float | None = None
    latency_ms: float | None = None
    cost_log_mad: float | None = None
    """Median absolute deviation of log cost; None where the median is None."""
    steps_log_mad: float | None = None
    latency_log_mad: float | None = None


class Stratum(NamedTuple):
    """What a sample is drawn within: a task type, and whether cheap facts flagged the run."""

    task_type: str
    flagged: bool


class Draw(Record):
    """The decision about one stratum of one night; the threshold is the inclusion probability."""

    night: date
    stratum: Stratum
    population: int = Field(ge=0)
    """Ended runs of the stratum when it was drawn."""
    threshold: float = Field(gt=0, le=1)
    """A run is drawn when its sample key is below this."""
    drawn: int = Field(ge=0)
    why: Why
    """`rate` or `flagged` (the rate decided), `floor` (bottom-k did), `all` (N ≤ k), `backfill`."""
    drawn_at: Utc


class Judging(Record):
    """How one verdict came about: what was asked, who answered, and what it cost."""

    model_requested: str
    model_served: str | None = None
    fingerprint: str | None = None
    """The server's `system_fingerprint`."""
    prompt_hash: str = ""
    """SHA-256 of the messages, first 16 hex."""
    digest_version: str = ""
    params_effective: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters the server really took; a refused one is absent."""
    service_tier: str | None = None
    """How it was bought: default, flex or batch, as the server says; `cache` where it was paid before."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    """Unknown price is None, never 0."""
    latency_ms: float | None = None


class Message(NamedTuple):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class CriterionQuestion(NamedTuple):
    """One thing that a judge decides, apart from the prompt."""

    criterion: str
    question: str
    options: Mapping[str, str]
    """When each verdict is right, by its word, `unknown` included."""


class Question(Record):
    """One call to a judge, ready to send."""

    backend: Backend = "chat"
    """Which form of request it takes."""

    messages: tuple[Message, ...]
    answer_schema: Mapping[str, Any]
    """JSON Schema (strict) that the answer must satisfy."""
    schema_name: str
    """Letters, digits, `_` and `-`; at most 64."""
    model: str
    params: Mapping[str, Any] = Field(default_factory=dict)
    """Sampling parameters such as temperature; a server may refuse some."""
    max_output_tokens: int = Field(default=1200, ge=1)
    service_tier: str | None = None
    """How the call is bought, for example flex; None leaves it to the server."""
    wants_probabilities: bool = False
    """Whether the server is asked for the probabilities of what it writes; its answers are many times larger then."""
    may_repair: bool = False
    """Whether an answer that is not the agreed JSON may be asked for once more, where no form of JSON is enforced."""
    asked: tuple[CriterionQuestion, ...] = ()
    """The criteria one by one, in order; only for `decisions`, which puts them as questions of their own."""
    prompt_hash: str
    """SHA-256 of the messages, first 16 hex."""
    digest_version: str = ""
    is_repeated: bool = False
    """One of several answers that are wanted to the same question: each is asked for anew."""


class Reply(Record):
    """What the judge sent back, unread."""

    content: str | None
    """The text of the answer; None when there was none."""
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter`, as the server said it."""
    refusal: str | None = None
    refused: tuple[str, ...] = ()
    """Criteria that the judge declined to decide, where it answered about the others; they are not in `content`."""
    probabilities: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """Probability 0..1 of each verdict that was offered, by criterion; they add up to 1. Empty where not known."""
    judging: Judging


Ask = Callable[[Question], Awaitable[Reply]]
"""How a scorer reaches a judge; raises JudgeUnavailable (try again later) or JudgeRefusesUs (no retry helps)."""


class QuestionAnswer(NamedTuple):
    """A question and its answer."""

    question: Question
    reply: Reply


class Outcome(Record):
    """What a scorer says of one run and one criterion: a value, or unscored with a reason."""

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
    """False when a quoted passage does not occur in the run; None when nothing was quoted."""
    p_pass: float | None = Field(default=None, ge=0, le=1)
    injection_suspected: bool = False

    @property
    def is_scored(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


class Scoring(Record):
    """All that one scorer says of one run."""

    outcomes: tuple[Outcome, ...]
    """One for a heuristic; for a rubric the aggregate (criterion None) first, then one a criterion."""
    judging: Judging | None = None
    """How the judge came to it; None for heuristics and where no call was made."""
    answers: tuple[QuestionAnswer, ...] = ()
    """The calls that gave a verdict, but for repeated ones: asked again, they would say the same."""
    overruled: "Scoring | None" = None
    """The verdict that does not count, where a second judge was asked: the first one's, unless only that was readable.
    Its calls and what they cost are its own."""


def scored(value: float, **details: Any) -> Outcome:  # noqa: ANN401 the fields of Outcome
    """An outcome with a value 0..1."""
    return Outcome(value=value, **details)


def unscored(reason: str, **details: Any) -> Outcome:  # noqa: ANN401 the fields of Outcome
    """An outcome without a value; never a zero."""
    return Outcome(reason=reason, **details)


class ScorerKey(Record):
    """The identity of a scorer: a change of any part starts a new series."""

    name: str
    version: str
    kind: ScorerKind
    fingerprint: str
    """First 16 hex of a hash over rubric with includes, judge model, parameters and digest version."""
    spec: Mapping[str, Any] = Field(default_factory=dict)
    """What the fingerprint was made of, for people to read."""

    @property
    def series(self) -> str:
        """The version as trends show it; a judge's carries its fingerprint, since a new model is a new series."""
        return f"{self.version}+{self.fingerprint[:8]}" if self.kind == "judge" else self.version


class Stream(NamedTuple):
    """What a trend line and a drift test belong to. A task type of None is the overall line."""

    task_type: str | None
    scorer: str
    scorer_version: str
    criterion: str | None = None


class Score(Record):
    """One outcome, stamped with everything needed to repeat or refute it."""

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
    """The deterministic identity of a score: the same work done twice gives the same row.

    Returns:
        32 hex digits of a SHA-256 over source, run, revision, scorer fingerprint, criterion, purpose and replicate.

    Source: DESIGN §5.
    """
    parts = (run.source, run.run_id, str(run.revision), scorer.fingerprint, criterion or "", purpose, str(replicate))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Cell(NamedTuple):
    """The smallest summed unit of a night: one stratum, agent and version, one scorer and criterion."""

    night: date
    task_type: str
    flagged: bool
    agent: str
    agent_version: str
    population: int
    """Runs the scorer applies to."""
    sampled: int
    scored: int
    s: float
    """Sum of the values."""
    ss: float
    """Sum of their squares."""


class Estimate(NamedTuple):
    """A mean of the population with its interval; n = 0 gives None everywhere."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    """Scored runs."""
    n_eff: float
    """The size of a simple random sample that would be as precise."""


class TrendPoint(Record):
    """One week of one stream."""

    week: str
    """ISO week, for example 2026-W47."""
    task_type: str | None
    segment: str | None = None
    """The agent or agent version, with `--by`."""
    scorer: str
    criterion: str | None
    scorer_version: str
    population: int
    sampled: int
    scored: int
    unscored: int
    coverage: float | None
    """scored / sampled; None when nothing was sampled."""
    mean: float | None
    low: float | None
    high: float | None
    raw_mean: float | None = None
    """Overall line only: the mean of this week's own mix, where `mean` is standardised to the reference mix."""


class Drift(Record):
    """A change beyond chance."""

    finding_id: int | None = None
    stream: Stream
    kind: DriftKind = "agent"
    direction: Literal["down", "up"]
    before: float
    """Mean of the reference: 0..1, US dollars a run where the kind is cost, steps a run where it is steps."""
    after: float
    window_nights: int
    window_hours: int | None = None
    """Hours, for a change that was seen before its night was over; the window counts as one night then."""
    scored: int
    z: float
    chance_per_year: float
    """How often chance alone shows this, for the whole project; never said rarer than once in 50 years."""
    since: date
    """First night of the window."""
    found_night: date
    state: Literal["open", "acknowledged", "muted", "accepted", "recovered"] = "open"


class Alert(Record):
    """Something people are told: now, or in the weekly review."""

    alert_id: int | None = None
    key: str
    """What it is about; the same thing is told once."""
    kind: AlertKind
    urgency: Literal["now", "review"]
    task_type: str | None = None
    """None where it is about all task types."""
    subject: str = ""
    """The figure it is about, for example `error_rate`; with kind and task type it is what a mute silences."""
    text: str
    """One line for people."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """The figures, for machines."""
    night: date
    finding_id: int | None = None
    run_id: str | None = None
    raised_at: Utc
    state: Literal["open", "acknowledged", "muted", "resolved"] = "open"
    muted_until: date | None = None


class RunFilter(NamedTuple):
    """Which runs a scorer applies to; an empty tuple means all. Decides the population, before sampling."""

    task_types: Sequence[str] = ()
    statuses: Sequence[str] = ()
    agents: Sequence[str] = ()

    def admits(self, task_type: str, status: str, agent: str) -> bool:
        """Whether a run with these facts belongs to the scorer's population; `*` matches anything."""
        return all(
            not allowed or "*" in allowed or value in allowed
            for allowed, value in ((self.task_types, task_type), (self.statuses, status), (self.agents, agent))
        )
