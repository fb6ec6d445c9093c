"""A run and its steps, the reference medians of a task type, and the filter of a scorer."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field

from worker.records.record import Record, Utc

RunStatus = Literal["completed", "aborted", "errored", "incomplete"]
StepKind = Literal["model", "tool", "agent", "other"]
Content = Literal["full", "partial", "none"]
CostSource = Literal["client", "price_table", "unknown"]


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
    """Wall time of the run; from started_at and ended_at where the source does not say it."""
    session_id: str | None = None
    user_id: str | None = None
    tags: Mapping[str, Any] = Field(default_factory=dict)
    """All other fields of the source. Never shown to a scorer, since they may hold the outcome or the true label."""
    content: Content = "full"
    """Whether input and output were recorded at all."""
    stop_reason: str | None = None
    error: str | None = None

    def for_scorer(self) -> "Run":
        """A copy without tags, user, session and vendor ids: what a scorer may see."""
        return self.model_copy(update={"tags": {}, "user_id": None, "session_id": None, "vendor_ids": {}})


class Reference(NamedTuple):
    """Medians of a task type over the 28 nights before a night; None where there were too few runs."""

    cost_usd: float | None = None
    steps: float | None = None
    latency_ms: float | None = None
    cost_log_mad: float | None = None
    """Median absolute deviation of log cost; None where the median is None."""
    steps_log_mad: float | None = None
    latency_log_mad: float | None = None


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
