"""What a judge call costs, in US dollars; an unknown price is None, never zero."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

MTOK = 1_000_000
QUARTER_HOUR_S = 900


class PriceOverride(NamedTuple):
    """A model's price as the settings give it, US dollars for a million tokens."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None = None
    """Input that the server had cached; None charges it like any input."""

    def cost_usd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """The price of one call."""
        cached_usd = self.cached_input_usd_per_mtok
        if cached_usd is None:
            cached_usd = self.input_usd_per_mtok
        fresh = (input_tokens - cached_tokens) * self.input_usd_per_mtok
        return (fresh + cached_tokens * cached_usd + output_tokens * self.output_usd_per_mtok) / MTOK


def price(
    model: str,
    input_tokens: int,
    cached_tokens: int,
    output_tokens: int,
    overrides: Mapping[str, PriceOverride],
    times: float = 1.0,
) -> float | None:
    """The price of one call, from the settings, else from the table of genai-prices.

    The table is as old as the installed package and knows list prices only, no discounts; a service tier's price is a
    multiple of them.

    Args:
        model: As requested, with or without its provider (`openai/gpt-5-mini`).
        input_tokens: All tokens read, cached ones included.
        cached_tokens: Those of them that the server had cached; at most `input_tokens`.
        output_tokens: All tokens written, reasoning included.
        overrides: Prices that win over the table, by model; a name with its provider before one without.
        times: What the call's service tier costs, as a multiple of the price.

    Returns:
        US dollars; None when neither the settings nor the table know the model.

    Example:
        >>> price("mine", 1_000_000, 400_000, 200_000, {"mine": PriceOverride(0.1, 0.5, 0.025)})
        0.17
        >>> price("mine", 1_000_000, 0, 0, {"mine": PriceOverride(0.1, 0.5)}, times=0.5)
        0.05
    """
    cost = _full_price(model, input_tokens, cached_tokens, output_tokens, overrides)
    return None if cost is None else cost * times


def _full_price(
    model: str, input_tokens: int, cached_tokens: int, output_tokens: int, overrides: Mapping[str, PriceOverride]
) -> float | None:
    counts = (input_tokens, cached_tokens, output_tokens)
    for name in dict.fromkeys((model, model.rpartition("/")[2])):
        if name in overrides:
            return overrides[name].cost_usd(*counts)
    listed = _listed_as(model)
    if listed is None:
        return None
    flat = _flat_price(listed, int(time.time() // QUARTER_HOUR_S))
    return flat.cost_usd(*counts) if flat is not None else _table_price(listed, *counts)


class _Listed(NamedTuple):
    """A model's name and provider in the table of genai-prices."""

    name: str
    provider: str | None


def _table_price(listed: _Listed, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
    from genai_prices import Usage, calc_price  # late: importing the table costs 0.3 to 0.7 s

    usage = Usage(input_tokens=input_tokens, cache_read_tokens=cached_tokens, output_tokens=output_tokens)
    return float(calc_price(usage, listed.name, provider_id=listed.provider).total_price)


@lru_cache(maxsize=512)
def _listed_as(model: str) -> _Listed | None:
    """The model's entry in the table: under its full name, else without the provider before it."""
    parts = model.split("/")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        for provider in dict.fromkeys((parts[start - 1] if start else None, None)):
            try:
                _table_price(_Listed(name, provider), 1, 0, 1)
            except LookupError:
                continue
            return _Listed(name, provider)
    return None


@lru_cache(maxsize=512)
def _flat_price(listed: _Listed, quarter_hour: int) -> PriceOverride | None:
    """The model's three unit prices, None when they depend on the size of a call or on the number of calls.

    Looking a price up takes 0.3 ms of CPU, a third of a whole judge call, so it is kept for a quarter of an hour:
    prices that depend on the hour change on the half hour.
    """
    flat = PriceOverride(
        input_usd_per_mtok=_table_price(listed, MTOK, 0, 0),
        output_usd_per_mtok=_table_price(listed, 0, 0, MTOK),
        cached_input_usd_per_mtok=_table_price(listed, MTOK, MTOK, 0),
    )
    sizes = [(0, 0, 0), (1000, 500, 1000), (100_000, 0, 100_000), (10 * MTOK, 5 * MTOK, 10 * MTOK)]
    is_flat = all(abs(flat.cost_usd(*size) - _table_price(listed, *size)) < 1e-9 for size in sizes)
    return flat if is_flat else None
