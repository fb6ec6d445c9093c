"""Several answers to one question: the mean counts, and one of its own side speaks for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.judging.pooling import pool_samples
from worker.core.judging.verdict import aggregate, unscored_all
from worker.core.rubric.parse import Rubric, parse
from worker.records import Outcome, scored, unscored

FRONT = """---
name: demo
version: 1.0.0
criteria:
  - {id: one, question: "One?", weight: 3, required: true, pass_when: The first thing holds.}
  - {id: two, question: "Two?", pass_when: The second thing holds.}
pass: {threshold: 0.5}
judge: {samples: 5}
---
{% chat role="system" %}x{% endchat %}{% chat role="user" %}{{ run | fenced }}{% endchat %}
"""
ORDINAL = FRONT.replace("version: 1.0.0", "version: 1.0.0\nscale: ordinal").replace(
    "pass_when: The first thing holds.",
    "levels: [{label: poor, when: bad}, {label: fair, when: half}, {label: fine, when: good}]",
).replace(
    "pass_when: The second thing holds.",
    "levels: [{label: poor, when: bad}, {label: fair, when: half}, {label: fine, when: good}]",
)  # fmt: skip
BINARY = parse(FRONT, "x")
LEVELS = parse(ORDINAL, "x")
Reading = tuple[Outcome, ...]


def say(rubric: Rubric, one: str, two: str, number: int = 0) -> Reading:
    """A sample as it is read: its aggregate, then its criteria; `?` is unknown."""
    made = []
    for criterion, verdict in zip(rubric.criteria, (one, two), strict=True):
        said = {"criterion": criterion.id, "rationale": f"{criterion.id} {verdict} by {number}"}
        if verdict == "?":
            made.append(unscored("unknown", **said))
        else:
            made.append(scored(criterion.options[verdict], label=verdict, evidence_ok=True, **said))
    return (aggregate(rubric, made), *made)


def cannot_be_read(reason: str) -> Reading:
    each = unscored_all(BINARY.criteria, reason)
    return (aggregate(BINARY, each), *each)


def test_the_value_is_the_share_of_passes_and_the_majority_speaks() -> None:
    samples = [say(BINARY, "pass", "pass", n) for n in range(2)] + [say(BINARY, "fail", "pass", n) for n in (2, 3, 4)]
    whole, one, two = pool_samples(BINARY, samples)
    assert (one.value, one.p_pass, one.label, one.rationale) == (0.4, 0.4, "fail", "one fail by 2")
    assert (two.value, two.p_pass, two.label) == (1.0, 1.0, "pass")
    assert (whole.label, whole.p_pass) == ("fail", 0.4)
    assert whole.value == pytest.approx(0.4), "two samples say 1, and three fail by the required criterion"
    assert whole.rationale == "one fail: one fail by 2"


def test_the_aggregate_speaks_with_the_label_of_the_mean_where_the_majority_has_another() -> None:
    # values 1, 0, .75: two of three pass
    samples = [say(BINARY, "pass", "pass", 0), say(BINARY, "fail", "fail", 1), say(BINARY, "pass", "fail", 2)]
    whole, *_ = pool_samples(BINARY, samples)
    assert whole.label == "pass"
    assert [whole.value, whole.p_pass] == pytest.approx([1.75 / 3, 2 / 3])
    assert whole.rationale == "two fail: two fail by 2", "of those that pass the one nearest to the mean"
    # values .75, 0, 0 at a threshold of .25
    samples = [say(BINARY, "pass", "fail", 0), say(BINARY, "fail", "fail", 1), say(BINARY, "fail", "fail", 2)]
    low = BINARY.model_copy(update={"passing": BINARY.passing.model_copy(update={"threshold": 0.25})})
    whole, *_ = pool_samples(low, samples)
    assert (whole.value, whole.label, whole.rationale) == (0.25, "pass", "two fail: two fail by 0")


def test_levels_give_their_mean() -> None:
    samples = [say(LEVELS, "fine", "fine", 0), say(LEVELS, "fair", "fine", 1), say(LEVELS, "fair", "poor", 2)]
    whole, one, two = pool_samples(LEVELS, samples)
    assert [one.value, one.p_pass, two.value] == pytest.approx([2 / 3] * 3)
    assert one.label == "fair"
    assert whole.value == pytest.approx((1 + 0.625 + 0.375) / 3)


def test_probabilities_of_the_server_count_before_votes() -> None:
    samples = [
        tuple(outcome.model_copy(update={"p_pass": p}) for outcome in say(BINARY, "pass", "pass")) for p in (0.9, 0.6)
    ]
    assert [outcome.p_pass for outcome in pool_samples(BINARY, samples)] == [pytest.approx(0.75)] * 3


def test_what_cannot_be_read_is_left_out_until_it_is_more_than_half() -> None:
    fine = [say(BINARY, "pass", "pass"), say(BINARY, "fail", "pass")]
    whole, one, _ = pool_samples(BINARY, [*fine, cannot_be_read("parse"), cannot_be_read("truncated")])
    assert (whole.value, one.value) == (0.5, 0.5)
    unread = [cannot_be_read("parse"), cannot_be_read("truncated"), cannot_be_read("truncated")]
    assert {outcome.reason for outcome in pool_samples(BINARY, [*fine, *unread])} == {"truncated"}
    assert [outcome.criterion for outcome in pool_samples(BINARY, unread)] == [None, "one", "two"]


def test_a_criterion_is_unknown_when_most_samples_say_so() -> None:
    samples = [say(BINARY, "pass", "?"), say(BINARY, "pass", "?"), say(BINARY, "pass", "pass")]
    whole, one, two = pool_samples(BINARY, samples)
    assert (whole.value, one.value, two.value, two.reason) == (1.0, 1.0, None, "unknown")
    whole, one, two = pool_samples(BINARY, [say(BINARY, "?", "?"), say(BINARY, "?", "?"), say(BINARY, "pass", "?")])
    assert {whole.reason, one.reason, two.reason} == {"unknown"}


@given(st.lists(st.tuples(*[st.sampled_from(["pass", "fail", "?"])] * 2), min_size=1, max_size=20))
def test_whatever_the_samples_say_the_pooled_verdict_is_one_of_theirs_with_values_in_bounds(
    votes: list[tuple[str, str]],
) -> None:
    readings = [say(BINARY, *vote) for vote in votes]
    found = pool_samples(BINARY, readings)
    assert [outcome.criterion for outcome in found] == [None, "one", "two"]
    for place, outcome in enumerate(found):
        own = [reading[place] for reading in readings]
        assert outcome.label in {reading.label for reading in own}
        if outcome.value is not None:
            values = [reading.value for reading in own if reading.value is not None]
            assert min(values) <= outcome.value <= max(values)
            assert outcome.p_pass is not None
            assert 0 <= outcome.p_pass <= 1
            assert 2 * len(values) >= len(own)
    assert pool_samples(BINARY, readings[:1])[1].value == readings[0][1].value
