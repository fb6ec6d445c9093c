"""The responses form: against a server that takes requests and gives answers as OpenAI's own types have them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import SecretStr, TypeAdapter

from tests.support.openai_replies import a_message, a_response, text
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.errors import JudgeError, JudgeUnavailable, VerdictUnreadable
from worker.judge.capabilities import CapabilityPlan
from worker.judge.client import ChatJudge
from worker.judge.wire.protocol import SCHEMA_REQUEST, NoCompletion
from worker.judge.wire.responses import ResponsesWire
from worker.records import Message, Question, Reply

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["pass", "fail"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
PASS = '{"verdict":"pass"}'
REQUEST: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)


def a_question(**over: Any) -> Question:
    fields: dict[str, Any] = {
        "backend": "responses",
        "messages": (Message("system", "Judge."), Message("user", "Was it done?")),
        "answer_schema": SCHEMA,
        "schema_name": "verdict",
        "model": "judge",
        "prompt_hash": "0" * 16,
    }
    return Question(**(fields | over))


class Server:
    """Takes what OpenAI's type of a request accepts, and has these forms of answer."""

    def __init__(self, *forms: str, refuses: Mapping[str, Answer] | None = None) -> None:
        self.forms, self.refuses = forms, refuses or {}
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.append(request)
        REQUEST.validate_python(request, strict=False)
        form = "tool" if request.get("tools") else request.get("text", {}).get("format", {}).get("type", "prompt")
        for name, answer in self.refuses.items():
            if name in request:
                return answer
        if form not in self.forms:
            param = "tools" if form == "tool" else "text.format"
            return refused(400, "Unsupported with this model.", param=param)
        if form == "tool":
            call = {"type": "function_call", "id": "c", "call_id": "c", "name": "verdict", "arguments": PASS}
            return Answer(body=a_response(call))
        return Answer(body=a_response(a_message(text(PASS))))


def replies(server_side: Any, *questions: Question, path: str = "/v1/responses", **over: Any) -> list[Reply]:
    async def run() -> list[Reply]:
        async with JudgeServer(server_side, path=path) as server:
            judge = ChatJudge(server.base_url, SecretStr("k"), **over)
            try:
                answers = [await judge.ask(question) for question in questions]
            finally:
                await judge.close()
            assert not server.requests.failures
            return answers

    return asyncio.run(run())


def read(body: object, **over: Any) -> Reply:
    return ResponsesWire().read(body, a_question(**over), {}, latency_ms=1.0, price=None)


def test_a_question_goes_out_strict_unstored_and_comes_back_complete() -> None:
    server = Server("json_schema")
    question = a_question(params={"temperature": 0}, service_tier="flex")
    (reply,) = replies(server, question, price=lambda model, *counts: float(sum(counts[:3])))
    assert server.asked == [
        {
            "model": "judge",
            "stream": False,
            "input": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Was it done?"}],
            "temperature": 0,
            "max_output_tokens": 1200,
            "store": False,
            "service_tier": "flex",
            "text": {"format": {"type": "json_schema", "name": "verdict", "strict": True, "schema": SCHEMA}},
        }
    ]
    assert (reply.content, reply.finish_reason, reply.refusal) == (PASS, "stop", None)
    judging = reply.judging
    assert (judging.model_requested, judging.model_served, judging.service_tier) == ("judge", "judge-2026", "default")
    assert (judging.input_tokens, judging.cached_tokens, judging.output_tokens) == (100, 60, 10)
    assert judging.cost_usd == 170.0
    assert judging.params_effective == {
        "temperature": 0,
        "max_output_tokens": 1200,
        "store": False,
        "service_tier": "flex",
        "response_format": "json_schema",
    }


@pytest.mark.parametrize("found", ["json_schema", "tool", "json_object", "prompt"])
def test_it_has_the_same_ladder_as_chat(found: str) -> None:
    server = Server(found)
    first, second = replies(server, a_question(), a_question())
    assert first.content == second.content == PASS
    assert first.judging.params_effective["response_format"] == found
    rungs = ["json_schema", "tool", "json_object", "prompt"]
    assert len(server.asked) == rungs.index(found) + 2, "found once, and remembered"
    assert (SCHEMA_REQUEST in server.asked[-1]["input"][-1]["content"]) == (found in ("json_object", "prompt"))


def test_what_is_found_out_about_one_backend_is_not_held_against_another() -> None:
    def server(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        return refused(400, "text.format is not supported") if "text" in request else Answer(body=good)

    good = a_response(a_message(text(PASS)))
    told: dict[str, CapabilityPlan] = {}
    remembered = {"judge": CapabilityPlan(rung=3)}
    replies(server, a_question(), remembered=remembered, on_plan=told.__setitem__)
    assert {key: plan.dumped()["rung"] for key, plan in told.items()} == {"responses:judge": "tool"}


@pytest.mark.parametrize("name", ["store", "max_output_tokens", "temperature", "service_tier"])
def test_a_refused_parameter_is_dropped_once_and_said_so(name: str) -> None:
    server = Server("json_schema", refuses={name: refused(400, f"Unsupported parameter: '{name}'", param=name)})
    question = a_question(params={"temperature": 0}, service_tier="flex")
    first, second = replies(server, question, question)
    assert [name in request for request in server.asked] == [True, False, False]
    assert name not in first.judging.params_effective
    assert name not in second.judging.params_effective


@pytest.mark.parametrize(
    ("body", "content", "finish", "refusal"),
    [
        (a_response(a_message(text('{"ver'), text('dict"}'))), '{"verdict"}', "stop", None),
        (
            a_response({"type": "reasoning", "id": "r", "summary": []}, a_message(text(PASS))),
            PASS,
            "stop",
            None,
        ),
        (a_response(a_message(text("Let me see."), phase="commentary"), a_message(text(PASS))), PASS, "stop", None),
        (a_response(a_message({"type": "refusal", "refusal": "I would rather not."})), None, "stop", "I would rather"),
        (
            a_response(
                a_message(text('{"ver')), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
            ),
            '{"ver',
            "length",
            None,
        ),
        (
            a_response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            None,
            "content_filter",
            None,
        ),
        (a_response(status="incomplete"), None, "length", None),
    ],
)
def test_what_comes_back_is_told_as_chat_would(
    body: dict[str, Any], content: str | None, finish: str | None, refusal: str | None
) -> None:
    reply = read(body)
    assert (reply.content, reply.finish_reason) == (content, finish)
    assert (reply.refusal or "").startswith(refusal or "")
    assert (reply.refusal is None) == (refusal is None)


@pytest.mark.parametrize(
    "body",
    [None, [], "x", {}, {"output": None}, {"output": {}}]
    + [{"output": [], "status": status} for status in ("queued", "in_progress", "cancelled", "failed")]
    + [{"output": [], "error": {"code": "server_error", "message": "sorry"}}],
)
def test_what_is_no_finished_response_is_none(body: object) -> None:
    with pytest.raises(NoCompletion):
        read(body)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        ("server_error", JudgeUnavailable, None),
        ("rate_limit_exceeded", JudgeUnavailable, None),
        ("invalid_prompt", VerdictUnreadable, "bad_request"),
        ("bio_policy", VerdictUnreadable, "content_filter"),
        ("misalignment_policy_violation", VerdictUnreadable, "content_filter"),
    ],
)
def test_a_response_that_failed_is_read_as_the_error_it_names(
    code: str, kind: type[JudgeError], reason: str | None
) -> None:
    body = a_response(status="failed", error={"code": code, "message": "Sorry."})
    with pytest.raises(kind, match=r"Sorry\.") as caught:
        replies(lambda request, headers: Answer(body=body), a_question())
    assert getattr(caught.value, "reason", None) == reason


def test_another_form_of_answer_is_told_by_its_name() -> None:
    with pytest.raises(JudgeUnavailable, match="no response"):
        replies(lambda request, headers: completion(PASS), a_question())


KEYS = [
    "type",
    "text",
    "content",
    "refusal",
    "arguments",
    "output",
    "usage",
    "input_tokens",
    "output_tokens",
    "input_tokens_details",
    "cached_tokens",
    "status",
    "incomplete_details",
    "reason",
    "model",
    "phase",
    "service_tier",
    "error",
]
WORDS = ["message", "function_call", "output_text", "refusal", "completed", "incomplete", "max_output_tokens", PASS]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_no_body_whatever_raises_anything_else(body: dict[str, Any]) -> None:
    try:
        reply = read({"output": [], **body})
    except NoCompletion:
        return
    for count in (reply.judging.input_tokens, reply.judging.output_tokens):
        assert count is None or 0 <= count < 1_000_000_000
