"""Draws repeat, nest and weigh; flags are facts; a reference survives odd traffic."""

import hashlib
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.sampling import KEY_UNIT, flags, reference, sample_key, threshold
from worker.records import Reference, Run, Step

keys_of_a_stratum = st.lists(st.integers(0, 2**53 - 1).map(lambda key: key * KEY_UNIT), max_size=40)
rates = st.floats(0, 1)


def run(steps: tuple[Step, ...] = (), **fields: Any) -> Run:
    defaults = {"run_id": "r", "task_type": "t", "status": "completed", "ended_at": datetime(2026, 11, 16, tzinfo=UTC)}
    return Run(**{**defaults, "steps": steps, **fields})


def tools(*calls: tuple[str, Any]) -> tuple[Step, ...]:
    return tuple(Step(seq=seq, kind="tool", name=name, arguments=given) for seq, (name, given) in enumerate(calls))


@pytest.mark.parametrize(
    ("run_id", "key"),
    [
        ("run-1", 0.7128868737866525),
        ("run-2", 0.3197091618069522),
        ("a", 0.12596538286006276),
        ("", 0.44244858351740446),
        ("ü\ud800", 0.7183556831521555),
    ],
)
def test_sample_key_never_changes(run_id: str, key: float) -> None:
    assert sample_key(run_id) == key


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_sample_key_is_the_first_53_bits_of_the_hash(run_id: str) -> None:
    digest = hashlib.sha256(b"spotcheck:sample:v1\0" + run_id.encode("utf-8", "surrogatepass")).hexdigest()
    bits = bin(int(digest, 16))[2:].zfill(256)[:53]
    assert sample_key(run_id) == int(bits, 2) / 2**53
    assert 0 <= sample_key(run_id) < 1


def test_keys_are_uniform() -> None:
    keys = np.sort([sample_key(f"run-{number}") for number in range(20_000)])
    distance = np.abs(keys - (np.arange(keys.size) + 0.5) / keys.size).max()
    assert distance < 1.63 / math.sqrt(keys.size)  # Kolmogorov-Smirnov at 1 %


@pytest.mark.parametrize(
    ("smallest", "population", "rate", "floor", "value", "why"),
    [
        ([0.1, 0.2, 0.3, 0.4], 100, 0.05, 3, 0.4, "floor"),
        ([0.4, 0.1, 0.3, 0.2], 100, 0.05, 3, 0.4, "floor"),
        ([0.01, 0.02, 0.03, 0.04], 100, 0.05, 3, 0.05, "rate"),
        ([0.1, 0.2, 0.3], 3, 0.05, 3, 1.0, "all"),
        ([], 0, 0.05, 3, 1.0, "all"),
        ([], 0, 0.05, 0, 0.05, "rate"),
        ([], 1_000_000, 0.002, 0, 0.002, "rate"),
        ([0.5], 1_000_000, 0.0, 0, KEY_UNIT, "rate"),
        ([0.5, 0.6], 10, 0.0, 1, 0.6, "floor"),
        ([0.5, 0.6], 10, 1.0, 1, 1.0, "rate"),
        ([0.1, 0.2, 0.2, 0.7], 4, 0.05, 2, 0.7, "floor"),
        ([0.1, 0.2, 0.2], 9, 0.05, 2, 0.2 + KEY_UNIT, "floor"),
        ([0.1, 0.2, 0.2], 3, 0.05, 2, 1.0, "all"),
    ],
)
def test_threshold(smallest: list[float], population: int, rate: float, floor: int, value: float, why: str) -> None:
    assert threshold(smallest, population, rate, floor) == (value, why)


@pytest.mark.parametrize(
    ("smallest", "population", "rate", "floor", "message"),
    [
        ([], 0, -0.1, 3, "probability"),
        ([], 0, 1.1, 3, "probability"),
        ([], 0, math.nan, 3, "probability"),
        ([], 0, 0.1, -1, "negative"),
        ([], -1, 0.1, 1, "negative"),
        ([0.1, 0.2], 100, 0.1, 2, "needs the 3 smallest"),
    ],
)
def test_threshold_refuses(smallest: list[float], population: int, rate: float, floor: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        threshold(smallest, population, rate, floor)


@given(keys_of_a_stratum, rates, st.integers(0, 10))
def test_the_floor_holds_and_bottom_k_draws_exactly_k(keys: list[float], rate: float, floor: int) -> None:
    value, why = threshold(keys, len(keys), rate, floor)
    drawn = sum(key < value for key in keys)
    assert 0 < value <= 1
    assert drawn >= min(floor, len(keys))
    if why == "floor" and len(set(keys)) == len(keys):
        assert drawn == floor
    if why == "all":
        assert drawn == len(keys)


@given(keys_of_a_stratum, rates, rates, st.integers(0, 10), st.integers(0, 10))
def test_raising_a_rate_or_a_floor_never_drops_a_run(
    keys: list[float], rate: float, other_rate: float, floor: int, other_floor: int
) -> None:
    low = threshold(keys, len(keys), min(rate, other_rate), min(floor, other_floor)).value
    high = threshold(keys, len(keys), max(rate, other_rate), max(floor, other_floor)).value
    assert high >= low


@given(keys_of_a_stratum, rates, st.integers(0, 10))
def test_the_smallest_keys_decide_as_all_of_them_would(keys: list[float], rate: float, floor: int) -> None:
    everything = threshold(keys, len(keys), rate, floor)
    fetched = threshold(sorted(keys)[: floor + 1], len(keys), rate, floor)
    if len(set(keys)) == len(keys):
        assert fetched == everything
    assert sum(key < fetched.value for key in keys) >= min(floor, len(keys))


def test_a_rate_of_a_fifth_of_a_percent_draws_about_that() -> None:
    drawn = sum(sample_key(f"trace-{number}") < 0.002 for number in range(100_000))
    assert abs(drawn - 200) < 4 * math.sqrt(200)


@pytest.mark.parametrize(("population", "rate", "floor"), [(40, 0.0, 3), (40, 0.05, 3), (200, 0.03, 5), (4, 0.0, 3)])
def test_one_over_threshold_is_an_unbiased_weight(population: int, rate: float, floor: int) -> None:
    rng = np.random.default_rng(7)
    values = np.arange(population) % 3 == 0
    totals = []
    for _ in range(4000):
        keys = rng.random(population)
        value = threshold([float(key) for key in np.sort(keys)[: floor + 1]], population, rate, floor).value
        totals.append(values[keys < value].sum() / value)
    error = np.mean(totals) - values.sum()
    assert abs(error) < 3.5 * np.std(totals) / math.sqrt(len(totals))


@pytest.mark.parametrize("status", ["errored", "aborted", "incomplete"])
def test_a_status_other_than_completed_flags(status: str) -> None:
    assert flags(run(status=status), None) == (status,)


def test_an_ordinary_run_has_no_flags() -> None:
    assert flags(run(tools(("search", {"q": 1}), ("search", {"q": 2}))), Reference(1.0, 2.0, 3.0, 0.3, 0.3, 0.3)) == ()


def test_a_failed_tool_flags_and_a_failed_model_step_does_not() -> None:
    assert flags(run((Step(seq=0, kind="tool", name="search", error="timeout"),)), None) == ("tool_error",)
    assert flags(run((Step(seq=0, kind="model", name="gpt", error="timeout"),)), None) == ()


@pytest.mark.parametrize(
    ("calls", "repeated"),
    [
        ([("a", {"x": 1, "y": 2}), ("a", {"y": 2, "x": 1})], True),
        ([("a", {}), ("b", {}), ("a", {})], False),
        ([("a", {}), ("b", {}), ("a", {}), ("b", {}), ("a", {})], True),
        ([("a", {"x": 1}), ("a", {"x": True})], False),
        ([("a", {"x": 1}), ("b", {"x": 1})], False),
        ([("a", None), ("a", None), ("a", None)], False),
        ([("a", "q"), ("a", "q")], True),
        ([], False),
    ],
)
def test_repeated_calls(calls: list[tuple[str, Any]], repeated: bool) -> None:
    assert (flags(run(tools(*calls)), None) == ("repeated_call",)) is repeated


def test_what_stands_between_two_tool_calls_does_not_hide_a_repeat() -> None:
    first, second = tools(("a", {"x": 1}), ("a", {"x": 1}))
    between = Step(seq=1, kind="model", name="gpt")
    assert flags(run((first, between, second.model_copy(update={"seq": 2}))), None) == ("repeated_call",)


def test_arguments_too_deep_to_write_down_are_not_compared() -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    step = Step.model_construct(seq=0, kind="tool", name="a", arguments=deep, error=None)
    assert flags(run().model_copy(update={"steps": (step, step)}), None) == ()


@pytest.mark.parametrize(
    ("cost", "usual", "outlier"),
    [
        (0.21, Reference(cost_usd=0.1, cost_log_mad=0.0), True),
        (0.19, Reference(cost_usd=0.1, cost_log_mad=0.0), False),
        (0.21, Reference(cost_usd=0.1, cost_log_mad=0.3), False),
        (1.00, Reference(cost_usd=0.1, cost_log_mad=0.3), True),
        (None, Reference(cost_usd=0.1, cost_log_mad=0.3), False),
        (1.00, Reference(), False),
        (1.00, None, False),
    ],
)
def test_cost_outliers(cost: float | None, usual: Reference | None, outlier: bool) -> None:
    assert (flags(run(cost_usd=cost), usual) == ("cost_outlier",)) is outlier


def test_steps_outliers() -> None:
    steps = tuple(Step(seq=seq, kind="model") for seq in range(30))
    assert flags(run(steps), Reference(steps=4.0, steps_log_mad=0.2)) == ("steps_outlier",)
    assert flags(run(steps[:10]), Reference(steps=4.0, steps_log_mad=0.2)) == ()


def test_flags_come_in_one_order() -> None:
    steps = (Step(seq=0, kind="tool", name="a", arguments={}, error="no such order"),) * 2
    found = flags(run(steps, status="errored", cost_usd=9.0), Reference(cost_usd=0.1, cost_log_mad=0.1))
    assert found == ("errored", "tool_error", "repeated_call", "cost_outlier")


def test_reference_is_median_and_log_deviation() -> None:
    costs = [0.01 * number for number in range(1, 42)]
    found = reference([*costs, None, 0.0, math.nan, math.inf], [3.0] * 19, [])
    assert found.cost_usd == pytest.approx(0.21)
    assert found.cost_log_mad == pytest.approx(np.median(np.abs(np.log(costs) - math.log(0.21))))
    assert found[1:3] == (None, None)
    assert found[4:] == (None, None)


def test_nothing_known_is_no_reference() -> None:
    assert reference([], [], []) == Reference()


def test_a_common_second_value_is_no_outlier() -> None:
    usual = reference([], [1.0] * 70 + [4.0] * 30, [])
    four, many = (tuple(Step(seq=seq, kind="model") for seq in range(count)) for count in (4, 40))
    assert flags(run(four), usual) == ()
    assert flags(run(many), usual) == ("steps_outlier",)


def test_few_of_a_lognormal_are_outliers() -> None:
    costs = np.random.default_rng(1).lognormal(-3, 0.8, 5000)
    usual = reference([float(cost) for cost in costs], [], [])
    assert sum(bool(flags(run(cost_usd=float(cost)), usual)) for cost in costs[:1000]) == 0
