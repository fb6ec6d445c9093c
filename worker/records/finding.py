"""Drift findings and alerts."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field

from worker.records.record import Record, Utc
from worker.records.score import Stream

DriftKind = Literal["agent", "judge", "mix", "errors", "cost", "tool", "steps"]
AlertKind = Literal["drift", "run_cost", "cost_tail", "daily_spend", "spend_jump"]


class Drift(Record):
    """A change beyond chance."""

    finding_id: int | None = None
    stream: Stream
    kind: DriftKind = "agent"
    direction: Literal["down", "up"]
    before: float
    """Mean of the reference: 0..1, US dollars a run where the kind is cost, steps a run where it is steps."""
    after: float
    window_nights: int
    window_hours: int | None = None
    """Hours, for a change that was seen before its night was over; the window counts as one night then."""
    scored: int
    z: float
    chance_per_year: float
    """How often chance alone shows this, for the whole project; never said rarer than once in 50 years."""
    since: date
    """First night of the window."""
    found_night: date
    state: Literal["open", "acknowledged", "muted", "accepted", "recovered"] = "open"


class Alert(Record):
    """Something people are told: now, or in the weekly review."""

    alert_id: int | None = None
    key: str
    """What it is about; the same thing is told once."""
    kind: AlertKind
    urgency: Literal["now", "review"]
    task_type: str | None = None
    """None where it is about all task types."""
    subject: str = ""
    """The figure it is about, for example `error_rate`; with kind and task type it is what a mute silences."""
    text: str
    """One line for people."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """The figures, for machines."""
    night: date
    finding_id: int | None = None
    run_id: str | None = None
    raised_at: Utc
    state: Literal["open", "acknowledged", "muted", "resolved"] = "open"
    muted_until: date | None = None
