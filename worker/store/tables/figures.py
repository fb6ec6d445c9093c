"""Tables of the operational figures: over all ended runs, by night and by hour."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Index, Text
from sqlmodel import Field

from worker.store.tables.types import BigKey, TableBase, UtcDateTime


class FigureNightRow(TableBase, table=True):
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


class FigureRow(TableBase, table=True):
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
