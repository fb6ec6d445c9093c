"""What answers in a slightly other shape are taken for: only the shape changes, and nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.judging.fitting import fitted
from worker.core.judging.verdict import answer_schema
from worker.core.rubric.schema import Criterion

SCHEMA = answer_schema([Criterion(id="all_parts", question="All?", pass_when="All.")])
DONE = {"evidence": [], "reason": "because", "verdict": "pass"}
NAMES = ["all_parts", "All Parts", "evidence", "reason", "verdict", "step", "quote", "x"]


@pytest.mark.parametrize("key", ["all_parts", "All_Parts", "all parts", "ALL-PARTS", " all_parts "])
def test_a_criterion_is_known_in_any_spelling_of_its_name(key: str) -> None:
    assert fitted({key: DONE}, SCHEMA) == {"all_parts": DONE}


@pytest.mark.parametrize(
    "answer",
    [
        {"all_parts": DONE, "All Parts": {**DONE, "verdict": "fail"}},
        {"all_parts": {**DONE, "Verdict": "fail"}},
        {"all_parts": {"evidence": [], "verdict": "pass"}},
        {"all_parts": {**DONE, "verdict": "passed"}},
        {"all_parts": {**DONE, "verdict": True}},
        [{"all_parts": DONE}, {"all_parts": DONE}],
        {"a": {"b": {"c": {"all_parts": DONE}}}},
    ],
)
def test_what_says_two_things_or_another_is_not_made_a_verdict(answer: object) -> None:
    read = fitted(answer, SCHEMA)
    assert read != {"all_parts": DONE}


def test_an_answer_as_agreed_is_left_alone() -> None:
    assert fitted({"all_parts": DONE}, SCHEMA) == {"all_parts": DONE}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    )
)
def test_no_value_whatever_raises(answer: object) -> None:
    fitted(answer, SCHEMA)
