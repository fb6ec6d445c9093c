"""Whether any stream was tested yet: before that no finding means nothing, and nobody must take it for calm."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.core.drift.learning import Learned, furthest, learned
from worker.core.drift.thresholds import MIN_RUNS, OPERATIONAL
from worker.project.project import Project
from worker.queries.report.series import RECENT_WEEKS, series_history
from worker.store.results import cells
from worker.store.runs import operational, runs


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
            learned(span.first, span.last, span.nights)
            for span in cells.compared_spans(connection)
            if span.scorer not in OPERATIONAL and span.scorer_pk not in over
        ]
        watched = [
            learned(first, last, nights) if count >= MIN_RUNS else Learned(said=f"no task type has {MIN_RUNS} runs yet")
            for first, last, nights, count in operational.watched_spans(connection)
        ]
    return Learning(has_runs, furthest(scored), furthest(watched))


def _over(connection: Connection) -> frozenset[int]:
    """Series that another has taken over from: what they have learned is of no use to it."""
    span = runs.night_span(connection)
    if span is None:
        return frozenset()
    return series_history(connection, span[1] - timedelta(weeks=RECENT_WEEKS), span[1]).over


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
        return f"nothing tested yet: {furthest((known.quality, known.operations)).said}"
    if not known.quality.is_tested:
        return f"quality is not tested yet: {known.quality.said}"
    if not known.operations.is_tested:
        return f"error rates, cost and steps are not tested yet: {known.operations.said}"
    return None
