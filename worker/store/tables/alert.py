"""Tables of alerts, and of the messages that tell them outside."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, Text, UniqueConstraint
from sqlmodel import Field

from worker.store.tables.types import BigKey, CleanText, TableBase, UtcDateTime


class AlertRow(TableBase, table=True):
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


class OutboxRow(TableBase, table=True):
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
