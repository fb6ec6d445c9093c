"""Prices: the settings' first, then the public table, else unknown."""

import pytest

from worker.judge.prices import PriceOverride, price

OWN = {"mine": PriceOverride(0.1, 0.5), "acme/mine": PriceOverride(1.0, 1.0), "gpt-5-mini": PriceOverride(7.0, 7.0)}


@pytest.mark.parametrize(
    "model", ["gpt-5-mini", "openai/gpt-5-mini", "gpt-5-mini-2025-08-07", "openrouter/openai/gpt-5-mini"]
)
def test_a_known_model_costs_its_list_price(model: str) -> None:
    # gpt-5-mini: 0.25 a million in, 0.025 cached, 2.00 out.
    # 600,000 * 0.25/M + 400,000 * 0.025/M + 200,000 * 2/M = 0.15 + 0.01 + 0.40 = 0.56
    assert price(model, 1_000_000, 400_000, 200_000, {}) == pytest.approx(0.56)


def test_the_settings_price_wins_over_the_table() -> None:
    assert price("gpt-5-mini", 1_000_000, 0, 1_000_000, OWN) == pytest.approx(14.0)


def test_cached_input_costs_its_own_price_or_the_full_one() -> None:
    # 500,000 * 0.1/M + 500,000 * 0.1/M + 100,000 * 0.5/M = 0.05 + 0.05 + 0.05
    assert price("mine", 1_000_000, 500_000, 100_000, OWN) == pytest.approx(0.15)
    # with a cached price of 0.02: 0.05 + 0.01 + 0.05
    assert price("mine", 1_000_000, 500_000, 100_000, {"mine": PriceOverride(0.1, 0.5, 0.02)}) == pytest.approx(0.11)


def test_a_price_of_zero_is_known() -> None:
    assert price("local", 5, 0, 5, {"local": PriceOverride(0.0, 0.0)}) == 0.0


def test_a_tier_costs_a_multiple_wherever_the_price_comes_from() -> None:
    assert price("gpt-5-nano", 1_000_000, 0, 0, {}, 0.5) == pytest.approx(0.025)  # 0.05 a million in
    assert price("mine", 1_000_000, 0, 0, OWN, 2.0) == pytest.approx(0.2)
    assert price("no-such-model", 1, 0, 1, {}, 0.5) is None


def test_a_name_with_its_provider_goes_before_the_bare_name() -> None:
    assert price("acme/mine", 1_000_000, 0, 0, OWN) == pytest.approx(1.0)
    assert price("other/mine", 1_000_000, 0, 0, OWN) == pytest.approx(0.1)


@pytest.mark.parametrize("model", ["no-such-model", "simulated-judge", "acme/unheard-of", "", "/", "gpt-99-nano"])
def test_an_unknown_model_has_no_price_rather_than_none_to_pay(model: str) -> None:
    assert price(model, 1000, 0, 1000, {}) is None


def test_a_price_that_grows_with_the_call_is_taken_from_the_table() -> None:
    # claude-sonnet-4-5: 3.00 a million in and 15.00 out; 6.00 and 22.50 when the call reads over 200,000 tokens.
    # 100,000 * 3/M + 10,000 * 15/M = 0.30 + 0.15; 400,000 * 6/M + 10,000 * 22.5/M = 2.40 + 0.225
    assert price("claude-sonnet-4-5", 100_000, 0, 10_000, {}) == pytest.approx(0.45)
    assert price("anthropic/claude-sonnet-4-5", 400_000, 0, 10_000, {}) == pytest.approx(2.625)
