"""Tables of scores, and of what is summed from them: cells and trends."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index
from sqlmodel import Field

from worker.store.tables.types import BigKey, CleanText, TableBase, UtcDateTime


class ScoreRow(TableBase, table=True):
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


class CellRow(TableBase, table=True):
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


class TrendRow(TableBase, table=True):
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
