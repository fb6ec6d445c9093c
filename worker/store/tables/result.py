"""Tables of scores, and of what is derived from them: cells, trends, findings, alerts, the outbox."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, Integer, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from worker.store.tables.types import CleanText, UtcDateTime

BigKey = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself only for INTEGER


class ScoreRow(SQLModel, table=True):
    """One score of a run: a value, or unscored with a reason."""

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
    """default, flex or batch, as the server says; `cache` for an answer that was paid before."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)


class CellRow(SQLModel, table=True):
    """Sums of one night, stratum, agent and agent version, for one scorer and criterion."""

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
    """Sum of the values."""
    ss: float
    """Sum of their squares."""


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
    """Set for a change that was found before its night was over."""
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


class AlertRow(SQLModel, table=True):
    """An alert, and what people decided about it."""

    __tablename__: ClassVar[Any] = "alert"
    __table_args__ = (Index("alert_by_night", "night"), Index("alert_by_finding", "finding_pk"))
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    key: str = Field(unique=True)
    """Identifies the event, so that it raises one alert only."""
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
    """A message to a destination outside, stored in the transaction that raised its alert."""

    __tablename__: ClassVar[Any] = "outbox"
    __table_args__ = (
        UniqueConstraint("alert_pk", "destination", name="outbox_identity"),
        Index("outbox_due", "state", "not_before"),
    )
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    message_id: str = Field(unique=True)
    """The same in all attempts, so that a receiver recognises a repeat."""
    alert_pk: int = Field(sa_type=BigKey, foreign_key="alert.pk")
    destination: str
    body: str = Field(sa_type=Text)
    state: str
    """queued · sent · failed."""
    attempt: int = 0
    not_before: datetime = Field(sa_type=UtcDateTime)
    said: str | None = Field(default=None, sa_type=CleanText)
    """The last error of the receiver or the network."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
