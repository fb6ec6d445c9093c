"""`no_repeats`: the same call with the same arguments, over and over."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.records import Outcome, Run, Step
from worker.scorers.heuristics.heuristic import identity
from worker.scorers.heuristics.no_repeats import NoRepeats
from worker.scorers.protocol import Context


def evaluate(*calls: tuple[str, Any]) -> Outcome:
    steps = tuple(Step(seq=i, kind="tool", name=name, arguments=said) for i, (name, said) in enumerate(calls))
    run = Run(run_id="r", task_type="t", status="completed", ended_at=datetime(2026, 5, 4, tzinfo=UTC), steps=steps)
    return NoRepeats().evaluate(run, Context())


def test_different_calls_pass() -> None:
    assert evaluate(("search", {"q": "a"}), ("search", {"q": "b"}), ("fetch", {"q": "a"})).value == 1.0


def test_the_value_falls_by_the_share_of_repeats() -> None:
    outcome = evaluate(("search", {"q": "a"}), ("search", {"q": "a"}), ("search", {"q": "b"}), ("search", {"q": "a"}))
    assert outcome.value == 0.5  # the second and the fourth of four
    assert outcome.rationale == "2 of 4 tool calls repeat an earlier one; search the same 3 times"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"n": 1}, {"n": 1.0}),
        ('{"a": 1}', '{ "a":1 }'),
        ({"a": [1, {"b": None}]}, '{"a": [1, {"b": null}]}'),
    ],
)
def test_the_way_arguments_are_written_makes_no_difference(one: object, other: object) -> None:
    assert evaluate(("t", one), ("t", other)).value == 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": "1"}, {"a": 1}),
        ({"a": None}, {}),
        ([1, 2], [2, 1]),
        ([[1], 2], [[1, 2]]),
        ({"a": ["b", "c"]}, {"a": ["bc"]}),
    ],
)
def test_different_arguments_are_different_calls(one: object, other: object) -> None:
    assert evaluate(("t", one), ("t", other)).value == 1.0


def test_text_that_is_no_json_is_compared_as_text() -> None:
    assert evaluate(("bash", "{ls"), ("bash", "{ls"), ("bash", "[ls")).value == pytest.approx(2 / 3)


def test_calls_whose_arguments_were_not_recorded_are_left_out() -> None:
    assert evaluate(("t", None), ("t", None)).reason == "missing:step.arguments"
    assert evaluate(("t", None), ("t", None), ("t", {})).value == 1.0


def test_a_run_without_tool_calls_is_unscored() -> None:
    assert evaluate().reason == "no_tool_calls"


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """The value with types spelled out, since Python takes True for 1."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    return [typed(inner) for inner in value] if isinstance(value, list) else (type(value).__name__, value)


@given(values, values)
def test_two_values_share_an_identity_exactly_when_they_are_equal(one: Any, other: Any) -> None:
    assert (identity(one) == identity(other)) == (typed(one) == typed(other))
