"""The table of drift findings."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field

from worker.store.tables.types import TableBase, UtcDateTime


class FindingRow(TableBase, table=True):
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
