"""Operational figures: buckets, ranks against a second implementation, tools bounded in number."""

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from worker.core.drift.operational import (
    OTHER_TOOLS,
    ZERO_BUCKET,
    RunFigures,
    bucket,
    count_from,
    lower_bound,
    merge_histograms,
    rank_sums,
    ridits,
    sum_figures,
    tail_bucket,
)

histograms = st.dictionaries(st.integers(-50, 50), st.integers(1, 40), min_size=1, max_size=12)


@given(st.floats(1e-9, 1e9))
def test_a_value_lies_in_its_bucket(value: float) -> None:
    key = bucket(value)
    assert lower_bound(key) <= value * (1 + 1e-9)
    assert value <= lower_bound(key + 1) * (1 + 1e-9)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_what_has_no_logarithm_goes_into_the_bucket_of_nought(value: float) -> None:
    assert bucket(value) == ZERO_BUCKET


@given(histograms)
def test_the_reference_scored_by_itself_has_mean_one_half(reference: dict[int, int]) -> None:
    s, ss = rank_sums(reference, ridits(reference))
    n = sum(reference.values())
    assert s / n == pytest.approx(0.5)
    assert ss <= s + 1e-9


@given(histograms, histograms)
def test_the_mean_rank_is_the_mann_whitney_statistic(reference: dict[int, int], night: dict[int, int]) -> None:
    x = np.repeat(list(night), list(night.values()))
    y = np.repeat(list(reference), list(reference.values()))
    u = mannwhitneyu(x, y, method="asymptotic").statistic
    s, _ = rank_sums(night, ridits(reference))
    assert s / len(x) == pytest.approx(u / (len(x) * len(y)))


@given(histograms, st.floats(0.001, 0.5))
def test_at_most_the_share_lies_in_the_tail_and_one_bucket_more_would_exceed_it(
    reference: dict[int, int], share: float
) -> None:
    key = tail_bucket(reference, share)
    assert key is not None
    total = sum(reference.values())
    assert count_from(reference, key) <= share * total
    below = max((value for value in reference if value < key), default=None)
    if below is not None:
        assert count_from(reference, below) > share * total


def test_no_runs_give_nothing() -> None:
    assert sum_figures([]) == []
    assert ridits({}) == {}
    assert rank_sums({1: 3}, {}) == (0.0, 0.0)
    assert merge_histograms([]) == {}


def test_names_of_tools_come_from_outside_and_their_number_is_bounded() -> None:
    runs = [
        RunFigures("faq", "completed", 1, None, orjson.dumps({f"tool-{index}": [1, index % 2]}).decode())
        for index in range(500)
    ] + [RunFigures("faq", "completed", 1, None, '{"search":[4,1]}')] * 3
    tools = [figure for figure in sum_figures(runs) if figure.measure == "tool"]
    assert len(tools) == 21
    assert sum(figure.n for figure in tools) == len(runs)
    assert next(figure for figure in tools if figure.subject == "search")[3:7] == (3, 0.75, 3 * 0.0625, 12.0)
    assert sum(figure.s for figure in tools if figure.subject != "search") == 250  # every second of the five hundred
    assert OTHER_TOOLS in {figure.subject for figure in tools}


def test_a_task_type_without_known_costs_has_no_cost_figure() -> None:
    assert {figure.measure for figure in sum_figures([RunFigures("faq", "completed", 2, None, None)])} == {
        *("errors", "aborts", "completed", "steps"),
    }
