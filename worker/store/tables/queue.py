"""Tables of scorers, of the job queue, and of the workers that serve it."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, UniqueConstraint
from sqlmodel import Field

from worker.store.tables.types import BigKey, CleanText, TableBase, UtcDateTime


class ScorerRow(TableBase, table=True):
    """The identity of a scorer; a new fingerprint is a new row and a new series."""

    __tablename__: ClassVar[Any] = "scorer"
    pk: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    version: str
    series: str
    kind: str
    fingerprint: str = Field(unique=True)
    spec: dict[str, Any] = Field(sa_type=JSON)
    run_filter: dict[str, Any] = Field(sa_type=JSON)
    """Its population, as `RunFilter`. Called `applies_to` up to schema 0003: release 0.1, which would hand jobs over to
    the version in its own folder, cannot read scorers any more and leaves the queue alone."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class JobRow(TableBase, table=True):
    """One run to be scored by one scorer: its place in the queue, its lease and its final state.

    Its partial indexes stand in `partial_indexes`.
    """

    __tablename__: ClassVar[Any] = "job"
    __table_args__ = (
        UniqueConstraint("run_pk", "scorer_pk", "purpose", "replicate", name="job_identity"),
        Index("job_counts", "night", "scorer_pk", "state"),
    )
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    run_pk: int = Field(sa_type=BigKey, foreign_key="run.pk")
    scorer_pk: int = Field(foreign_key="scorer.pk")
    purpose: str
    replicate: int
    night: date
    lane: str
    """`heuristic`, `judge` or `batch`."""
    u: float
    """Sample key / threshold, 0..1: the order of work within a night, so that a cut shrinks all strata alike."""
    state: str
    """queued · leased · scored · unscored · failed · shed (skipped)."""
    attempt: int = 0
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_owner: str | None = None
    """The worker or batch that claimed it. Kept after the lease expired, until another worker claims the job."""
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    called_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its judge call began; None without a call. Set on a job that is not leased: its worker was lost."""
    reserved_usd: float = 0.0
    """Reserved on the account of `reserved_day`, US dollars; of a lost job, the amount presumed spent."""
    reserved_day: date | None = None
    reason: str | None = Field(default=None, sa_type=CleanText)
    created_at: datetime = Field(sa_type=UtcDateTime)
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    account: str = Field(default="nightly", sa_column_kwargs={"server_default": "nightly"})
    """Whose money it spends: `nightly` or `backfill`."""


class EnrolmentRow(TableBase, table=True):
    """Which scorers score a night: decided when it is dispatched, so that a scorer added later has no backlog."""

    __tablename__: ClassVar[Any] = "enrolment"
    night: date = Field(primary_key=True)
    scorer_pk: int = Field(primary_key=True, foreign_key="scorer.pk")
    enrolled_at: datetime = Field(sa_type=UtcDateTime)
    purpose: str = Field(default="production", sa_column_kwargs={"server_default": "production"})
    """`production` when the night's draw enrolled it, `backfill` when a person did so later."""


class WorkerRow(TableBase, table=True):
    """A worker process and its last heartbeat."""

    __tablename__: ClassVar[Any] = "worker"
    name: str = Field(primary_key=True)
    lanes: str
    pid: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    revision: int | None = None
    """Number of the revision that it works by; None before it read one, and for release 0.1."""
    release: str | None = None
    """Version of the program it runs."""
    trouble: str | None = Field(default=None, sa_type=CleanText)
    """Why its configuration is not the active one; None while it is."""
