"""Shares of the false alarms, the Poisson tail and the spend rule, against second implementations and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from worker.core.drift import alerting
from worker.core.drift.season import exposure, profile
from worker.records import Drift, Stream


@given(st.dictionaries(st.text(min_size=1), st.floats(0.1, 10), min_size=1, max_size=30), st.floats(0.01, 1))
def test_shares_sum_to_the_whole_and_keep_their_proportions(weights: dict[str, float], share: float) -> None:
    found = alerting.alarm_shares(weights, share)
    assert sum(found.values()) == pytest.approx(share)
    for key, weight in weights.items():
        assert found[key] / weight == pytest.approx(share / sum(weights.values()))


def test_the_parts_of_the_budget_are_the_whole_budget() -> None:
    parts = (alerting.QUALITY_SHARE, alerting.NIGHTLY_SHARE, alerting.HOURLY_SHARE, alerting.RULES_SHARE)
    assert sum(parts) == pytest.approx(1.0)
    assert alerting.alarm_shares({}, 0.5) == {}


@given(st.integers(0, 400), st.floats(0, 300))
def test_the_poisson_tail_is_scipys(count: int, mean: float) -> None:
    assert alerting.poisson_tail(count, mean) == pytest.approx(poisson.sf(count - 1, mean), rel=1e-6, abs=1e-290)


def test_a_day_that_doubled_is_far_out_and_one_like_the_others_is_not() -> None:
    # log 2 over 1.4826 × .08 = 5.84
    assert alerting.spend_z(200, [100, 100, 100, 100]) == pytest.approx(5.84, abs=0.01)
    assert alerting.spend_z(100, [90, 100, 110, 100]) == pytest.approx(0.0, abs=0.1)
    assert alerting.spend_z(100, [0, 0, 90, 80]) is None
    assert alerting.spend_z(0, [100, 100, 100]) is None


@pytest.mark.slow
def test_the_spend_rule_alarms_rarely_on_days_that_merely_vary() -> None:
    rng = np.random.default_rng(1)
    usual = np.array([1, 1, 1, 1, 1, 0.4, 0.4])
    spent = 100 * np.tile(usual, 52 * 40) * rng.lognormal(0, 0.08, 7 * 52 * 40)
    alarms = sum(
        (alerting.spend_z(spent[day], [spent[day - 7 * week] for week in (1, 2, 3, 4)]) or 0) > alerting.SPEND_Z
        for day in range(28, len(spent))
    )
    # METHODS §6 says .07 a year; 40 years
    assert alarms / 40 < 0.2


def test_cost_and_steps_must_change_by_a_tenth_to_be_told_and_rates_by_nothing() -> None:
    assert not alerting.is_large_enough("cost", 0.0200, 0.0215)
    assert alerting.is_large_enough("cost", 0.0200, 0.0225)
    assert alerting.is_large_enough("errors", 0.0200, 0.0205)


def test_a_finding_is_told_in_one_line_with_its_unit_and_window() -> None:
    one = Drift(
        stream=Stream("billing", "tool_failure:issue_refund", "1"),
        kind="tool",
        direction="up",
        before=0.021,
        after=0.31,
        window_nights=1,
        window_hours=4,
        scored=61,
        z=6.0,
        chance_per_year=0.02,
        since="2026-11-20",
        found_night="2026-11-20",
    )
    assert alerting.finding_text(one) == (
        "billing, failures of tool issue_refund: 2.1 % → 31.0 % over the last 4 hours (61 runs); "
        "beyond doubt, chance alone: less than once in 50 years"
    )


@given(st.integers(0, 3))
def test_no_time_of_day_is_seen_where_chance_alone_would_show_as_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * 28) % 24
    n = np.full(len(hours), 12.0)
    factors = profile(n, rng.binomial(12, 0.03, len(hours)).astype(float), hours)
    assert np.all(np.abs(factors - 1) < 0.6)


def test_a_time_of_day_is_taken_out_of_the_runs_and_never_out_of_the_failures() -> None:
    hours = np.arange(24 * 28) % 24
    rate = 0.1 * (1 + 0.6 * np.sin(hours / 24 * 2 * np.pi))
    n, s = np.full(len(hours), 100.0), 100 * rate
    even = s / exposure(n, s, hours, profile(n, s, hours))
    assert np.ptp(even) < 0.05 * np.ptp(rate)
    assert np.all(exposure([5.0], [5.0], [0], np.full(24, 0.25)) == [5.0])
    assert profile([], [], []).tolist() == [1.0] * 24
