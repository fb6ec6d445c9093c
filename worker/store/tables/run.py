"""Tables of runs, nights, draws, references and operational figures.

Payloads (input, output, steps) have a table of their own, so that counts and samples never read a run's texts.
"""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from worker.store.tables.result import BigKey
from worker.store.tables.types import CleanText, UtcDateTime


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


class PayloadRow(SQLModel, table=True):
    """The texts of one revision of a run, as packed JSON."""

    __tablename__: ClassVar[Any] = "payload"
    run_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="run.pk")
    revision: int = Field(primary_key=True)
    content_sha: str
    body: bytes = Field(sa_type=LargeBinary)
    received_at: datetime = Field(sa_type=UtcDateTime)


class NightRow(SQLModel, table=True):
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


class DrawRow(SQLModel, table=True):
    """The threshold of one stratum of one night; a raised rate adds a row that supersedes the one before."""

    __tablename__: ClassVar[Any] = "draw"
    __table_args__ = (UniqueConstraint("night", "task_type", "flagged", "seq", name="draw_identity"),)
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    night: date
    task_type: str
    flagged: bool
    seq: int
    """1 for the first draw, one more for each that superseded it."""
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


class FigureNightRow(SQLModel, table=True):
    """Whether the operational figures of a night are up to date, and compared."""

    __tablename__: ClassVar[Any] = "pulse_night"
    night: date = Field(primary_key=True)
    is_stale: bool = True
    """Whether runs came in since they were summed."""
    runs: int = 0
    """Ended runs that were summed."""
    taken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    watched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the whole night was compared with its past; None before."""


class FigureRow(SQLModel, table=True):
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
    """Runs with the property (errored, aborted, completed); for tools the sum of each run's failed share."""
    ss: float
    total: float
    """US dollars, steps, or tool calls."""
    histogram: str | None = Field(default=None, sa_type=Text)
    """JSON: runs by bucket of `core.drift.operational`. Cost and steps only."""
