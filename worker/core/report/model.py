"""The records of the weekly review: everything that the page, the Markdown text and the terminal show."""

from datetime import date, datetime
from typing import Literal, NamedTuple

from worker.core.drift.learning import Learned
from worker.core.report.coverage import NOTHING_JUDGED, JudgedRuns
from worker.core.report.formatting import OutsideName as OutsideName
from worker.core.report.formatting import counted, dollars
from worker.core.report.operational import OperationalWeeks
from worker.core.report.reading import ReadingList
from worker.core.report.series import SeriesChange
from worker.core.stats.contrast import Contrasts
from worker.records import Alert, Drift, Estimate

LOW_COVERAGE = 0.8
MIN_LATER_NIGHTS = 3
"""Least number of nights after a finding from which the report says whether the change has stayed."""
CLEAR_RATIO = 1.5
"""A level is clearly different from the old one if it is further away than this times the half-width of its interval.
More than 1, because the old level has an error too: with as many nights both together scatter by √2 more."""
RECOVERED_BELOW = 0.25
"""A finding has recovered when less than this part of its change is left; as in `pipeline.follow`."""
GOOD_FROM = 0.5
"""A run counts as good from this score (0..1) of the primary rubric on."""

StreamState = Literal["tested", "young", "unscored", "elsewhere"]


Sentence = tuple[str, ...]
"""Pieces of text in order; names from outside are `OutsideName`."""


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
    """Nights of the window that are over; None when the whole window is over."""

    @property
    def so_far(self) -> str:
        """`2 of 7 nights so far` for a window that is not over yet; else empty."""
        if self.nights_over is None:
            return ""
        return f"{self.nights_over} of {counted((self.until - self.since).days + 1, 'night')} so far"

    @property
    def week_so_far(self) -> str:
        """As `so_far` where the window is a whole week; else empty."""
        return self.so_far if self.since.weekday() == 0 and (self.until - self.since).days == 6 else ""

    @property
    def title(self) -> str:
        """The window's name for a sentence, with `so_far` where it is not over."""
        return f"{self.label} ({self.so_far})" if self.so_far else self.label


class WeekPoint(NamedTuple):
    """One week of one stream; nothing scored gives a mean of None, never 0."""

    week: str
    series: str
    """The series id: version, with 8 hex of the fingerprint."""
    population: int
    sampled: int
    scored: int
    unscored: int
    mean: float | None
    low: float | None
    high: float | None
    raw_mean: float | None = None
    """Overall line only: the mean at this week's own mix."""

    @property
    def coverage(self) -> float | None:
        """Scored share of the sampled runs, 0..1; None when nothing was sampled."""
        return self.scored / self.sampled if self.sampled else None

    @property
    def is_thin(self) -> bool:
        """Whether the coverage is below 80 %."""
        return self.coverage is not None and self.coverage < LOW_COVERAGE


class Mark(NamedTuple):
    """An event on a night of a stream, shown as a vertical line."""

    night: date
    kind: Literal["version", "series", "finding"]
    text: str
    """The new version, the new series, or the finding's number."""
    why: str = ""
    """Of a new series: what has changed; empty where that is not known."""


class StreamChart(NamedTuple):
    """One small chart: a task type (None: all, at the fixed mix) and a scorer, with all its series."""

    task_type: str | None
    scorer: str
    is_rubric: bool
    points: tuple[WeekPoint, ...]
    """Oldest week first; at most one for each week and series."""
    marks: tuple[Mark, ...]
    nights: int
    """Nights with scores of its series so far."""
    state: StreamState
    series: str | None = None
    """The id of the series that measures its newest nights: every figure of the stream is of this one. None: there is
    only one, that of its points."""
    own_nights: tuple[date, ...] = ()
    """Nights of the weeks shown that this series scored, in its time or in a backfill; empty where there is only one
    series."""
    other_nights: tuple[date, ...] = ()
    """Nights of them that only other series of the scorer scored."""
    learned: Learned = Learned()
    """How far its reference is; of the task type that is the furthest, for all of them."""

    @property
    def of(self) -> str | None:
        """The series that its figures are of; None without points."""
        return self.series or (self.points[-1].series if self.points else None)

    @property
    def newest(self) -> WeekPoint | None:
        """The newest week with a score of its series; None without any."""
        own = (point for point in reversed(self.points) if point.mean is not None and point.series == self.of)
        return next(own, None)

    def has_moved(self, drift: Drift) -> bool:
        """Whether a finding is one of this stream and of the series that its figures are of."""
        key = drift.stream
        return (key.task_type, key.scorer) == (self.task_type, self.scorer) and key.scorer_version in (self.of, None)


class RunRef(NamedTuple):
    """A run to read."""

    run_id: str
    source: str
    figure: float | None
    """The value it was chosen by: score, US dollars or steps; None where it was chosen by its status."""


class LevelSince(NamedTuple):
    """A stream's level since a finding, in its unit: 0..1, US dollars or steps a run."""

    whole: Estimate
    """All nights from the first of the finding's window to the last of the report's."""
    later: Estimate
    """Only the nights after it was found. The window that raised the alarm was the most extreme of many and exaggerates
    the change. The interval is of the underlying level, for comparison with the old one."""
    nights: int
    """Nights after it was found that have scores or runs."""


class Change(NamedTuple):
    """A finding, with what may explain it."""

    drift: Drift
    is_new: bool
    """Found in this window."""
    differs: Contrasts
    """Facts associated with the bad runs of its window and of the four weeks before."""
    bad_means: str
    """What counts as bad here, in words: `scored below 0.5`, `errored`."""
    worst: tuple[RunRef, ...]
    since: LevelSince | None = None
    """None where it is unknown, or the finding has recovered."""
    part_of: int | None = None
    """Number of the finding that it is grouped under, as both may have the same cause; None for one shown by itself."""
    ended: date | None = None
    """The last night of its series, where another has taken over from it: what came after is not compared with it."""

    @property
    def size(self) -> Estimate | None:
        """The level since the finding, to be shown in place of the finding's own window.

        None where it is unknown or lies on the other side of the old level: a drop to more than before would make no
        sense.
        """
        mean = None if self.since is None else self.since.whole.mean
        if self.since is None or mean is None or self.part_left(mean) <= 0:
            return None
        return self.since.whole

    @property
    def has_stayed(self) -> bool | None:
        """Whether the nights after it was found show the change by themselves, without those that raised the alarm.

        True where the old level lies clearly outside their interval and at least a quarter of the change is left; the
        second condition matters because with many runs tiny changes are significant too. None where there are too few
        nights, or it is not clear.
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
        """The part of the found change that is left at a level: 1 for all of it, 0 or less for none."""
        change = self.drift.after - self.drift.before
        return (level - self.drift.before) / change if change else 0.0


class TaskTypeOutcome(NamedTuple):
    """The outcomes of the ended runs of a task type. Statuses are counted; good is estimated from the sample."""

    task_type: str | None
    """None: all task types."""
    completed: int
    aborted: int
    errored: int
    incomplete: int
    good: Estimate
    """Good share of all completed runs, estimated from the sample, 0..1."""

    @property
    def runs(self) -> int:
        """Ended runs."""
        return self.completed + self.aborted + self.errored + self.incomplete


class ScorerCounts(NamedTuple):
    """The counts of one scorer over the window; `ended` is the sum of the counts after it."""

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
    """State, reason, runs of unscored, failed and skipped (shed) runs; most first."""

    @property
    def coverage(self) -> float | None:
        """Scored share of the runs drawn for it, 0..1; None when none were."""
        drawn = self.scored + self.unscored + self.failed + self.shed + self.pending
        return self.scored / drawn if drawn else None


class JudgeUsage(NamedTuple):
    """What one judge model was used for in the window, and what it cost."""

    model: str
    """As the server names it; as requested where it does not."""
    verdicts: int
    priced: int
    """Verdicts of known cost; `cost_usd` is theirs."""
    cost_usd: float
    input_tokens: int
    output_tokens: int


class Sensitivity(NamedTuple):
    """The smallest drop that would have been found in a stream."""

    task_type: str | None
    drop: float | None
    """Additional failed share of the runs of the last nights, 0..1; None where no drop would have been found."""


class UntestedStream(NamedTuple):
    """A stream of the primary rubric without a smallest drop, and why."""

    task_type: str | None
    reason: str


class SampleSummary(NamedTuple):
    """What was sampled and scored, whether the counts add up, and what it cost."""

    tallies: tuple[ScorerCounts, ...]
    reconciles: bool
    judged: tuple[JudgeUsage, ...]
    """By judge model, most verdicts first."""
    sensitivity: tuple[Sensitivity, ...]
    """For the primary rubric's streams that were tested and have no finding; overall line first."""
    untold: tuple[UntestedStream, ...]
    """The other streams of the primary rubric, in the same order."""
    sensitivity_nights: int
    false_alarms_per_year: float
    quality: JudgedRuns = NOTHING_JUDGED
    """By all series of the primary rubric together."""

    @property
    def judging_usd(self) -> float | None:
        """Known cost of judging, US dollars; None where no verdict has a known cost, 0 without verdicts."""
        if self.judged and not any(model.priced for model in self.judged):
            return None
        return sum(model.cost_usd for model in self.judged)

    @property
    def judging_cost(self) -> str:
        """The same in words, with the answers that are not in it: `$0.030 and 18 answers of unknown price`."""
        if self.judging_usd is None:
            return "an unknown price"
        unknown = sum(model.verdicts - model.priced for model in self.judged)
        rest = f" and {counted(unknown, 'answer')} of unknown price" if unknown else ""
        return f"{dollars(self.judging_usd)}{rest}"


class Report(NamedTuple):
    """The whole weekly review."""

    window: Window | None
    """None for a store without runs."""
    task_type: str | None
    """The only task type of the report; None for all."""
    series_changes: tuple[SeriesChange, ...]
    """Where another series of a scorer took over in the weeks shown, oldest first."""
    primary_series: str | None
    """The series of the primary rubric that every figure of quality is of; None where none is."""
    sentences: tuple[Sentence, ...]
    """One to three sentences, the most important first."""
    primary: str | None
    """The rubric that decides what a good run is; None where no rubric is active or has scores."""
    streams: tuple[StreamChart, ...]
    """Rubrics first, streams with findings first in each."""
    changes: tuple[Change, ...]
    """Findings of the window, and older ones that are still open; newest first."""
    alerts: tuple[Alert, ...]
    """Other alerts of the window (costly runs, a day's spend); those of urgency `now` first."""
    groups: tuple[TaskTypeOutcome, ...]
    """All task types together first, then those with most runs."""
    operations: tuple[OperationalWeeks, ...]
    common: Contrasts
    """Facts associated with bad runs in the whole window."""
    reading: ReadingList
    sampled: SampleSummary
    made_at: datetime
    store: str
    """The database URL without its password."""
    time_zone: str
    version: str
    """Spotcheck's version."""

    @property
    def primary_counts(self) -> list[ScorerCounts]:
        """The counts of the series that the figures of quality are of; empty where there is none."""
        own = [counts for counts in self.sampled.tallies if counts.scorer == self.primary]
        return [counts for counts in own if self.primary_series in (None, counts.series)]
