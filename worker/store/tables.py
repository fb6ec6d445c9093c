"""The tables, as SQLModel classes. They persist; validation is the records' work (a table class does not validate).

Payloads (input, output, steps) stand apart from the columns that sampling and trends read, so that a night's counts
never touch a run's texts.
"""

import re
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Dialect, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text
from sqlalchemy.types import DateTime, TypeDecorator
from sqlmodel import Field, SQLModel

_UNHOLDABLE = re.compile("[\0\ud800-\udfff]")
BigKey = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself only for INTEGER


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: TIMESTAMPTZ on PostgreSQL, UTC text on SQLite, which knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time reached the store")
        at = value.astimezone(UTC)
        return at.replace(tzinfo=None) if dialect.name == "sqlite" else at

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(TypeDecorator[str]):
    """Free text from outside; NUL and lone surrogates, which PostgreSQL refuses, become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what a database cannot hold."""
        if value is None:
            return None
        return _UNHOLDABLE.sub("\ufffd", value)


class MetaRow(SQLModel, table=True):
    """Facts about the installation: first night, secret, time zone."""

    __tablename__: ClassVar[Any] = "meta"
    key: str = Field(primary_key=True)
    value: str


class RunRow(SQLModel, table=True):
    """One ended run, without its texts."""

    __tablename__: ClassVar[Any] = "run"
    __table_args__ = (
        UniqueConstraint("run_id", "source", name="run_identity"),
        Index("run_by_key", "night", "task_type", "flagged", "sample_key"),
        Index("run_by_facts", "night", "task_type", "flagged", "status", "agent", "agent_version"),
    )
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    source: str
    run_id: str
    revision: int
    content_sha: str
    agent: str
    agent_version: str
    task_type: str
    status: str
    night: date
    sample_key: float
    flagged: bool
    flags: str
    ended_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    received_at: datetime = Field(sa_type=UtcDateTime)
    steps: int
    tool_calls: int
    tool_errors: int
    tools: str | None = Field(default=None, sa_type=CleanText)
    """JSON by tool name: calls, and those that failed; None without tool calls."""
    input_tokens: int | None = Field(default=None, sa_type=BigInteger)
    output_tokens: int | None = Field(default=None, sa_type=BigInteger)
    cost_usd: float | None = None
    cost_source: str
    latency_ms: float | None = None
    session_id: str | None = Field(default=None, sa_type=CleanText)
    user_id: str | None = Field(default=None, sa_type=CleanText)
    trace_id: str | None = Field(default=None, sa_type=CleanText)
    root_span_id: str | None = Field(default=None, sa_type=CleanText)
    content: str
    stop_reason: str | None = Field(default=None, sa_type=CleanText)
    error: str | None = Field(default=None, sa_type=CleanText)


class PayloadRow(SQLModel, table=True):
    """The texts of one revision of a run, as packed JSON."""

    __tablename__: ClassVar[Any] = "payload"
    run_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="run.pk")
    revision: int = Field(primary_key=True)
    content_sha: str
    body: bytes = Field(sa_type=LargeBinary)
    received_at: datetime = Field(sa_type=UtcDateTime)


class NightRow(SQLModel, table=True):
    """What has been done about one night."""

    __tablename__: ClassVar[Any] = "night"
    night: date = Field(primary_key=True)
    drawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolved: int = 0
    """Resolved jobs at the last summary; another count now means that it is out of date."""
    ended: int = 0
    """Ended runs at the last summary."""
    had_open_jobs: bool = False
    """Whether the last summary was made before all jobs were resolved."""
    summarised_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    compared_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DrawRow(SQLModel, table=True):
    """A decision about one stratum of one night; a raised rate supersedes the one before."""

    __tablename__: ClassVar[Any] = "draw"
    __table_args__ = (UniqueConstraint("night", "task_type", "flagged", "seq", name="draw_identity"),)
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    night: date
    task_type: str
    flagged: bool
    seq: int
    """1 for the first decision, one more for each that superseded it."""
    population: int
    threshold: float
    rate: float
    drawn: int
    why: str
    drawn_at: datetime = Field(sa_type=UtcDateTime)
    is_current: bool = True


class SampleRow(SQLModel, table=True):
    """One drawn run. Its inclusion probability is the threshold of the current draw of its stratum."""

    __tablename__: ClassVar[Any] = "sample"
    run_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="run.pk")
    draw_pk: int = Field(sa_type=BigKey, foreign_key="draw.pk")
    night: date = Field(index=True)
    sample_key: float
    drawn_at: datetime = Field(sa_type=UtcDateTime)


class ReferenceRow(SQLModel, table=True):
    """What was usual for a task type over the 28 nights before a night."""

    __tablename__: ClassVar[Any] = "reference"
    night: date = Field(primary_key=True)
    task_type: str = Field(primary_key=True)
    cost_usd: float | None = None
    steps: float | None = None
    latency_ms: float | None = None
    cost_log_mad: float | None = None
    steps_log_mad: float | None = None
    latency_log_mad: float | None = None


class ScorerRow(SQLModel, table=True):
    """The identity of a scorer; a new fingerprint is a new row and a new series."""

    __tablename__: ClassVar[Any] = "scorer"
    pk: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    version: str
    series: str
    kind: str
    fingerprint: str = Field(unique=True)
    spec: dict[str, Any] = Field(sa_type=JSON)
    applies_to: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)


class JobRow(SQLModel, table=True):
    """The ledger: one run to be scored by one scorer, and how that stands."""

    __tablename__: ClassVar[Any] = "job"
    __table_args__ = (
        UniqueConstraint("run_pk", "scorer_pk", "purpose", "replicate", name="job_identity"),
        Index(
            "job_queue",
            *("lane", "night", "u", "run_pk"),
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        Index(
            "job_leases",
            "lease_until",
            postgresql_where=text("state = 'leased'"),
            sqlite_where=text("state = 'leased'"),
        ),
        Index("job_counts", "night", "scorer_pk", "state"),
    )
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    run_pk: int = Field(sa_type=BigKey, foreign_key="run.pk")
    scorer_pk: int = Field(foreign_key="scorer.pk")
    purpose: str
    replicate: int
    night: date
    lane: str
    """`heuristic`, `judge` or `batch`: the queue it is drained from."""
    u: float
    """Sample key ÷ threshold: the order of work, so that a cut shrinks all strata alike."""
    state: str
    """queued · leased · scored · unscored · failed · shed."""
    attempt: int = 0
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_owner: str | None = None
    """Who claimed it; after its lease ran out still who had it, until somebody takes it over."""
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    called_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its call began; None without one. Of a job that is not leased: its worker was lost."""
    reserved_usd: float = 0.0
    """Held for it on `reserved_day`; of a job that was lost, what is presumed spent there."""
    reserved_day: date | None = None
    reason: str | None = Field(default=None, sa_type=CleanText)
    created_at: datetime = Field(sa_type=UtcDateTime)
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class EnrolmentRow(SQLModel, table=True):
    """Which scorers look at a night: decided at dispatch, so that a scorer added later is not owed the past."""

    __tablename__: ClassVar[Any] = "enrolment"
    night: date = Field(primary_key=True)
    scorer_pk: int = Field(primary_key=True, foreign_key="scorer.pk")
    enrolled_at: datetime = Field(sa_type=UtcDateTime)


class CutRow(SQLModel, table=True):
    """Where a budget cut a stratum for one scorer: jobs whose run's key is at or above the threshold were shed."""

    __tablename__: ClassVar[Any] = "cut"
    draw_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="draw.pk")
    scorer_pk: int = Field(primary_key=True, foreign_key="scorer.pk")
    threshold: float
    """The effective inclusion probability: smallest unresolved u × the draw's threshold."""
    cut_at: datetime = Field(sa_type=UtcDateTime)


class SpendRow(SQLModel, table=True):
    """What one scorer's judging has spent and reserved in one calendar day of the clock; a day's account is the sum."""

    __tablename__: ClassVar[Any] = "spend"
    day: date = Field(primary_key=True)
    scorer_pk: int = Field(primary_key=True)
    """0 for what was booked before accounts were kept by scorer; that row is also the day's lock."""
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    presumed_usd: float = 0.0
    """Reservations of calls whose worker died: presumed spent, counted in `spent_usd` too."""


class BatchRow(SQLModel, table=True):
    """One batch of questions on its way through a judge's batch lane; its jobs are leased to `batch:PK`."""

    __tablename__: ClassVar[Any] = "batch"
    __table_args__ = (Index("batch_by_state", "state"),)
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    server: str
    """Hash of the judge's address: another server knows nothing of it."""
    model: str
    state: str
    """filling · uploaded · running · collecting · done."""
    jobs: int
    file_id: str | None = Field(default=None, sa_type=CleanText)
    """The server's id of the file of questions."""
    batch_id: str | None = Field(default=None, sa_type=CleanText)
    """The server's id of the batch."""
    server_state: str | None = Field(default=None, sa_type=CleanText)
    """What the server last called it."""
    completed: int = 0
    """Requests that the server said were answered."""
    trouble: str | None = Field(default=None, sa_type=CleanText)
    """What went wrong last."""
    tries: int = 0
    """Steps that failed in a row."""
    is_too_much: bool = False
    """Whether the server would not take so much at a time."""
    collected: int = 0
    """Jobs that got their outcome from it."""
    cost_usd: float = 0.0
    """What those cost, as far as known."""
    cost_at_once_usd: float = 0.0
    """What they would have cost without a batch."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    submitted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deadline_at: datetime = Field(sa_type=UtcDateTime)
    """What is missing then goes to the synchronous lane."""
    look_at: datetime = Field(sa_type=UtcDateTime)
    """When to look again; also whose turn it is: a process moves it on before it works."""
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AnswerRow(SQLModel, table=True):
    """A judge's answer, kept so that the same question is not paid twice."""

    __tablename__: ClassVar[Any] = "answer"
    key: str = Field(primary_key=True)
    """SHA-256 over server, model, backend, parameters, schema and messages."""
    reply: bytes = Field(sa_type=LargeBinary)
    """The reply as packed JSON."""
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)


class PaceRow(SQLModel, table=True):
    """How fast one worker process asks one model, as it last said."""

    __tablename__: ClassVar[Any] = "pace"
    worker: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    server: str
    """The judge's address as it may be shown."""
    at: datetime = Field(sa_type=UtcDateTime)
    since_at: datetime = Field(sa_type=UtcDateTime)
    """Start of the counts."""
    in_flight: int
    waiting: int
    """Calls that are ready and wait for their turn."""
    limit: int
    """Calls that may be under way at the moment."""
    per_second: float | None = None
    """Calls that may start in a second; None while nothing bounds them."""
    answered: int = Field(sa_type=BigInteger)
    """Calls of this process since `since_at`; of all processes and times where `worker` is empty."""
    refused: int = Field(sa_type=BigInteger)
    failed: int = Field(sa_type=BigInteger)
    latency_s: float | None = None
    """Of an answer, lately."""
    resumes_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the next call may start, where the server is left alone."""
    trouble: str | None = Field(default=None, sa_type=CleanText)
    """Why nothing is asked any more."""


class ScoreRow(SQLModel, table=True):
    """One value, or one unscored with its reason."""

    __tablename__: ClassVar[Any] = "score"
    __table_args__ = (
        Index("score_by_night", "night", "scorer_pk", "criterion"),
        Index("score_by_run", "run_pk"),
    )
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    score_id: str = Field(unique=True)
    run_pk: int = Field(sa_type=BigKey, foreign_key="run.pk")
    revision: int
    night: date
    scorer_pk: int = Field(foreign_key="scorer.pk")
    criterion: str | None = None
    purpose: str
    replicate: int
    outcome: str
    value: float | None = None
    reason: str | None = Field(default=None, sa_type=CleanText)
    label: str | None = Field(default=None, sa_type=CleanText)
    rationale: str | None = Field(default=None, sa_type=CleanText)
    evidence: list[Any] | None = Field(default=None, sa_type=JSON)
    evidence_ok: bool | None = None
    p_pass: float | None = None
    injection_suspected: bool = False
    prompt_hash: str | None = None
    digest_version: str | None = None
    model_requested: str | None = None
    model_served: str | None = Field(default=None, sa_type=CleanText)
    fingerprint: str | None = Field(default=None, sa_type=CleanText)
    params_effective: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    service_tier: str | None = Field(default=None, sa_type=CleanText)
    """How it was bought: default, flex or batch as the server says; `cache` where it was paid before."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)


class CellRow(SQLModel, table=True):
    """The stored summary: sums of one night, stratum, agent and version, for one scorer and criterion."""

    __tablename__: ClassVar[Any] = "cell"
    __table_args__ = (Index("cell_identity", "scorer_pk", "criterion", "night"), Index("cell_by_night", "night"))
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    night: date
    scorer_pk: int = Field(foreign_key="scorer.pk")
    criterion: str | None = None
    task_type: str
    flagged: bool
    agent: str
    agent_version: str
    population: int
    sampled: int
    scored: int
    unscored: int
    s: float
    ss: float


class TrendRow(SQLModel, table=True):
    """One weekly point, ready to show."""

    __tablename__: ClassVar[Any] = "trend"
    __table_args__ = (Index("trend_by_week", "week", "dimension"),)
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    week: str
    dimension: str
    """`task_type`, `agent` or `agent_version`."""
    task_type: str | None = None
    segment: str | None = None
    scorer_pk: int = Field(foreign_key="scorer.pk")
    criterion: str | None = None
    population: int
    sampled: int
    scored: int
    unscored: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    raw_mean: float | None = None


class FindingRow(SQLModel, table=True):
    """A drift finding and what people decided about it."""

    __tablename__: ClassVar[Any] = "finding"
    __table_args__ = (Index("finding_by_stream", "scorer", "series", "task_type"),)
    pk: int | None = Field(default=None, primary_key=True)
    task_type: str | None = None
    scorer: str
    series: str
    criterion: str | None = None
    kind: str
    direction: str
    before: float
    after: float
    window_nights: int
    window_hours: int | None = None
    """Of a change that was seen before its night was over."""
    scored: int
    z: float
    chance_per_year: float
    since: date
    found_night: date
    found_at: datetime = Field(sa_type=UtcDateTime)
    state: str
    """open · acknowledged · muted · accepted · recovered."""
    state_at: datetime = Field(sa_type=UtcDateTime)
    muted_until: date | None = None


class PulseNightRow(SQLModel, table=True):
    """How the operational figures of a night stand."""

    __tablename__: ClassVar[Any] = "pulse_night"
    night: date = Field(primary_key=True)
    is_stale: bool = True
    """Whether runs came since they were summed."""
    runs: int = 0
    """Ended runs that were summed."""
    taken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    watched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the whole night was compared with its past."""


class PulseRow(SQLModel, table=True):
    """One operational figure of one task type, over all ended runs of a night or of an hour."""

    __tablename__: ClassVar[Any] = "pulse"
    __table_args__ = (Index("pulse_by_time", "grain", "night"),)
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    grain: str
    """`night` or `hour`."""
    night: date
    at: datetime = Field(sa_type=UtcDateTime)
    """Start of the hour; noon UTC for a night."""
    task_type: str
    measure: str
    """errors · aborts · completed · tool · cost · steps."""
    subject: str = ""
    """The tool."""
    n: int
    """Runs: all ended, those with a known cost, those that used the tool."""
    s: float
    """Runs that were so; for tools the sum of each run's failed share."""
    ss: float
    total: float
    """US dollars, steps, or tool calls."""
    histogram: str | None = Field(default=None, sa_type=Text)
    """JSON by bucket: runs. Cost and steps only."""


class AlertRow(SQLModel, table=True):
    """Something people are told, and what they decided about it."""

    __tablename__: ClassVar[Any] = "alert"
    __table_args__ = (Index("alert_by_night", "night"), Index("alert_by_finding", "finding_pk"))
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    key: str = Field(unique=True)
    """What it is about; the same thing is told once."""
    kind: str
    urgency: str
    task_type: str | None = None
    subject: str
    text: str = Field(sa_type=CleanText)
    details: dict[str, Any] = Field(sa_type=JSON)
    night: date
    finding_pk: int | None = Field(default=None, foreign_key="finding.pk")
    run_pk: int | None = Field(default=None, sa_type=BigKey, foreign_key="run.pk")
    raised_at: datetime = Field(sa_type=UtcDateTime)
    state: str
    """open · acknowledged · muted · resolved."""
    state_at: datetime = Field(sa_type=UtcDateTime)
    muted_until: date | None = None


class OutboxRow(SQLModel, table=True):
    """A message on its way outside, stored in the transaction that raised it."""

    __tablename__: ClassVar[Any] = "outbox"
    __table_args__ = (
        UniqueConstraint("alert_pk", "destination", name="outbox_identity"),
        Index("outbox_due", "state", "not_before"),
    )
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    message_id: str = Field(unique=True)
    """Stays the same over all attempts, so that a receiver can tell a repeat."""
    alert_pk: int = Field(sa_type=BigKey, foreign_key="alert.pk")
    destination: str
    body: str = Field(sa_type=Text)
    state: str
    """queued · sent · failed."""
    attempt: int = 0
    not_before: datetime = Field(sa_type=UtcDateTime)
    said: str | None = Field(default=None, sa_type=CleanText)
    """What the receiver or the network said last."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WorkerRow(SQLModel, table=True):
    """A worker process that was seen alive."""

    __tablename__: ClassVar[Any] = "worker"
    name: str = Field(primary_key=True)
    lanes: str
    pid: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)


def core(row: type[SQLModel]) -> Table:
    """The core table of a row class, for bulk statements."""
    return SQLModel.metadata.tables[str(row.__tablename__)]
