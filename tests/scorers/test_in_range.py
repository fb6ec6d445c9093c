"""`steps_in_range`, `cost_in_range`, `latency_in_range`: no absurd use of steps, money or time."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.records import Reference, Run, Step
from worker.scorers.heuristics.in_range import cost_in_range, latency_in_range, steps_in_range, thrift
from worker.scorers.protocol import Context

ENDED = datetime(2026, 5, 4, tzinfo=UTC)
USUAL = Context(reference=Reference(cost_usd=0.02, steps=4.0, latency_ms=1_000.0))


def a_run(**over: Any) -> Run:
    return Run(**{"run_id": "r", "task_type": "t", "status": "completed", "ended_at": ENDED, **over})


def steps(count: int) -> tuple[Step, ...]:
    return tuple(Step(seq=i, kind="model") for i in range(count))


@pytest.mark.parametrize("cost", [0.0, 0.0001, 0.02, 0.06])
def test_up_to_three_times_the_median_is_usual(cost: float) -> None:
    assert cost_in_range().evaluate(a_run(cost_usd=cost), USUAL).value == 1.0


def test_ten_times_the_median_is_absurd() -> None:
    outcome = cost_in_range().evaluate(a_run(cost_usd=0.2), USUAL)
    assert outcome.value == pytest.approx(0.0, abs=1e-12)
    assert outcome.rationale == "cost_usd 0.2, usually 0.02"


def test_between_the_two_the_value_falls_over_the_logarithm() -> None:
    half_way = math.sqrt(3 * 10)  # the middle of 3 and 10 on a logarithmic scale
    assert thrift(half_way) == pytest.approx(0.5)


def test_no_step_at_all_is_not_usual_but_one_is() -> None:
    assert steps_in_range().evaluate(a_run(), USUAL).value == 0.0
    assert steps_in_range().evaluate(a_run(steps=steps(1)), USUAL).value == 1.0
    assert steps_in_range().evaluate(a_run(steps=steps(12)), USUAL).value == 1.0
    assert steps_in_range().evaluate(a_run(steps=steps(40)), USUAL).value == 0.0


def test_latency_comes_from_the_stamps_where_it_is_not_said() -> None:
    assert latency_in_range().evaluate(a_run(started_at=ENDED - timedelta(seconds=10)), USUAL).value == 0.0
    assert (
        latency_in_range().evaluate(a_run(started_at=ENDED - timedelta(seconds=10), latency_ms=900.0), USUAL).value
        == 1.0
    )
    assert (
        latency_in_range().evaluate(a_run(started_at=ENDED + timedelta(seconds=1)), USUAL).reason
        == "missing:run.latency_ms"
    )


def test_what_was_not_measured_is_unscored() -> None:
    assert cost_in_range().evaluate(a_run(), USUAL).reason == "missing:run.cost_usd"
    assert latency_in_range().evaluate(a_run(), USUAL).reason == "missing:run.latency_ms"


@pytest.mark.parametrize("reference", [None, Reference(), Reference(cost_usd=0.0), Reference(cost_usd=math.inf)])
def test_without_something_to_compare_with_a_run_is_unscored(reference: Reference | None) -> None:
    assert cost_in_range().evaluate(a_run(cost_usd=1.0), Context(reference=reference)).reason == "no_reference"


def test_the_bounds_are_part_of_the_identity() -> None:
    assert cost_in_range().key.spec["parameters"] == {"field": "cost_usd", "usual": 3.0, "absurd": 10.0, "least": 0.0}


@given(st.floats(min_value=0, allow_nan=False), st.floats(min_value=0, allow_nan=False))
def test_more_is_never_worth_more(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= thrift(high) <= thrift(low) <= 1.0
