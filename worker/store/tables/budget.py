"""Tables of what scoring may spend: accounts, and the cuts that a budget made."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlmodel import Field

from worker.store.tables.types import BigKey, TableBase, UtcDateTime


class CutRow(TableBase, table=True):
    """A cut of one draw for one scorer: jobs whose run's key is at or above the threshold are skipped."""

    __tablename__: ClassVar[Any] = "cut"
    draw_pk: int = Field(sa_type=BigKey, primary_key=True, foreign_key="draw.pk")
    scorer_pk: int = Field(primary_key=True, foreign_key="scorer.pk")
    threshold: float
    """The effective inclusion probability, 0..1: smallest unresolved u × the draw's threshold, or the wanted rate."""
    cut_at: datetime = Field(sa_type=UtcDateTime)
    reason: str = Field(default="budget", sa_column_kwargs={"server_default": "budget"})
    """`budget` where the money was spent, `rate` where a backfill was asked for a smaller sample."""


class SpendRow(TableBase, table=True):
    """The account of one scorer on one calendar day, US dollars; a day's account is the sum over scorers."""

    __tablename__: ClassVar[Any] = "spend"
    day: date = Field(primary_key=True)
    account: str = Field(default="nightly", primary_key=True, sa_column_kwargs={"server_default": "nightly"})
    """`nightly` or `backfill`, each with a budget of its own."""
    scorer_pk: int = Field(primary_key=True)
    """0 for what was booked before accounts were kept by scorer; that row also serves as the day's lock."""
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    presumed_usd: float = 0.0
    """Reservations of calls whose worker was lost: presumed spent, and included in `spent_usd`."""
