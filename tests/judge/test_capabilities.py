"""Climbing down: what a server cannot do is found out once and remembered."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from tests.support.judge_forms import PROSE, SCHEMA, a_question, form_of
from worker.demo.judge.server import Answer, JudgeServer, completion, refused, simulated_verdict
from worker.errors import VerdictUnreadable
from worker.judge.capabilities import LIMITS, CapabilityPlan, easier
from worker.judge.client import ChatJudge
from worker.judge.failures import Complaint
from worker.judge.wire.chat import ChatWire
from worker.judge.wire.protocol import SCHEMA_REQUEST
from worker.records import Message, Question, Reply

GOOD = completion('{"verdict":"pass"}')


class Picky:
    """A server that supports only these forms of answer and refuses these parameters."""

    def __init__(
        self, *forms: str, refuses: Mapping[str, Answer] | None = None, unknown_form: Answer | None = None
    ) -> None:
        self.forms = forms
        self.unknown_form = unknown_form
        self.refuses = refuses or {}
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.append(request)
        form = form_of(request)
        if form not in self.forms:
            what = "tools are" if form == "tool" else f"response_format: type '{form}' is"
            return self.unknown_form or refused(400, f"{what} not supported")
        for name, answer in self.refuses.items():
            if name in request:
                return answer
        return simulated_verdict(request, lambda prompt: 1.0)

    @property
    def forms_asked(self) -> list[str]:
        return [form_of(request) for request in self.asked]


def replies(server_side: Picky, *questions: Question) -> list[Reply]:
    async def run() -> list[Reply]:
        async with JudgeServer(server_side) as server:
            judge = ChatJudge(server.base_url, SecretStr("k"))
            try:
                return [await judge.ask(question) for question in questions]
            finally:
                await judge.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("forms", "found", "first_asked"),
    [
        (("json_schema", "tool", "json_object", "text"), "json_schema", ["json_schema"]),
        (("tool", "json_object", "text"), "tool", ["json_schema", "tool"]),
        (("json_object", "text"), "json_object", ["json_schema", "tool", "json_object"]),
        (("text",), "prompt", ["json_schema", "tool", "json_object", "text"]),
    ],
)
def test_the_highest_rung_that_a_server_has_is_found_once(
    forms: tuple[str, ...], found: str, first_asked: list[str]
) -> None:
    picky = Picky(*forms)
    first, second = replies(picky, a_question(), a_question())
    assert first.content == second.content == '{"verdict":"pass"}'
    assert first.judging.params_effective["response_format"] == found
    assert picky.forms_asked == [*first_asked, first_asked[-1]]


def test_below_the_strict_rung_the_schema_ends_the_last_user_message() -> None:
    picky = Picky("text")
    replies(picky, a_question())
    system, user = picky.asked[-1]["messages"]
    assert system["content"] == "Judge."
    before, request, schema = user["content"].partition(SCHEMA_REQUEST)
    assert before == "Was it done?\n\n"
    assert request
    assert orjson.loads(schema) == SCHEMA


def test_each_model_has_its_own_rung() -> None:
    picky = Picky("text")
    replies(picky, a_question("one"), a_question("two"), a_question("one"))
    assert picky.forms_asked == ["json_schema", "tool", "json_object", "text"] * 2 + ["text"]


@pytest.mark.parametrize(
    "complaint",
    [
        refused(400, "Unsupported value: 'temperature' does not support 0 with this model.", param="temperature"),
        refused(400, "temperature is deprecated for this model"),
        Answer(422, body={"detail": [{"loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}]}),
        Answer(400, body={"object": "error", "message": "unknown field: temperature", "code": 400}),
        Answer(400, body=b"json: unknown field `temperature`"),
    ],
)
def test_a_refused_parameter_is_dropped_once_and_said_so(complaint: Answer) -> None:
    picky = Picky("json_schema", refuses={"temperature": complaint})
    first, second = replies(picky, a_question(temperature=0, top_p=0.9), a_question(temperature=0, top_p=0.9))
    expected = {"top_p": 0.9, "max_tokens": 1200, "response_format": "json_schema"}
    assert first.judging.params_effective == second.judging.params_effective == expected
    assert ["temperature" in request for request in picky.asked] == [True, False, False]


def test_the_output_cap_is_renamed_when_its_name_is_refused() -> None:
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    picky = Picky("json_schema", refuses={"max_tokens": refused(400, message, code="unsupported_parameter")})
    (reply,) = replies(picky, a_question())
    assert reply.judging.params_effective == {"max_completion_tokens": 1200, "response_format": "json_schema"}


def test_several_weaknesses_are_found_one_after_the_other() -> None:
    names = ("temperature", "seed", "max_tokens", "max_completion_tokens")
    picky = Picky("text", refuses={name: refused(400, f"{name} is not allowed", param=name) for name in names})
    (reply,) = replies(picky, a_question(temperature=0, seed=1))
    assert reply.judging.params_effective == {"response_format": "prompt"}
    assert len(picky.asked) == 1 + 3 + len(names)


def test_a_plan_that_led_nowhere_is_not_remembered() -> None:
    answers = [
        refused(400, "invalid schema in response_format"),
        refused(400, "no tools today"),
        refused(400, "no json_object today"),
        refused(400, "no"),
    ]
    asked: list[dict[str, Any]] = []

    def script(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked.append(request)
        return answers.pop(0) if answers else GOOD

    async def run() -> Reply:
        async with JudgeServer(script) as server:
            judge = ChatJudge(server.base_url, None)
            try:
                with pytest.raises(VerdictUnreadable):
                    await judge.ask(a_question())
                return await judge.ask(a_question())
            finally:
                await judge.close()

    assert asyncio.run(run()).judging.params_effective["response_format"] == "json_schema"
    assert len(asked) == 5


def test_questions_asked_at_once_agree_on_what_the_server_can_do() -> None:
    picky = Picky("json_object", refuses={"seed": refused(400, "seed?", param="seed")})

    async def run() -> None:
        async with JudgeServer(picky) as server:
            judge = ChatJudge(server.base_url, None)
            await asyncio.gather(*(judge.ask(a_question(seed=n)) for n in range(10)))
            before = len(picky.asked)
            await judge.ask(a_question(seed=1))
            assert len(picky.asked) == before + 1
            await judge.close()

    asyncio.run(run())


def test_a_server_that_refuses_everything_ends_the_climb() -> None:
    def refuse(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        name = next((name for name in request if name.startswith("p")), "nothing")
        return refused(400, f"{name} is refused", param=name)

    async def run() -> int:
        async with JudgeServer(refuse) as server:
            judge = ChatJudge(server.base_url, None)
            with pytest.raises(VerdictUnreadable, match="is refused"):
                await judge.ask(a_question(**{f"p{n}": n for n in range(50)}))
            await judge.close()
            return server.requests.count

    assert asyncio.run(run()) == 12


def test_a_rubric_cannot_change_how_the_answer_arrives() -> None:
    body, effective = ChatWire().body(
        a_question(stream=True, n=5, messages=[], model="other", max_tokens=9), CapabilityPlan()
    )
    request = orjson.loads(body)
    assert request["stream"] is False, "some servers stream unless they are told not to"
    assert "n" not in request
    assert (request["model"], request["max_tokens"], len(request["messages"])) == ("judge", 1200, 2)
    assert effective == {"max_tokens": 1200, "response_format": "json_schema"}


def test_openai_itself_is_first_asked_with_the_newer_name_of_the_cap() -> None:
    _, effective = ChatWire().body(a_question(), CapabilityPlan(limits=LIMITS[::-1]))
    assert effective["max_completion_tokens"] == 1200


def test_without_a_user_message_the_schema_makes_one() -> None:
    question = a_question().model_copy(update={"messages": (Message("system", "Judge."),)})
    body, _ = ChatWire().body(question, CapabilityPlan(rung=3))
    assert [message["role"] for message in orjson.loads(body)["messages"]] == ["system", "user"]


def test_a_complaint_about_something_else_gives_no_easier_plan() -> None:
    sent = ("temperature", "max_tokens", "response_format")
    assert easier(CapabilityPlan(), Complaint("bad role"), sent) is None
    assert easier(CapabilityPlan(rung=3), Complaint("response_format?", param="response_format"), sent) is None


def test_a_form_that_a_server_passes_over_in_silence_is_not_asked_for_again() -> None:
    picky = Picky("json_object", "text", unknown_form=PROSE)
    first, second = replies(picky, a_question(), a_question())
    assert first.content == second.content == '{"verdict":"pass"}'
    assert picky.forms_asked == ["json_schema", "tool", "json_object", "json_object"]
    each = [reply.judging.input_tokens or 0 for reply in (first, second)]
    assert each[0] == each[1] + 2 * 10, "what they cost is not forgotten"


def test_a_server_that_only_talks_is_asked_once_a_rung_and_its_words_come_back() -> None:
    (reply,) = replies(Picky(unknown_form=PROSE), a_question())
    assert reply.content is not None
    assert reply.content.startswith("The agent did well")


@pytest.mark.parametrize("content", ['{"verdict":"pa', '```json\n{"verdict":"pass"}\n```', "", None])
def test_a_slip_or_an_empty_answer_is_no_sign_of_another_form(content: str | None) -> None:
    picky = Picky(unknown_form=completion(content, tokens_out=9))
    assert len(replies(picky, a_question())) == 1
    assert picky.forms_asked == ["json_schema"]


def test_a_server_that_knows_the_form_is_not_doubted_for_one_answer_in_prose() -> None:
    answers = [GOOD, PROSE, GOOD]
    asked: list[str] = []

    def script(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked.append(form_of(request))
        return answers.pop(0)

    async def run() -> list[Reply]:
        async with JudgeServer(script) as server:
            judge = ChatJudge(server.base_url, None)
            told = [await judge.ask(a_question()) for _ in range(3)]
            await judge.close()
            return told

    assert [reply.content == '{"verdict":"pass"}' for reply in asyncio.run(run())] == [True, False, True]
    assert asked == ["json_schema"] * 3


def test_a_model_whose_first_answer_is_prose_in_every_form_is_asked_in_the_strict_one_again() -> None:
    """No form made it better, so no form is to blame: the weakest one would be kept for a week, in all processes."""
    answers = [PROSE, PROSE, PROSE, PROSE, GOOD]
    asked: list[str] = []
    told: dict[str, CapabilityPlan] = {}

    def script(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked.append(form_of(request))
        return answers.pop(0)

    async def run() -> list[Reply]:
        async with JudgeServer(script) as server:
            judge = ChatJudge(server.base_url, None, on_plan=told.__setitem__)
            replied = [await judge.ask(a_question()) for _ in range(2)]
            await judge.close()
        await asyncio.get_running_loop().shutdown_default_executor()
        return replied

    assert [reply.content == '{"verdict":"pass"}' for reply in asyncio.run(run())] == [False, True]
    assert asked == ["json_schema", "tool", "json_object", "text", "json_schema"]
    assert told["judge"].dumped()["rung"] == "json_schema"


def test_a_500_about_tools_is_a_missing_form_and_not_an_outage() -> None:
    jinja = refused(500, "tools param requires --jinja flag")
    picky = Picky("json_object", refuses={"tools": jinja})
    picky.forms = ("tool", "json_object")
    (reply,) = replies(picky, a_question())
    assert picky.forms_asked == ["json_schema", "tool", "json_object"]
    assert reply.judging.params_effective["response_format"] == "json_object"


def test_what_was_found_out_is_told_and_taken_up_again() -> None:
    told: dict[str, CapabilityPlan] = {}

    async def ask(picky: Picky, remembered: Mapping[str, CapabilityPlan]) -> None:
        async with JudgeServer(picky) as server:
            judge = ChatJudge(server.base_url, None, remembered=remembered, on_plan=told.__setitem__)
            await judge.ask(a_question())
            await judge.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(ask(Picky("json_object", "text"), {}))
    assert {model: plan.dumped()["rung"] for model, plan in told.items()} == {"judge": "json_object"}
    kept = {model: CapabilityPlan.loaded(plan.dumped()) for model, plan in told.items()}
    assert kept == told
    told.clear()
    again = Picky("json_object", "text")
    asyncio.run(ask(again, kept))
    assert again.forms_asked == ["json_object"]
    assert told == {}
    worse = Picky("text")
    asyncio.run(ask(worse, kept))
    assert worse.forms_asked == ["json_object", "text"]
    assert told["judge"].dumped()["rung"] == "prompt"
