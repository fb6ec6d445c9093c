"""Tables of runs, nights and references, and the facts about the installation.

Payloads (input, output, steps) have a table of their own, so that counts and samples never read a run's texts.
"""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from worker.store.tables.types import BigKey, CleanText, TableBase, UtcDateTime


class MetaRow(TableBase, table=True):
    """Facts about the installation: first night, secret, time zone."""

    __tablename__: ClassVar[Any] = "meta"
    key: str = Field(primary_key=True)
    value: str


class RunRow(TableBase, table=True):
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
    """JSON by tool name: calls, failed calls; None without tool calls."""
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


class PayloadRow(TableBase, table=True):
    """The texts of one revision of a run, as packed JSON."""

    __tablename__: ClassVar[Any] = "payload"
    run_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="run.pk")
    revision: int = Field(primary_key=True)
    content_sha: str
    body: bytes = Field(sa_type=LargeBinary)
    received_at: datetime = Field(sa_type=UtcDateTime)


class NightRow(TableBase, table=True):
    """How far the processing of one night is: drawn, summarised, compared."""

    __tablename__: ClassVar[Any] = "night"
    night: date = Field(primary_key=True)
    drawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revision: int | None = None
    """Number of the revision by which it was drawn; None for nights of release 0.1."""
    resolved: int = 0
    """Resolved jobs at the last summary; a different count now means that the summary is out of date."""
    ended: int = 0
    """Ended runs at the last summary."""
    had_open_jobs: bool = False
    """Whether the last summary was made before all jobs were resolved."""
    summarised_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    compared_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReferenceRow(TableBase, table=True):
    """Medians of a task type over the 28 nights before a night."""

    __tablename__: ClassVar[Any] = "reference"
    night: date = Field(primary_key=True)
    task_type: str = Field(primary_key=True)
    cost_usd: float | None = None
    steps: float | None = None
    latency_ms: float | None = None
    cost_log_mad: float | None = None
    steps_log_mad: float | None = None
    latency_log_mad: float | None = None
