"""The records of the reading list: runs shortened for a person to read."""

from datetime import datetime
from typing import NamedTuple


class Excerpt(NamedTuple):
    """The beginning of a text."""

    text: str
    size: int
    """Characters of the whole text."""
    is_cut: bool


class StepLine(NamedTuple):
    """One step, shortened."""

    seq: int
    kind: str
    name: str
    error: Excerpt | None
    arguments: Excerpt | None
    result: Excerpt | None


class ScoreLine(NamedTuple):
    """The score of one scorer for a run; an unscored one has a reason and no value."""

    scorer: str
    criterion: str | None
    series: str
    is_rubric: bool
    value: float | None
    reason: str | None
    rationale: Excerpt | None
    is_over: bool = False
    """Whether another series of the scorer has taken over: the score is no part of any figure beside it."""


class RunToRead(NamedTuple):
    """A run as a person reads it."""

    run_id: str
    source: str
    task_type: str
    status: str
    agent: str
    agent_version: str
    ended_at: datetime
    cost_usd: float | None
    latency_ms: float | None
    flags: tuple[str, ...]
    error: Excerpt | None
    input: Excerpt | None
    """None where it was not recorded, or was pruned."""
    output: Excerpt | None
    steps: tuple[StepLine, ...]
    """The first and the last, in order."""
    steps_in_all: int
    scores: tuple[ScoreLine, ...]
    """Rubrics first, each aggregate before its criteria."""
    value: float | None
    """The value it is ranked by: the primary rubric's score, else the heuristics' mean; None where it has none."""
    unscored: str
    """Why there is no value; empty where there is one."""


class ReadingList(NamedTuple):
    """The runs of a report for a person to read."""

    random: tuple[RunToRead, ...]
    """A uniform random subset of all ended runs of the window: those with the smallest sample keys."""
    worst: tuple[RunToRead, ...]
    """The runs with the lowest scores, without those among the random ones."""
    worst_by: str | None
    """The scorer that ranks them; `heuristics` for their mean; None when nothing was scored."""
