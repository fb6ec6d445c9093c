"""What nights came to, in one answer: scored, unscored by reason, skipped and why, and what is open beside them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from worker.project.project import Project
from worker.records import Alert
from worker.store.results import alerts, counts, findings
from worker.store.results.counts import NightOutcome


class NightSummary(NamedTuple):
    """What the jobs of some nights came to, and what needs a person."""

    outcomes: Sequence[NightOutcome]
    """By scorer, judges first."""
    unscored: Mapping[str, Mapping[str, int]]
    """Runs without a score, by scorer and reason."""
    open_findings: int
    """Findings that nobody has decided about, of all nights."""
    pipeline: Sequence[Alert]
    """The open alerts about the pipeline itself."""

    def total(self, kind: str, what: str) -> int:
        """A count of all scorers of a kind (`judge` or `heuristic`): scored, unscored, failed or open."""
        return sum(int(getattr(one, what)) for one in self.outcomes if one.kind == kind)

    def skipped(self) -> dict[str, int]:
        """Jobs of judges that were skipped, by reason; the most frequent first."""
        return _summed(one.shed for one in self.outcomes if one.kind == "judge")

    def reasons(self) -> dict[str, int]:
        """Runs that judges gave no score, by reason; the most frequent first."""
        judges = {one.scorer for one in self.outcomes if one.kind == "judge"}
        return _summed(reasons for name, reasons in self.unscored.items() if name in judges)


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total.most_common())


def night_summary(project: Project, nights: Sequence[date]) -> NightSummary:
    """What these nights came to; zeros for none."""
    with project.store.read() as connection:
        return NightSummary(
            counts.night_outcomes(connection, nights) if nights else [],
            counts.unscored_reasons(connection, nights) if nights else {},
            findings.count_undecided(connection),
            [one for one in alerts.list_alerts(connection) if one.kind == "pipeline" and one.state == "open"],
        )
