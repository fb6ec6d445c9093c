"""How often a second judge was called, what that cost, and how often it agreed with the first."""

from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, case, func, select

from worker.store.tables import ScoreRow, ScorerRow, core

score, scorer = core(ScoreRow), core(ScorerRow)


class Escalations(NamedTuple):
    """The escalations of one scorer over some nights."""

    scorer_pk: int
    name: str
    series: str
    first: str
    """The model that is called first."""
    second: str
    """The model that is called where the first verdict is in doubt."""
    judged: int
    """Runs judged by the first model."""
    escalated: int
    """Of them, runs judged by the second model too."""
    first_usd: float
    """Cost of the first model's calls for the escalated runs, US dollars, where known; cached answers cost 0."""
    second_usd: float
    """Cost of the second model's calls, US dollars, where known."""
    compared: int
    """Escalated runs for which both models gave a verdict."""
    agreed: int
    """Of them, runs with the same label."""

    @property
    def rate(self) -> float | None:
        """Escalated share of the judged runs, 0..1; None when nothing was judged."""
        return self.escalated / self.judged if self.judged else None

    @property
    def agreement(self) -> float | None:
        """Agreed share of the compared runs, 0..1; None when nothing was compared."""
        return self.agreed / self.compared if self.compared else None


def escalations(connection: Connection, since: date, until: date) -> list[Escalations]:
    """The escalations of every scorer with a second judge that judged runs of these nights (bounds included).

    Sorted by name and series. A scorer whose second judge was never needed has zeros. Uses score_by_night.
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
    result = []
    for pk, count in judged.items():
        row = cascades[pk]
        first, second = str(row.spec["model"]), str(row.spec["escalate"]["to"])
        result.append(Escalations(pk, row.name, row.series, first, second, count, *both.get(pk, (0, 0.0, 0.0, 0, 0))))
    return sorted(result, key=lambda scorer_escalations: (scorer_escalations.name, scorer_escalations.series))


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
    """By scorer: escalated runs, cost of the first and the second model (US dollars), compared runs, agreed runs."""
    overruled, counting = score.alias("overruled"), score.alias("counting")
    same = [overruled.c[name] == counting.c[name] for name in ("run_pk", "scorer_pk", "revision", "replicate")]
    # the overruled verdict is stored with purpose `escalation`: the first one's, unless only that one was readable
    is_first = overruled.c.model_requested == scorer.c.spec["model"].as_string()
    overruled_usd, counting_usd = (func.coalesce(verdict.c.cost_usd, 0.0) for verdict in (overruled, counting))
    are_scored = (overruled.c.outcome == "scored") & (counting.c.outcome == "scored")
    statement = (
        select(
            overruled.c.scorer_pk,
            func.count(),
            func.sum(case((is_first, overruled_usd), else_=counting_usd)),
            func.sum(case((is_first, counting_usd), else_=overruled_usd)),
            func.count().filter(are_scored),
            func.count().filter(are_scored & (overruled.c.label == counting.c.label)),
        )
        .select_from(overruled)
        .join(counting, (counting.c.purpose == "production") & counting.c.criterion.is_(None) & same[0] & same[1])
        .join(scorer, scorer.c.pk == overruled.c.scorer_pk)
        .where(
            overruled.c.night.between(since, until),
            overruled.c.scorer_pk.in_(pks),
            overruled.c.criterion.is_(None),
            overruled.c.purpose == "escalation",
            *same[2:],
        )
        .group_by(overruled.c.scorer_pk)
    )
    return {
        pk: (count, float(first), float(second), compared, agreed)
        for pk, count, first, second, compared, agreed in connection.execute(statement)
    }
