"""The decisions form: against a server that takes requests and gives answers as OpenAI's own types have them."""

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.decision_create_params import DecisionCreateParams
from pydantic import SecretStr, TypeAdapter

from tests.support.openai_replies import a_decision, chosen
from worker.core.rubric.parse import parse
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.errors import JudgeUnavailable, VerdictUnreadable
from worker.judge.capabilities import CapabilityPlan
from worker.judge.client import ChatJudge
from worker.judge.wire.decisions import DecisionsWire
from worker.judge.wire.protocol import NoCompletion
from worker.records import CriterionQuestion, Message, Outcome, Question, Reply, Run, Scoring
from worker.scorers.protocol import Context
from worker.scorers.rubric.scorer import RubricScorer

REQUEST: TypeAdapter[Any] = TypeAdapter(DecisionCreateParams)
WORDS = {"pass": "It holds.", "fail": "It does not.", "unknown": "Nobody can say."}
QUESTION = Question(
    backend="decisions",
    messages=(Message("system", "Judge."), Message("user", "The run.")),
    answer_schema={"type": "object"},
    schema_name="demo",
    model="gpt-6-luna",
    params={"temperature": 0, "prompt_cache_key": "k"},
    asked=(CriterionQuestion("one", "One?", WORDS), CriterionQuestion("two", "Two?", WORDS)),
    prompt_hash="0" * 16,
)
RUBRIC = """---
name: demo
version: 1.0.0
scale: {scale}
mode: {mode}
criteria:
  - {{id: one, question: "One?", weight: 3, required: true, {how}}}
  - {{id: two, question: "Two?", {how}}}
judge: {{backend: decisions}}
---
{{% chat role="system" %}}Judge.{{% endchat %}}{{% chat role="user" %}}{{{{ run | fenced }}}}
Decide.{{% endchat %}}
"""
HOW = {
    "binary": "pass_when: It holds.",
    "ordinal": "levels: [{label: bad, when: It is bad.}, {label: fair, when: It is fair.}, {label: good, when: Good.}]",
}
RUN = Run(
    run_id="r",
    task_type="t",
    status="completed",
    ended_at=datetime(2026, 11, 2, tzinfo=UTC),
    input="Refund order 4411.",
    output="Order 4411 was refunded.",
)


class Server:
    """Answers each question as `say` has it; takes only requests that OpenAI's type accepts."""

    def __init__(self, say: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.say = say
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.append(request)
        REQUEST.validate_python(request, strict=False)
        if extra := request.keys() - DecisionCreateParams.__annotations__.keys():
            return refused(400, f"Unknown parameter: '{min(extra)}'.", param=min(extra))
        for question in request["questions"]:
            values = [choice["value"] for choice in question["choices"]]
            assert 2 <= len(set(values)) == len(values)
        return Answer(body=a_decision(*map(self.say, request["questions"])))


def scored(server_side: Any, scale: str = "binary", mode: str = "joint") -> Scoring:
    scorer = RubricScorer(parse(RUBRIC.format(scale=scale, mode=mode, how=HOW[scale]), "x"), "gpt-6-luna", b"s")

    async def run() -> Scoring:
        async with JudgeServer(server_side, path="/v1/decisions") as server:
            judge = ChatJudge(server.base_url, SecretStr("k"), price=lambda model, *counts: 0.5)
            try:
                scoring = await scorer.score(RUN, Context(ask=judge.ask))
            finally:
                await judge.close()
            assert not server.requests.failures
            return scoring

    return asyncio.run(run())


def read(body: object) -> Reply:
    return DecisionsWire().read(body, QUESTION, {}, latency_ms=1.0, price=None)


def test_each_criterion_goes_out_as_a_choice_among_its_verdicts() -> None:
    server = Server(lambda question: chosen(question["name"], {"pass": 0.7, "fail": 0.2, "unknown": 0.1}))
    scored(server)
    (request,) = server.asked
    assert set(request) == {"model", "input", "questions"}
    assert [message["role"] for message in request["input"]] == ["system", "user"]
    assert request["questions"][0] == {
        "type": "choice",
        "name": "one",
        "instructions": "One?",
        "choices": [
            {"value": "pass", "description": "It holds."},
            {"value": "fail", "description": "The record shows that this does not hold."},
            {"value": "unknown", "description": "The record does not let a careful reader decide."},
        ],
    }


def test_only_what_decisions_know_is_sent_and_said_so() -> None:
    body, effective = DecisionsWire().body(QUESTION, CapabilityPlan())
    assert effective == {"prompt_cache_key": "k"}
    assert "temperature" not in orjson.loads(body)


@pytest.mark.parametrize("mode", ["joint", "per_criterion"])
def test_verdicts_and_their_probabilities_come_back_in_both_modes(mode: str) -> None:
    said = {"one": {"pass": 0.6, "fail": 0.2, "unknown": 0.2}, "two": {"pass": 0.1, "fail": 0.9, "unknown": 0.0}}
    server = Server(lambda question: chosen(question["name"], said[question["name"]]))
    scoring = scored(server, mode=mode)
    assert len(server.asked) == (1 if mode == "joint" else 2)
    whole, one, two = scoring.outcomes
    assert [(outcome.value, outcome.label) for outcome in (one, two)] == [(1.0, "pass"), (0.0, "fail")]
    assert [outcome.p_pass for outcome in (one, two)] == pytest.approx([0.75, 0.1])
    # one stands with 0.75: times (3 * 1 + 1 * 0.1) / 4
    assert whole.value == 0.75
    assert whole.p_pass == pytest.approx(0.75 * 3.1 / 4)
    assert one.rationale == "pass 0.60, fail 0.20, unknown 0.20"
    assert (one.evidence, one.evidence_ok) == ((), None)
    assert scoring.judging is not None
    calls = len(server.asked)
    assert (scoring.judging.input_tokens, scoring.judging.cost_usd) == (100 * calls, 0.5 * calls)
    assert scoring.judging.model_served == "gpt-6-luna-2026"


@pytest.mark.parametrize("mode", ["joint", "per_criterion"])
def test_a_scale_is_a_choice_too(mode: str) -> None:
    probable = {"bad": 0.1, "fair": 0.2, "good": 0.5, "unknown": 0.2}
    scoring = scored(Server(lambda question: chosen(question["name"], probable)), "ordinal", mode)
    assert [(outcome.value, outcome.label) for outcome in scoring.outcomes[1:]] == [(1.0, "good")] * 2
    assert scoring.outcomes[1].p_pass == pytest.approx((0.2 * 0.5 + 0.5) / 0.8)


def test_unknown_may_be_chosen() -> None:
    scoring = scored(Server(lambda question: chosen(question["name"], {"pass": 0.1, "fail": 0.1, "unknown": 0.8})))
    assert {outcome.reason for outcome in scoring.outcomes} == {"unknown"}


@pytest.mark.parametrize(
    ("declined", "reasons"),
    [({"one"}, ["refusal", "refusal", None]), ({"one", "two"}, ["refusal", "refusal", "refusal"])],
)
def test_what_it_declines_to_decide_is_a_refusal_and_the_rest_stands(declined: set[str], reasons: list[Any]) -> None:
    def say(question: dict[str, Any]) -> dict[str, Any]:
        if question["name"] in declined:
            return {"type": "refusal", "name": question["name"]}
        return chosen(question["name"], {"pass": 1.0, "fail": 0.0, "unknown": 0.0})

    for mode in ("joint", "per_criterion"):
        outcomes: tuple[Outcome, ...] = scored(Server(say), mode=mode).outcomes
        assert [outcome.reason for outcome in outcomes] == reasons


def test_answers_without_names_are_told_apart_by_their_order() -> None:
    sure = {"pass": 1.0, "fail": 0.0, "unknown": 0.0}
    reply = read(a_decision(chosen(None, sure), chosen(None, {"pass": 0.0, "fail": 1.0, "unknown": 0.0})))
    assert {name: said["verdict"] for name, said in orjson.loads(reply.content or "").items()} == {
        "one": "pass",
        "two": "fail",
    }


def test_an_answer_named_for_another_question_is_none() -> None:
    sure = {"pass": 1.0, "fail": 0.0, "unknown": 0.0}
    reply = read(a_decision(chosen("two", sure), chosen("one", sure)))
    assert (reply.content, reply.probabilities) == ("{}", {})


@pytest.mark.parametrize(
    "listed",
    [
        None,
        "many",
        [],
        [{"value": "pass", "probability": 1.0}],
        [{"value": word, "probability": p} for word, p in (("pass", 0.5), ("fail", 0.5), ("maybe", 0.0))],
        [{"value": word, "probability": p} for word, p in (("pass", 0.9), ("fail", 0.9), ("unknown", 0.9))],
        [{"value": word, "probability": p} for word, p in (("pass", -1), ("fail", 2), ("unknown", 0))],
        [{"value": word, "probability": p} for word, p in (("pass", "1"), ("fail", 0), ("unknown", 0))],
        [{"value": word, "probability": p} for word, p in (("pass", True), ("fail", 0), ("unknown", 0))],
        [{"value": word, "probability": 10**400} for word in WORDS],
        [{"value": word, "probability": math.nan} for word in WORDS],
        [{"value": ["pass"], "probability": 1}, None, 7],
    ],
)
def test_a_distribution_that_is_none_is_left_out_and_the_verdict_stands(listed: object) -> None:
    answer = {"type": "choice", "name": "one", "choice": "pass", "confidence": 1, "probabilities": listed}
    reply = read({"answers": [answer]})
    assert reply.probabilities == {}
    assert orjson.loads(reply.content or "") == {"one": {"evidence": [], "reason": "", "verdict": "pass"}}


@pytest.mark.parametrize("choice", [None, True, 7, ["pass"], "maybe", "x" * 10**6, "\ud800"])
def test_a_choice_that_was_not_offered_is_unreadable(choice: object) -> None:
    answers = [{"type": "choice", "name": name, "choice": choice} for name in ("one", "two")]
    scoring = scored(lambda request, headers: Answer(body=orjson.dumps({"answers": _sendable(answers)})))
    assert {outcome.reason for outcome in scoring.outcomes} == {"parse"}


def _sendable(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [answer | {"choice": "?"} if answer["choice"] == "\ud800" else answer for answer in answers]


@pytest.mark.parametrize("body", [None, [], "x", {}, {"answers": None}, {"answers": {"one": 1}}])
def test_what_is_no_decision_is_none(body: object) -> None:
    with pytest.raises(NoCompletion):
        read(body)


def test_a_server_that_has_no_decisions_is_an_error_that_says_so() -> None:
    with pytest.raises(JudgeUnavailable, match="no decision"):
        scored(lambda request, headers: completion("{}"))
    with pytest.raises(VerdictUnreadable, match="questions") as caught:
        scored(lambda request, headers: refused(400, "unknown field: questions; use response_format"))
    assert caught.value.reason == "bad_request"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["choice", "refusal", "one", "pass"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "choice", "probabilities", "probability", "value", "input_tokens"]), inner
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["answers", "usage", "model", "service_tier"]), ANYTHING))
def test_no_body_whatever_raises_anything_else(body: dict[str, Any]) -> None:
    try:
        reply = read({"answers": [], **body})
    except NoCompletion:
        return
    for probable in reply.probabilities.values():
        assert math.isclose(sum(probable.values()), 1.0)
