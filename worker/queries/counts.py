"""The counts of some nights by scorer, and whether every ended run is accounted for."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.project.project import Project
from worker.queries.empty import EmptyFilter, nights_option
from worker.queries.unread import Unread, unread_rubrics
from worker.records import ScorerKey
from worker.store.queue import enrol, progress
from worker.store.results import counts, trends
from worker.store.results.counts import (
    NightCounts as NightCounts,  # for those who show counts and may not see the store
)
from worker.store.runs import draws, runs

TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")
"""The terms of the reconciliation: the first is the sum of the others."""
_NIGHTS = 14


class WithoutScore(NamedTuple):
    """Jobs of one scorer that ended without a score for one reason."""

    scorer: str
    scorer_version: str
    state: str
    """unscored · failed · shed."""
    reason: str
    """Up to its first colon."""
    jobs: int


class CountWindow(NamedTuple):
    """The counts of some nights."""

    first: date
    last: date
    rows: Sequence[NightCounts]
    """One for each night with runs and each scorer enrolled for it; oldest night first."""
    keys: Mapping[tuple[str, str], ScorerKey]
    """Every scorer ever registered by name and series, the oldest first."""
    drawn: Collection[date]
    """The nights of the window that are drawn."""
    backfilled: Collection[tuple[str, str, date]] = ()
    """Scorer name, series and night where a backfill enrolled it; the night's draw had not."""
    span: tuple[date, date] | None = None
    """The first and the last night with runs, of all; None where there are none."""
    without: Sequence[WithoutScore] = ()
    """Why jobs of judges ended without a score, by scorer, the most frequent reason first."""
    unread: Sequence[Unread] = ()
    """Active rubrics of whose newest night, in the window or not, no run has a score."""

    @property
    def reconciles(self) -> bool:
        """Whether every ended run is accounted for."""
        return all(row.reconciles for row in self.rows)

    @property
    def totals(self) -> dict[str, int]:
        """Each term summed over nights and scorers."""
        return {term: sum(getattr(row, term) for row in self.rows) for term in TERMS}

    @property
    def pending_undrawn(self) -> int:
        """Pending runs of nights that are not drawn yet, by the scorer that will look at most of them."""
        by_scorer: Counter[tuple[str, str]] = Counter()
        for row in self.rows:
            if row.night not in self.drawn:
                by_scorer[row.scorer, row.scorer_version] += row.pending
        return max(by_scorer.values(), default=0)

    @property
    def empty(self) -> list[EmptyFilter]:
        """The nights, where runs are of others only."""
        if self.rows or self.span is None or (self.first <= self.span[1] and self.last >= self.span[0]):
            return []
        option, value = nights_option(self.first, self.last)
        return [EmptyFilter(option, value, "nights", [f"{self.span[0]} to {self.span[1]}"])]


def read_counts(project: Project, first: date | None, last: date | None, now: datetime) -> CountWindow:
    """Count nights. With a million runs this takes most of a second.

    Args:
        project: Whose runs.
        first: First night; None for the last 14 that may have runs.
        last: Last night, included; None for the newest with runs.
        now: The time by the schedule's clock.
    """
    active = project.scorers.active()
    start = project.nights.start()
    with project.store.read() as connection:
        span = runs.night_span(connection)
        last = last or max(span[1] if span else project.nights.last_over(now), first or date.min)
        first = first or last - timedelta(days=min(_NIGHTS - 1, last.toordinal() - 1))
        rows = counts.night_counts(connection, first, last, active, start)
        keys = {(entry.key.name, entry.key.series): entry.key for entry in [*active, *enrol.registered(connection)]}
        backfilled = set(trends.backfilled_nights(connection, first, last))
        drawn = set(draws.drawn_nights(connection, first, last))
        window = CountWindow(first, last, rows, keys, drawn, backfilled, span, _without(connection, first, last))
    return window._replace(unread=unread_rubrics(project))


def _without(connection: Connection, first: date, last: date) -> list[WithoutScore]:
    known = {entry.pk: entry.key for entry in enrol.registered(connection)}
    jobs: Counter[tuple[str, str, str, str]] = Counter()
    for one in progress.outcomes(connection, first, last):
        key = known.get(one.scorer_pk)
        if key is not None and key.kind == "judge" and one.reason is not None:
            jobs[key.name, key.series, one.state, one.reason] += one.jobs
    return sorted((WithoutScore(*of, n) for of, n in jobs.items()), key=lambda one: (one[:2], -one.jobs, one.reason))
