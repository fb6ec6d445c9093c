"""The weekly review as records: all that a page, a ticket or a terminal shows of it, gathered at one moment."""

from datetime import date, datetime
from typing import Literal, NamedTuple

from worker.core.report.formatting import counted
from worker.core.report.reading import ReadingList
from worker.core.stats.contrast import Contrasts
from worker.records import Alert, Drift, Estimate

LOW_COVERAGE = 0.8
MIN_LATER_NIGHTS = 3
"""Nights after a finding below which it is not said whether it has stayed."""
CLEAR_RATIO = 1.5
"""How many times as far as its interval reaches a level must lie from the old one, which has an error of its own: were
it learned from as many nights, both together would scatter by a root of two more."""
RECOVERED_BELOW = 0.25
"""Part of the found change below which it is made up for: the rule by which `flow.follow` lets a finding go."""
GOOD_FROM = 0.5
"""A run counts as good from this score of the primary rubric on."""
LEARN_NIGHTS = 14
"""Nights with runs before anything is tested for a change."""

StreamState = Literal["tested", "young", "unscored", "elsewhere"]


class OutsideName(str):
    """A name from outside inside a sentence: each form of the report shows it as data in its own way."""

    __slots__ = ()


Sentence = tuple[str, ...]
"""Pieces in their order; those that came from outside are `Name`."""


class Window(NamedTuple):
    """The nights a report is about, bounds included."""

    since: date
    until: date
    label: str
    """`week 2026-W47`, or the two nights."""
    weeks: tuple[str, ...]
    """ISO weeks that trends are shown for, oldest first; the window's own are the last."""
    nights: int
    """Nights of the window that have runs."""
    runs: int
    """Ended runs of the window."""
    nights_over: int | None = None
    """Nights of the window that are over, where it still runs; None for one that is over."""

    @property
    def so_far(self) -> str:
        """How much of a window that still runs is over: `2 of 7 nights so far`; empty for one that is over."""
        if self.nights_over is None:
            return ""
        return f"{self.nights_over} of {counted((self.until - self.since).days + 1, 'night')} so far"

    @property
    def week_so_far(self) -> str:
        """The same where the window is a week: how much of its weekly points is there."""
        return self.so_far if self.since.weekday() == 0 and (self.until - self.since).days == 6 else ""

    @property
    def title(self) -> str:
        """Its name in a sentence, with how much of it is over where it still runs."""
        return f"{self.label} ({self.so_far})" if self.so_far else self.label


class WeekPoint(NamedTuple):
    """One week of one stream; nothing scored gives a mean of None, never 0."""

    week: str
    series: str
    """The scorer's version, with its judge's fingerprint."""
    population: int
    sampled: int
    scored: int
    unscored: int
    mean: float | None
    low: float | None
    high: float | None
    raw_mean: float | None = None
    """Overall line only: at this week's own mix."""

    @property
    def coverage(self) -> float | None:
        """Scored of sampled, 0..1; None when nothing was sampled."""
        return self.scored / self.sampled if self.sampled else None

    @property
    def is_thin(self) -> bool:
        """Whether too little of the sample was scored to trust the point."""
        return self.coverage is not None and self.coverage < LOW_COVERAGE


class Mark(NamedTuple):
    """Something that happened on a night of a stream."""

    night: date
    kind: Literal["version", "series", "finding"]
    text: str
    """The new version, the new series, or the finding's number."""


class StreamChart(NamedTuple):
    """What one small picture shows: a task type (None: all, at the fixed mix) and a scorer, all its series."""

    task_type: str | None
    scorer: str
    is_rubric: bool
    points: tuple[WeekPoint, ...]
    """Oldest week first; at most one a week and series."""
    marks: tuple[Mark, ...]
    nights: int
    """Nights with scores so far."""
    state: StreamState

    @property
    def newest(self) -> WeekPoint | None:
        """The newest week that has a score."""
        return next((point for point in reversed(self.points) if point.mean is not None), None)


class RunRef(NamedTuple):
    """A run to look up."""

    run_id: str
    source: str
    figure: float | None
    """What it was chosen by: the score, the dollars or the steps; None where a status decided."""


class LevelSince(NamedTuple):
    """A stream's level since a finding, in its unit: 0..1, US dollars or steps a run."""

    whole: Estimate
    """All nights from the first of the finding's window to the last of the report's."""
    later: Estimate
    """Only the nights after it was found: the window that raised the alarm was the worst of many, and exaggerates.
    The interval is of what lies behind those runs, to be compared with the old level."""
    nights: int
    """Of those after it was found, the ones with scores or runs."""


class Change(NamedTuple):
    """A finding, with what may explain it."""

    drift: Drift
    is_new: bool
    """Found in this window."""
    differs: Contrasts
    """What sets the bad runs of its window and the four weeks before apart."""
    bad_means: str
    """What makes a run bad here, in words: `scored below 0.5`, `errored`."""
    worst: tuple[RunRef, ...]
    since: LevelSince | None = None
    """None where it is not known, or the finding has recovered."""
    part_of: int | None = None
    """The finding under which it is told, as one cause may have given both; None for one that stands by itself."""

    @property
    def size(self) -> Estimate | None:
        """The level since, where that is what to tell; None where the finding's own window must do.

        That is so where the nights since lie on the other side of the old level: a drop to more than before is none.
        """
        mean = None if self.since is None else self.since.whole.mean
        if self.since is None or mean is None or self.part_left(mean) <= 0:
            return None
        return self.since.whole

    @property
    def has_stayed(self) -> bool | None:
        """Whether the nights after it was found show the change without those that raised the alarm.

        They do where the old level lies clearly outside of their interval, and a quarter of the change is left: over
        many runs a change too small to matter is seen too. None where they are too few to say, or it is not clear.
        """
        if self.since is None or self.since.nights < MIN_LATER_NIGHTS:
            return None
        mean, low, high = self.since.later[:3]
        if mean is None or low is None or high is None:
            return None
        reach = high - mean if self.drift.before > mean else mean - low
        away = abs(self.drift.before - mean)
        if away <= reach or self.part_left(mean) < RECOVERED_BELOW:
            return False
        return True if away >= CLEAR_RATIO * reach else None

    def part_left(self, level: float) -> float:
        """How much of the found change is left at a level: 1 for all of it, 0 or less for none."""
        found = self.drift.after - self.drift.before
        return (level - self.drift.before) / found if found else 0.0


class TaskTypeOutcome(NamedTuple):
    """How the ended runs of a task type came out. Statuses are counted; good is estimated from the sample."""

    task_type: str | None
    """None: all task types."""
    completed: int
    aborted: int
    errored: int
    incomplete: int
    good: Estimate
    """Share of the completed runs that are good, weighted back to all of them."""

    @property
    def runs(self) -> int:
        """Ended runs."""
        return self.completed + self.aborted + self.errored + self.incomplete


class WeekFigure(NamedTuple):
    """One operational figure of one week over all ended runs; no runs give None."""

    week: str
    n: int
    value: float | None
    """A share 0..1, or US dollars or steps a run."""
    low: float | None
    high: float | None
    total: float = 0.0
    """US dollars or steps in all."""


class OperationalWeeks(NamedTuple):
    """Cost, errors and tools of one task type, week by week, oldest first."""

    task_type: str
    runs: int
    """Ended runs of the newest week shown."""
    cost: tuple[WeekFigure, ...]
    errors: tuple[WeekFigure, ...]
    aborts: tuple[WeekFigure, ...]
    steps: tuple[WeekFigure, ...]
    tools: tuple[tuple[str, tuple[WeekFigure, ...]], ...]
    """By tool: the failed share of its calls, averaged over the runs that used it."""


class ScorerCounts(NamedTuple):
    """The counts of one scorer over the window; `ended` is the sum of all that follow it."""

    scorer: str
    series: str
    is_rubric: bool
    ended: int
    filtered: int
    before_start: int
    sampled_out: int
    scored: int
    unscored: int
    failed: int
    shed: int
    pending: int
    reasons: tuple[tuple[str, str, int], ...]
    """State, reason, runs; for unscored, failed and shed, most first."""

    @property
    def coverage(self) -> float | None:
        """Scored of what was drawn for it, 0..1; None when nothing was."""
        drawn = self.scored + self.unscored + self.failed + self.shed + self.pending
        return self.scored / drawn if drawn else None


class JudgeUsage(NamedTuple):
    """What one judge model cost in the window."""

    model: str
    """As the server named itself; as requested where it did not."""
    verdicts: int
    priced: int
    """Verdicts whose cost is known; the others are not in the dollars."""
    cost_usd: float
    input_tokens: int
    output_tokens: int


class Sensitivity(NamedTuple):
    """The smallest drop that would have been found in a stream."""

    task_type: str | None
    drop: float | None
    """0..1: so many more failed runs among those of the last nights; None where none would have been."""


class UntestedStream(NamedTuple):
    """A stream of the primary rubric for which no smallest drop is told."""

    task_type: str | None
    reason: str


class SampleSummary(NamedTuple):
    """What was sampled, whether it adds up, and what it cost."""

    tallies: tuple[ScorerCounts, ...]
    reconciles: bool
    judged: tuple[JudgeUsage, ...]
    """By model, most verdicts first."""
    sensitivity: tuple[Sensitivity, ...]
    """Of the primary rubric's streams that were tested and have no finding; overall first."""
    untold: tuple[UntestedStream, ...]
    """The others of the primary rubric, with the reason; in the same order."""
    sensitivity_nights: int
    false_alarms_per_year: float

    @property
    def judging_usd(self) -> float | None:
        """What judging cost, US dollars, where it is known; None where no verdict has a known price."""
        if self.judged and not any(one.priced for one in self.judged):
            return None
        return sum(one.cost_usd for one in self.judged)


class Report(NamedTuple):
    """All of it."""

    window: Window | None
    """None for a store without runs."""
    task_type: str | None
    """Where the report is about one task type only."""
    sentences: tuple[Sentence, ...]
    """One to three, the most important first."""
    primary: str | None
    """The rubric that decides what is good; None where no rubric is in force or has scores."""
    streams: tuple[StreamChart, ...]
    """Rubrics first, streams with findings first in each."""
    changes: tuple[Change, ...]
    """Newest first; those of the window, and older ones that are not settled."""
    alerts: tuple[Alert, ...]
    """What else was told in the window: dear runs, a day's spend; those told now first."""
    groups: tuple[TaskTypeOutcome, ...]
    """All task types together first, then those with most runs."""
    operations: tuple[OperationalWeeks, ...]
    common: Contrasts
    reading: ReadingList
    sampled: SampleSummary
    made_at: datetime
    store: str
    """Without its password."""
    time_zone: str
    version: str
    """Spotcheck's."""
