"""Tables of scorers, the job queue, the budget, batches, cached answers and workers."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from worker.store.tables.result import BigKey
from worker.store.tables.types import CleanText, UtcDateTime


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
    """One run to be scored by one scorer: its place in the queue, its lease and its final state."""

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


class EnrolmentRow(SQLModel, table=True):
    """Which scorers score a night: decided when it is dispatched, so that a scorer added later has no backlog."""

    __tablename__: ClassVar[Any] = "enrolment"
    night: date = Field(primary_key=True)
    scorer_pk: int = Field(primary_key=True, foreign_key="scorer.pk")
    enrolled_at: datetime = Field(sa_type=UtcDateTime)
    purpose: str = Field(default="production", sa_column_kwargs={"server_default": "production"})
    """`production` when the night's draw enrolled it, `backfill` when a person did so later."""


class CutRow(SQLModel, table=True):
    """A budget cut of one draw for one scorer: jobs whose run's key is at or above the threshold are skipped."""

    __tablename__: ClassVar[Any] = "cut"
    draw_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="draw.pk")
    scorer_pk: int = Field(primary_key=True, foreign_key="scorer.pk")
    threshold: float
    """The effective inclusion probability, 0..1: smallest unresolved u × the draw's threshold."""
    cut_at: datetime = Field(sa_type=UtcDateTime)


class SpendRow(SQLModel, table=True):
    """The account of one scorer on one calendar day, US dollars; a day's account is the sum over scorers."""

    __tablename__: ClassVar[Any] = "spend"
    day: date = Field(primary_key=True)
    account: str = Field(default="nightly", primary_key=True)
    """`nightly` or `backfill`, each with a budget of its own."""
    scorer_pk: int = Field(primary_key=True)
    """0 for what was booked before accounts were kept by scorer; that row also serves as the day's lock."""
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    presumed_usd: float = 0.0
    """Reservations of calls whose worker was lost: presumed spent, and included in `spent_usd`."""


class BatchRow(SQLModel, table=True):
    """One batch of judge requests; its jobs are leased to `batch:PK`."""

    __tablename__: ClassVar[Any] = "batch"
    __table_args__ = (Index("batch_by_state", "state"),)
    pk: int | None = Field(default=None, sa_type=BigKey, primary_key=True)
    server: str
    """Hash of the judge's address: the ids below mean nothing to another server."""
    model: str
    state: str
    """filling · uploaded · running · collecting · done."""
    jobs: int
    file_id: str | None = Field(default=None, sa_type=CleanText)
    """The server's id of the request file."""
    batch_id: str | None = Field(default=None, sa_type=CleanText)
    """The server's id of the batch."""
    server_state: str | None = Field(default=None, sa_type=CleanText)
    """The batch's state in the server's last answer."""
    completed: int = 0
    """Answered requests, as the server counts them."""
    trouble: str | None = Field(default=None, sa_type=CleanText)
    """The last error; None without any."""
    tries: int = 0
    """Steps that have failed in a row."""
    is_too_much: bool = False
    """Whether the server refused it as too large."""
    collected: int = 0
    """Jobs settled from its results."""
    cost_usd: float = 0.0
    """Known cost of those, US dollars."""
    cost_at_once_usd: float = 0.0
    """What they would have cost at the full price, US dollars."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    submitted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deadline_at: datetime = Field(sa_type=UtcDateTime)
    """Jobs without a result by then move to the `judge` lane."""
    look_at: datetime = Field(sa_type=UtcDateTime)
    """When its next step is due. A process claims the batch by moving this into the future."""
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AnswerRow(SQLModel, table=True):
    """A cached answer of a judge, so that the same question is not paid twice."""

    __tablename__: ClassVar[Any] = "answer"
    key: str = Field(primary_key=True)
    """SHA-256 over server, model, backend, parameters, schema and messages."""
    reply: bytes = Field(sa_type=LargeBinary)
    """The reply as packed JSON (`store.payload`)."""
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)


class RateRow(SQLModel, table=True):
    """The last report of one worker process on its request rate to one model."""

    __tablename__: ClassVar[Any] = "pace"
    worker: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    server: str
    """The judge's address without credentials."""
    at: datetime = Field(sa_type=UtcDateTime)
    since_at: datetime = Field(sa_type=UtcDateTime)
    """Start of the counts."""
    in_flight: int
    waiting: int
    """Calls that are ready and wait for the limiter."""
    limit: int
    """Calls that may be in flight at a time."""
    per_second: float | None = None
    """Calls that may start in a second; None while the rate is not limited."""
    answered: int = Field(sa_type=BigInteger)
    """Answered calls of this process since `since_at`; where `worker` is empty, of all processes and times."""
    refused: int = Field(sa_type=BigInteger)
    failed: int = Field(sa_type=BigInteger)
    latency_s: float | None = None
    """Recent latency of an answer, seconds."""
    resumes_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the next call may start, while the judge is paused."""
    trouble: str | None = Field(default=None, sa_type=CleanText)
    """Why the judge is not called any more; None when it is."""


class WorkerRow(SQLModel, table=True):
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
