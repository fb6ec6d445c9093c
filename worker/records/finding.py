"""Findings of the drift scan, and alerts."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field

from worker.records.record import Record, Utc
from worker.records.score import Stream

DriftKind = Literal["agent", "judge", "mix", "errors", "cost", "tool", "steps"]
AlertKind = Literal["drift", "run_cost", "cost_tail", "daily_spend", "spend_jump", "pipeline"]


class Drift(Record):
    """A finding: a change of a stream's level beyond chance."""

    finding_id: int | None = None
    stream: Stream
    kind: DriftKind = "agent"
    direction: Literal["down", "up"]
    before: float
    """Mean of the reference: 0..1; US dollars a run for cost, steps a run for steps."""
    after: float
    """Mean of the window, in the same unit."""
    window_nights: int
    window_hours: int | None = None
    """Length of the window in hours, for a change found before its night was over (`window_nights` is 1 then)."""
    scored: int
    """Effective number of scores or runs in the window."""
    z: float
    """Signed-root statistic of the scan; see `core.drift.scan`."""
    chance_per_year: float
    """How many times a year chance alone shows this in the whole project, 1/50 to 364."""
    since: date
    """First night of the window."""
    found_night: date
    state: Literal["open", "acknowledged", "muted", "accepted", "recovered"] = "open"


class Alert(Record):
    """Something to tell people: at once (urgency `now`), or in the weekly review."""

    alert_id: int | None = None
    key: str
    """Identifies the event; an event raises one alert."""
    kind: AlertKind
    urgency: Literal["now", "review"]
    task_type: str | None = None
    """None for all task types together."""
    subject: str = ""
    """The figure it is about, for example `error_rate`; a mute covers kind, task type and subject."""
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
