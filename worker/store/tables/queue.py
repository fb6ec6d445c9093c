"""Tables of the job queue and the budget."""

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


class WorkerRow(SQLModel, table=True):
    """A worker process that was seen alive."""

    __tablename__: ClassVar[Any] = "worker"
    name: str = Field(primary_key=True)
    lanes: str
    pid: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
