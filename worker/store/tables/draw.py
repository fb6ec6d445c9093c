"""Tables of draws and of the runs that they drew."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from worker.store.tables.types import BigKey, TableBase, UtcDateTime


class DrawRow(TableBase, table=True):
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


class SampleRow(TableBase, table=True):
    """One drawn run. Its inclusion probability is the threshold of the current draw of its stratum."""

    __tablename__: ClassVar[Any] = "sample"
    run_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="run.pk")
    draw_pk: int = Field(sa_type=BigKey, foreign_key="draw.pk")
    night: date = Field(index=True)
    sample_key: float
    drawn_at: datetime = Field(sa_type=UtcDateTime)
