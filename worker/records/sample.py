"""Strata, and the draws that decide their samples."""

from datetime import date
from typing import Literal, NamedTuple

from pydantic import Field

from worker.records.record import Record, Utc

Why = Literal["rate", "floor", "all", "flagged", "backfill"]


class Stratum(NamedTuple):
    """The unit that a sample is drawn in: a task type, and whether the run was flagged as suspicious."""

    task_type: str
    flagged: bool


class Draw(Record):
    """The decision about one stratum of one night; the threshold is the inclusion probability."""

    night: date
    stratum: Stratum
    population: int = Field(ge=0)
    """Ended runs of the stratum when it was drawn."""
    threshold: float = Field(gt=0, le=1)
    """A run is drawn when its sample key is below this."""
    drawn: int = Field(ge=0)
    why: Why
    """`rate` or `flagged` (the rate decided), `floor` (bottom-k did), `all` (N ≤ k), `backfill`."""
    drawn_at: Utc


class StratumDraw(NamedTuple):
    """The sample of one stratum of a night, drawn or as it would be drawn (`--dry-run`)."""

    night: date
    stratum: Stratum
    population: int
    sampled: int
    inclusion_probability: float
    """0..1."""
    why: str
    """As `Draw.why`."""
