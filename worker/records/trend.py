"""Cells (nightly sums), estimates, and the weekly points of trends."""

from datetime import date
from typing import NamedTuple

from worker.records.record import Record


class Cell(NamedTuple):
    """Sums over one night, stratum, agent and agent version, for one scorer and criterion."""

    night: date
    task_type: str
    flagged: bool
    agent: str
    agent_version: str
    population: int
    """Runs the scorer applies to."""
    sampled: int
    scored: int
    s: float
    """Sum of the values."""
    ss: float
    """Sum of their squares."""


class Estimate(NamedTuple):
    """A mean of the population with its interval; n = 0 gives None everywhere."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    """Scored runs."""
    n_eff: float
    """The size of a simple random sample that would be as precise."""


class TrendPoint(Record):
    """One week of one stream."""

    week: str
    """ISO week, for example 2026-W47."""
    task_type: str | None
    segment: str | None = None
    """The agent or agent version, with `--by`."""
    scorer: str
    criterion: str | None
    scorer_version: str
    population: int
    sampled: int
    scored: int
    unscored: int
    coverage: float | None
    """scored / sampled; None when nothing was sampled."""
    mean: float | None
    low: float | None
    high: float | None
    raw_mean: float | None = None
    """Overall line only: the mean of this week's own mix, where `mean` is standardised to the reference mix."""
    backfilled_nights: int = 0
    """Nights of the week that a backfill had scored by this scorer; their draw had enrolled others."""
