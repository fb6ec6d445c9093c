"""What judging a sample will cost: from what the scorer's past scores cost, else from the most it can cost."""

from collections.abc import Sequence
from typing import NamedTuple

from worker.project.project import Project
from worker.records.sample import StratumDraw
from worker.store.results import scores


class Cost(NamedTuple):
    """An estimate, US dollars; 0.0 without a judge, None when a price is unknown."""

    usd: float | None
    """The way the settings, or a person, want it."""
    at_once_usd: float | None
    in_batches_usd: float | None
    """With everything in batches that may be."""
    most_usd: float | None = None
    """As `usd`, when every answer is the dearest; None when a price is unknown."""
    is_by_past: bool = False
    """Whether `usd` is by what such scores cost so far, of every rubric; else it is the most for some."""


def of_strata(project: Project, strata: Sequence[StratumDraw]) -> Cost:
    """What scoring these strata will cost; runs that a rubric's filter would leave out later are counted."""
    if not project.settings.is_judge_configured:
        return Cost(0.0, 0.0, 0.0, 0.0)
    batch_price = project.settings.judge.tier_prices["batch"]
    usd = at_once = in_batches = 0.0
    most: float | None = 0.0
    is_by_past = True
    for registered, scorer in project.scorers.unstored():
        if registered.key.kind != "judge":
            continue
        applies = registered.applies_to
        own = [
            draw
            for draw in strata
            if not applies.task_types or "*" in applies.task_types or draw.stratum.task_type in applies.task_types
        ]
        with project.store.read() as connection:
            mean = scores.mean_cost(connection, registered.pk, project.settings.judge.tier_prices)
        each = project.prices.max_usd(scorer) if mean is None else mean
        if each is None:
            return Cost(None, None, None)
        for draw in own:
            price = draw.sampled * each
            is_batched = project.lanes.is_batched(scorer, is_backfill=project.nights.is_backfill(draw.night))
            at_once += price
            is_by_past &= mean is not None or not draw.sampled
            dearest = project.prices.most_usd(scorer, is_batched=is_batched)
            most = None if most is None or dearest is None else most + draw.sampled * dearest
            usd += price * (batch_price if is_batched else 1.0)
            in_batches += price * (batch_price if scorer.is_batchable else 1.0)
    return Cost(usd, at_once, in_batches, most, is_by_past)
