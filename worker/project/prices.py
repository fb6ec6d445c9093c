"""What judge calls cost in this project: the shipped table, the prices of the settings, and the tiers."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from worker.errors import SettingsError
from worker.judge.prices import PriceOverride, price
from worker.project.nights import Nights
from worker.settings.sections_judge import JudgeSection

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.project.scorers import ScorerSet
    from worker.scorers.protocol import MostTokens, Scorer
    from worker.store.budget.accounts import SpendingLimits


class PriceBook:
    """Prices of one project's judges, US dollars."""

    def __init__(self, judge: JudgeSection, scorers: "ScorerSet") -> None:
        """Read nothing yet.

        Args:
            judge: Budgets, prices of single models, and factors of the service tiers.
            scorers: Those that the next draw would enrol; only `check` reads them.
        """
        self._judge, self._scorers = judge, scorers

    def price(
        self, model: str, input_tokens: int, cached_tokens: int, output_tokens: int, tier: str | None = None
    ) -> float | None:
        """What a call costs that was served on this tier, US dollars; None when unknown."""
        factor = self._judge.tier_prices.get(tier or "", 1.0)
        return price(model, input_tokens, cached_tokens, output_tokens, self._overrides, factor)

    def max_usd(self, scorer: "Scorer", tier: str | None = None) -> float | None:
        """The most one score of a scorer can cost, all its judges together, US dollars; None when a price is unknown.

        Args:
            scorer: Which one.
            tier: Where nothing else can serve it, as in a batch, which no second judge is asked in. None is the full
                price, or that of a dearer tier that the rubric asks for: what was to be flex may be served by default.
        """
        requested = str(scorer.key.spec.get("service_tier"))
        factor = max(1.0, self._judge.tier_prices.get(requested, 1.0)) if tier is None else 1.0
        total = 0.0
        for bound in scorer.max_tokens if tier is None else scorer.max_tokens[:1]:
            call_usd = self._longest_call_usd(bound, tier)
            if call_usd is None:
                return None
            total += bound.calls * call_usd * factor
        return total

    def most_usd(self, scorer: "Scorer", *, is_batched: bool) -> float | None:
        """As `max_usd`, for a score that is asked for at once or in a batch.

        A second judge is asked at once and at the full price, wherever the first was asked.
        """
        return self.max_usd(scorer, "batch" if is_batched and len(scorer.max_tokens) == 1 else None)

    def check(self, scorers: "Iterable[Scorer] | None" = None, *, is_backfill: bool = False) -> None:
        """Refuse a budget that cannot be kept.

        Args:
            scorers: Those that are going to ask; None for those that the next draw would enrol.
            is_backfill: Whether the budget of backfills counts too.

        Raises:
            SettingsError: A budget is set, the price of a judge that it is for is unknown, and that is not allowed.
        """
        judge = self._judge
        if not judge.has_budget or judge.unknown_price == "allow":
            return
        asking = self._scorers.all if scorers is None else scorers
        has_own = is_backfill and judge.backfill_usd_per_day is not None
        capped = (scorer for scorer in asking if has_own or judge.is_capped(scorer.key.name))
        for bound in (bound for scorer in capped for bound in scorer.max_tokens):
            if self._longest_call_usd(bound) is None:
                raise SettingsError(
                    f"a judge's budget is set, but the price of {bound.model!r} is unknown; give it in "
                    f'[judge.prices."{bound.model}"], or set judge.unknown_price = "allow"'
                )

    @cached_property
    def _overrides(self) -> Mapping[str, PriceOverride]:
        return {
            model: PriceOverride(entry.input_usd_per_mtok, entry.output_usd_per_mtok, entry.cached_input_usd_per_mtok)
            for model, entry in self._judge.prices.items()
        }

    def _longest_call_usd(self, bound: "MostTokens", tier: str | None = None) -> float | None:
        """What the longest call costs, US dollars: the price of a token may depend on the size of the call."""
        input_tokens, output_tokens = (-(-count // bound.calls) for count in (bound.input_tokens, bound.output_tokens))
        return self.price(bound.model, input_tokens, 0, output_tokens, tier)


def spending_limits(
    judge: JudgeSection, nights: Nights, now: datetime, max_usd: Mapping[int, float]
) -> "SpendingLimits":
    """What judging may spend now.

    Args:
        judge: The budgets.
        nights: The calendar that days of money are of.
        now: The time.
        max_usd: The most one job can cost, US dollars, by scorer key.
    """
    from worker.store.budget.accounts import RubricCap, SpendingLimits  # with all tables, which few commands need

    day = nights.of(now)
    return SpendingLimits(
        day,
        math.inf if judge.budget_usd_per_day is None else judge.budget_usd_per_day,
        max_usd,
        judge.budget_usd_per_month,
        {name: RubricCap(entry.usd_per_day, entry.usd_per_month) for name, entry in judge.budgets.items()},
        judge.backfill_usd_per_day,
        nights.begins_at(day + timedelta(days=1)),
    )
