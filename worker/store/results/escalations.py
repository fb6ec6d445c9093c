"""How often a second judge was asked, what that cost, and how often it agreed with the first."""

from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, case, func, select

from worker.store.tables import ScoreRow, ScorerRow, core

score, scorer = core(ScoreRow), core(ScorerRow)


class Escalations(NamedTuple):
    """Of one scorer over some nights."""

    scorer_pk: int
    name: str
    series: str
    first: str
    """The model that is asked first."""
    second: str
    judged: int
    """Runs that were asked about."""
    escalated: int
    """Of them, those that the second judge was asked about too."""
    first_usd: float
    """What the first judge's calls about those cost, US dollars, as far as known; kept answers cost nothing."""
    second_usd: float
    """What the second one's cost."""
    compared: int
    """Escalated runs that both judges decided."""
    agreed: int
    """Of them, those with the same label."""

    @property
    def rate(self) -> float | None:
        """Escalated of judged, 0..1; None when nothing was judged."""
        return self.escalated / self.judged if self.judged else None

    @property
    def agreement(self) -> float | None:
        """Agreed of compared, 0..1; None when nothing can be compared."""
        return self.agreed / self.compared if self.compared else None


def escalations(connection: Connection, since: date, until: date) -> list[Escalations]:
    """Of every scorer with a second judge that was asked about runs of these nights, bounds included; by name, series.

    A scorer with a second judge that was never needed is there with zeros. Uses score_by_night.
    """
    cascades = {
        row.pk: row
        for row in connection.execute(select(scorer.c.pk, scorer.c.name, scorer.c.series, scorer.c.spec))
        if "escalate" in row.spec
    }
    if not cascades:
        return []
    judged = _judged(connection, since, until, list(cascades))
    both = _both(connection, since, until, list(cascades))
    found = []
    for pk, count in judged.items():
        row = cascades[pk]
        first, second = str(row.spec["model"]), str(row.spec["escalate"]["to"])
        found.append(Escalations(pk, row.name, row.series, first, second, count, *both.get(pk, (0, 0.0, 0.0, 0, 0))))
    return sorted(found, key=lambda one: (one.name, one.series))


def _judged(connection: Connection, since: date, until: date, pks: list[int]) -> dict[int, int]:
    statement = (
        select(score.c.scorer_pk, func.count().label("judged"))
        .where(
            score.c.night.between(since, until),
            score.c.scorer_pk.in_(pks),
            score.c.criterion.is_(None),
            score.c.purpose == "production",
            score.c.model_requested.is_not(None),
        )
        .group_by(score.c.scorer_pk)
    )
    return {row.scorer_pk: row.judged for row in connection.execute(statement)}


def _both(
    connection: Connection, since: date, until: date, pks: list[int]
) -> dict[int, tuple[int, float, float, int, int]]:
    """Escalated, first's and second's dollars, compared, agreed; by scorer."""
    beside, counts = score.alias("beside"), score.alias("counts")
    same = [beside.c[name] == counts.c[name] for name in ("run_pk", "scorer_pk", "revision", "replicate")]
    # the verdict beside is the first one's, unless only that one could be read
    is_first = beside.c.model_requested == scorer.c.spec["model"].as_string()
    beside_usd, counts_usd = (func.coalesce(each.c.cost_usd, 0.0) for each in (beside, counts))
    are_scored = (beside.c.outcome == "scored") & (counts.c.outcome == "scored")
    statement = (
        select(
            beside.c.scorer_pk,
            func.count(),
            func.sum(case((is_first, beside_usd), else_=counts_usd)),
            func.sum(case((is_first, counts_usd), else_=beside_usd)),
            func.count().filter(are_scored),
            func.count().filter(are_scored & (beside.c.label == counts.c.label)),
        )
        .select_from(beside)
        .join(counts, (counts.c.purpose == "production") & counts.c.criterion.is_(None) & same[0] & same[1])
        .join(scorer, scorer.c.pk == beside.c.scorer_pk)
        .where(
            beside.c.night.between(since, until),
            beside.c.scorer_pk.in_(pks),
            beside.c.criterion.is_(None),
            beside.c.purpose == "escalation",
            *same[2:],
        )
        .group_by(beside.c.scorer_pk)
    )
    return {
        pk: (count, float(first), float(second), compared, agreed)
        for pk, count, first, second, compared, agreed in connection.execute(statement)
    }
