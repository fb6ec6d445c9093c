"""Tables of what is known of judges between two calls: batches, kept answers, request rates."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary
from sqlmodel import Field

from worker.store.tables.types import BigKey, CleanText, TableBase, UtcDateTime


class BatchRow(TableBase, table=True):
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


class AnswerRow(TableBase, table=True):
    """A cached answer of a judge, so that the same question is not paid twice."""

    __tablename__: ClassVar[Any] = "answer"
    key: str = Field(primary_key=True)
    """SHA-256 over server, model, backend, parameters, schema and messages."""
    reply: bytes = Field(sa_type=LargeBinary)
    """The reply as packed JSON (`store.payload`)."""
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)


class RateRow(TableBase, table=True):
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
