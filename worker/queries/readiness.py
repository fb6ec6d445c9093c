"""Whether any stream was tested yet: before that no finding means nothing, and nobody must take it for calm."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.core.drift.thresholds import LEARN_NIGHTS, MIN_RUNS, OPERATIONAL, USABLE_NIGHTS
from worker.project.project import Project
from worker.queries.report.series import RECENT_WEEKS, series_history
from worker.store.results import cells
from worker.store.runs import operational, runs


class Learned(NamedTuple):
    """How far the furthest stream of a kind is."""

    share: float = 0.0
    """Of what must be learned; 1 when it is tested."""
    said: str = f"0 of {LEARN_NIGHTS} nights are learned"

    @property
    def is_tested(self) -> bool:
        """Whether its newest night was compared with its past."""
        return self.share >= 1


class Learning(NamedTuple):
    """How far the project is."""

    has_runs: bool
    """Whether a run was ever taken in."""
    quality: Learned
    """Streams of the sample's scores."""
    operations: Learned
    """Streams of what every run shows."""

    @property
    def is_tested(self) -> bool:
        """Whether anything was."""
        return self.quality.is_tested or self.operations.is_tested


def learning(project: Project) -> Learning:
    """How many nights are learned, counted in the stored summaries as the scan takes them.

    Of each scorer the series counts that measures the newest nights: a new one learns anew.
    """
    with project.store.read() as connection:
        has_runs = runs.night_span(connection) is not None
        over = _over(connection)
        scored = [
            _learned(span.first, span.last, span.nights)
            for span in cells.compared_spans(connection)
            if span.scorer not in OPERATIONAL and span.scorer_pk not in over
        ]
        watched = [
            _learned(first, last, nights)
            if count >= MIN_RUNS
            else Learned(said=f"no task type has {MIN_RUNS} runs yet")
            for first, last, nights, count in operational.watched_spans(connection)
        ]
    return Learning(has_runs, _furthest(scored), _furthest(watched))


def _over(connection: Connection) -> frozenset[int]:
    """Series that another has taken over from: what they have learned is of no use to it."""
    span = runs.night_span(connection)
    if span is None:
        return frozenset()
    return series_history(connection, span[1] - timedelta(weeks=RECENT_WEEKS), span[1]).over


def _learned(first: date, last: date, nights: int) -> Learned:
    """A stream by its first night, the newest that was looked at, and how many of its nights tell something."""
    span = (last - first).days + 1
    done, needed = (span, LEARN_NIGHTS) if span <= LEARN_NIGHTS else (nights - 1, USABLE_NIGHTS)
    if span > LEARN_NIGHTS and done >= needed:
        return Learned(1.0, "")
    # the night after the last that is learned is the first to be tested
    return Learned(0.99 * done / needed, f"{done} of {needed} nights {'is' if done == 1 else 'are'} learned")


def _furthest(found: Iterable[Learned]) -> Learned:
    return max(found, key=lambda learned: learned.share, default=Learned())


def untested(known: Learning) -> str | None:
    """What must be said beside "nothing found"; None once scores and the figures of all runs have been tested.

    Example:
        >>> untested(Learning(True, Learned(0.5, "7 of 14 nights are learned"), Learned()))
        'nothing tested yet: 7 of 14 nights are learned'
        >>> untested(Learning(True, Learned(0.1, "1 of 14 nights is learned"), Learned(1.0)))
        'quality is not tested yet: 1 of 14 nights is learned'
        >>> untested(Learning(False, Learned(), Learned()))
        'nothing tested yet: no run was ever taken in (spotcheck ingest)'
    """
    if not known.has_runs:
        return "nothing tested yet: no run was ever taken in (spotcheck ingest)"
    if not known.is_tested:
        return f"nothing tested yet: {_furthest((known.quality, known.operations)).said}"
    if not known.quality.is_tested:
        return f"quality is not tested yet: {known.quality.said}"
    if not known.operations.is_tested:
        return f"error rates, cost and steps are not tested yet: {known.operations.said}"
    return None
