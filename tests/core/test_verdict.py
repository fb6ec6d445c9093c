"""Reading a reply: strict, bound to the options, evidence looked up, and never a zero for what could not be judged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.judging.verdict import ShownText, aggregate, answer_schema, read_reply
from worker.core.rubric.parse import Rubric, parse
from worker.records import Judging, Outcome, Reply

FRONT = """---
name: demo
version: 1.0.0
criteria:
  - {id: one, question: "One?", weight: 3, required: true, pass_when: The first thing holds.}
  - {id: two, question: "Two?", pass_when: The second thing holds.}
pass: {threshold: 0.7}
---
{% chat role="system" %}x{% endchat %}{% chat role="user" %}{{ run | fenced }}{% endchat %}
"""
SEEN = ShownText(
    {"output": 'The refund was\n  promised "today".', "steps": [{"step": 5, "result": "error: card <declined>"}]}
)


def a_rubric() -> Rubric:
    return parse(FRONT, "x")


def say(verdict: str, *quotes: str, reason: str = "because") -> dict[str, Any]:
    return {"evidence": [{"step": None, "quote": quote} for quote in quotes], "reason": reason, "verdict": verdict}


def a_reply(content: object, **over: Any) -> Reply:
    text = content if isinstance(content, str | None) else json.dumps(content)
    return Reply(**{"content": text, "finish_reason": "stop", "judging": Judging(model_requested="m")} | over)


def outcomes(content: object, **over: Any) -> tuple[Outcome, ...]:
    return read_reply(a_reply(content, **over), a_rubric().criteria, SEEN)


def test_the_schema_is_strict_and_asks_for_evidence_first() -> None:
    schema = answer_schema(a_rubric().criteria)

    def objects(node: dict[str, Any]) -> None:
        if node["type"] == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
            for inner in node["properties"].values():
                objects(inner)
        if node["type"] == "array":
            objects(node["items"])

    objects(schema)
    assert list(schema["properties"]["one"]["properties"]) == ["evidence", "reason", "verdict"]


def test_verdicts_become_values_with_their_reasons() -> None:
    one, two = outcomes({"one": say("pass", "refund was promised"), "two": say("fail")})
    assert (one.value, one.label, one.criterion, one.evidence_ok) == (1.0, "pass", "one", True)
    assert (two.value, two.label, two.rationale, two.evidence_ok) == (0.0, "fail", "because", None)


def test_unknown_is_unscored_and_keeps_its_evidence() -> None:
    one, _ = outcomes({"one": say("unknown", "card <declined>"), "two": say("pass")})
    assert (one.value, one.reason, one.evidence_ok) == (None, "unknown", True)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("refund was promised", True),
        ("refund   was\tpromised", True),
        ('promised \\"today\\"', True),
        ("card \\u003cdeclined\\u003e", True),
        ("The refund ... today", True),
        ("today … The refund", False),
        ("the refund", False),
        ("refund was paid", False),
        ("", False),
        ("...", False),
    ],
)
def test_quotes_are_looked_up_with_whitespace_folded(quote: str, found: bool) -> None:
    one, _ = outcomes({"one": say("pass", quote), "two": say("pass")})
    assert one.evidence_ok is found
    assert one.evidence[0]["found"] is found


GOOD = json.dumps({"one": say("pass"), "two": say("pass")})


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"refusal": "I cannot."}, "refusal"),
        ({"content": None}, "empty_answer"),
        ({"content": " \n"}, "empty_answer"),
        ({"content": "pass"}, "parse"),
        ({"content": "null"}, "parse"),
        ({"content": "[" * 100_000}, "parse"),
    ],
)
def test_what_holds_no_verdict_is_unscored_with_its_reason(over: dict[str, Any], reason: str) -> None:
    found = read_reply(a_reply(over.get("content", GOOD)).model_copy(update=over), a_rubric().criteria, SEEN)
    assert [(outcome.value, outcome.reason) for outcome in found] == [(None, reason)] * 2
    assert aggregate(a_rubric(), found).reason == reason


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace('"pass"', '"maybe"', 1),
        GOOD.replace('"pass"', '"passed"', 1),
        GOOD.replace('"pass"', '"pass or fail"', 1),
        GOOD.replace('"pass"', "true", 1),
        GOOD.replace('"verdict": "pass"', '"verdict": "fail", "verdict": "pass"', 1),
        GOOD.replace('"one"', '"three"'),
        GOOD.removesuffix("}"),
        GOOD + "\nI hope this helps.",
        "Sure! " + GOOD,
        "```json\n" + GOOD + "\n```\n```json\n" + GOOD + "\n```",
        GOOD.replace('"because"', "NaN"),
        GOOD[:-1] + ', "One": {"evidence": [], "reason": "because", "verdict": "fail"}}',
        json.dumps({"one": say("pass")}),
        json.dumps([json.loads(GOOD), json.loads(GOOD)]),
        json.dumps(json.dumps("one: pass, two: pass")),
        " " * 10 + GOOD + "x" * 300_000,
    ],
)
def test_an_answer_that_is_not_the_agreed_one_is_not_read(content: str) -> None:
    assert {outcome.reason for outcome in outcomes(content)} == {"parse"}


@pytest.mark.parametrize(
    "content",
    [
        GOOD[:-1] + ', "overall": "fail"}',
        GOOD.replace('"verdict"', '"confidence": 0.9, "verdict"'),
        GOOD.replace('"pass"', '"PASS"'),
        GOOD.replace('"one"', '"One"').replace('"verdict"', '"Verdict"'),
        json.dumps({"criteria": json.loads(GOOD)}),
        json.dumps({"name": "demo", "arguments": {"result": json.loads(GOOD)}}),
        json.dumps([json.loads(GOOD)]),
        json.dumps(GOOD),
        GOOD.replace("[]", "null"),
        GOOD.replace('"evidence": [], ', ""),
    ],
)
def test_the_same_in_a_slightly_other_shape_is_read(content: str) -> None:
    assert [outcome.value for outcome in outcomes(content)] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("evidence", "step"),
    [
        (["The refund was"], None),
        ("The refund was", None),
        ([{"quote": "The refund was"}], None),
        ([{"step": "5", "quote": "The refund was"}], 5),
        ([{"step": "the final answer", "quote": "The refund was"}], None),
        ({"step": 5, "quote": "The refund was", "why": "it says so"}, 5),
    ],
)
def test_evidence_in_a_slightly_other_shape_is_looked_up(evidence: object, step: int | None) -> None:
    one, _ = outcomes({"one": say("fail") | {"evidence": evidence}, "two": say("pass")})
    assert (one.value, one.evidence_ok) == (0.0, True)
    assert one.evidence == ({"step": step, "quote": "The refund was", "found": True},)


@pytest.mark.parametrize("content", [GOOD, f"```json\n{GOOD}\n```", f"\n```\n{GOOD}\n```  \n"])
def test_one_code_fence_is_tolerated(content: str) -> None:
    assert [outcome.value for outcome in outcomes(content)] == [1.0, 1.0]


def test_the_aggregate_is_the_weighted_mean_and_passes_from_the_threshold() -> None:
    # weights 3 and 1: (3*1 + 1*0) / 4
    whole = aggregate(a_rubric(), outcomes({"one": say("pass"), "two": say("fail", reason="no second")}))
    assert (whole.value, whole.label, whole.criterion) == (0.75, "pass", None)
    assert whole.rationale == "two fail: no second"


def test_probabilities_say_how_sure_a_verdict_was_and_change_none() -> None:
    said = {"one": {"pass": 0.3, "fail": 0.6, "unknown": 0.1}}
    one, two = outcomes({"one": say("fail"), "two": say("pass")}, probabilities=said)
    assert one.value == 0.0
    assert one.p_pass == pytest.approx(1 / 3)
    assert (two.value, two.p_pass) == (1.0, None)


def test_an_undecided_criterion_has_no_p_pass() -> None:
    said = {"one": {"pass": 0.3, "fail": 0.1, "unknown": 0.6}}
    one, _ = outcomes({"one": say("unknown"), "two": say("pass")}, probabilities=said)
    assert (one.value, one.reason, one.p_pass) == (None, "unknown", None)


ORDINAL = """---
name: demo
version: 1.0.0
scale: ordinal
criteria:
  - id: how
    question: "How?"
    required: true
    levels: [{label: bad, when: It is bad.}, {label: fair, when: It is fair.}, {label: good, when: It is good.}]
  - id: what
    question: "What?"
    levels: [{label: bad, when: It is bad.}, {label: fair, when: It is fair.}, {label: good, when: It is good.}]
pass: {threshold: 0.7}
---
{% chat role="system" %}x{% endchat %}{% chat role="user" %}{{ run | fenced }}{% endchat %}
"""


def test_on_a_scale_the_probabilities_give_the_expected_value() -> None:
    rubric = parse(ORDINAL, "x")
    said = {"how": {"bad": 0.2, "fair": 0.2, "good": 0.4, "unknown": 0.2}, "what": {"bad": 0.0, "good": 1.0}}
    reply = a_reply({"how": say("good"), "what": say("good")}, probabilities=said)
    each = read_reply(reply, rubric.criteria, SEEN)
    # how, without unknown: a quarter bad, a quarter fair, half good: 0.25 * 0.5 + 0.5
    assert [outcome.p_pass for outcome in each] == pytest.approx([0.625, 1.0])
    # how stands with 0.75 and is 0.625 / 0.75 then; times 0.75 and the mean with 1.0
    assert aggregate(rubric, each, said).p_pass == pytest.approx(0.75 * (0.625 / 0.75 + 1.0) / 2)


@pytest.mark.parametrize(("on", "label"), [("p_pass", "fail"), ("value", "pass")])
def test_the_threshold_is_on_the_probability_unless_the_rubric_says_otherwise(on: str, label: str) -> None:
    rubric = parse(FRONT.replace("{threshold: 0.7}", f"{{threshold: 0.7, on: {on}}}"), "x")
    said = {name: {"pass": 0.6, "fail": 0.4} for name in ("one", "two")}
    reply = a_reply({"one": say("pass"), "two": say("pass")}, probabilities=said)
    whole = aggregate(rubric, read_reply(reply, rubric.criteria, SEEN), said)
    # 0.6 that one stands, and then (3 * 1 + 1 * 0.6) / 4
    assert (whole.value, whole.label) == (1.0, label)
    assert whole.p_pass == pytest.approx(0.54)


def test_one_criterion_without_probabilities_leaves_the_whole_without() -> None:
    said = {"one": {"pass": 0.6, "fail": 0.4}}
    whole = aggregate(a_rubric(), outcomes({"one": say("pass"), "two": say("pass")}, probabilities=said), said)
    assert (whole.p_pass, whole.label) == (None, "pass")


def test_a_judge_may_decline_one_question_and_answer_the_others() -> None:
    one, two = outcomes({"two": say("pass")}, refused=("one",))
    assert (one.value, one.reason, two.value) == (None, "refusal", 1.0)
    assert aggregate(a_rubric(), (one, two)).reason == "refusal"
    assert [outcome.reason for outcome in outcomes({"one": say("pass"), "two": say("pass")}, refused=("one",))] == [
        "parse"
    ] * 2


def test_a_required_criterion_that_fails_fails_the_whole() -> None:
    whole = aggregate(a_rubric(), outcomes({"one": say("fail", reason="no first"), "two": say("pass")}))
    assert (whole.value, whole.label, whole.rationale) == (0.0, "fail", "one fail: no first")


def test_unknown_does_not_count_and_all_unknown_is_unscored() -> None:
    part = aggregate(a_rubric(), outcomes({"one": say("unknown"), "two": say("pass")}))
    assert part.value == 1.0
    assert part.rationale == "two pass: because (undecided: one)"
    none = aggregate(a_rubric(), outcomes({"one": say("unknown"), "two": say("unknown")}))
    assert (none.value, none.reason) == (None, "unknown")


def test_a_step_number_that_no_database_takes_is_dropped() -> None:
    said = say("pass") | {"evidence": [{"step": 10**400, "quote": "promised"}]}
    one, _ = outcomes({"one": said, "two": say("pass")})
    assert one.evidence[0]["step"] is None


def test_a_false_quote_anywhere_shows_on_the_aggregate() -> None:
    whole = aggregate(a_rubric(), outcomes({"one": say("pass", "promised"), "two": say("pass", "invented")}))
    assert whole.evidence_ok is False


def test_what_no_database_takes_is_taken_out() -> None:
    one, _ = outcomes({"one": say("pass", "a\x00b", reason="a\x00b\ud800" + "x" * 9000), "two": say("pass")})
    assert one.rationale is not None
    assert "\x00" not in one.rationale + one.evidence[0]["quote"]
    assert len(one.rationale) == 2000
    assert one.rationale.encode()


@given(
    st.text()
    | st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_reply_whatever_raises_or_scores_by_accident(content: object) -> None:
    for outcome in outcomes(content if isinstance(content, str) else json.dumps(content)):
        assert outcome.value is None
        assert outcome.reason in ("parse", "empty_answer")
