"""A server that enforces no form of JSON is asked once more for what it said in its own way, where that is allowed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from worker.core.judging.reask import REQUEST, SHOWN_BYTES
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.judge.capabilities import CapabilityPlan
from worker.judge.client import ChatJudge
from worker.judge.wire.protocol import SCHEMA_REQUEST
from worker.records import Message, Question, Reply

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["pass", "fail"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
GOOD = '{"verdict":"pass"}'
PROSE = "The agent did well, I think: it passes."
PROMPT_ONLY = {"judge": CapabilityPlan(rung=3)}


class Script:
    """Gives the answers one after the other, the last one for ever, and keeps what was asked."""

    def __init__(self, *answers: Answer | str) -> None:
        self.answers = [
            completion(answer, prompt="x" * 400) if isinstance(answer, str) else answer for answer in answers
        ]  # 100 tokens in
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def asked(script: Script, *, may: bool = True, plans: Mapping[str, CapabilityPlan] = PROMPT_ONLY, **over: Any) -> Reply:
    question = Question(
        messages=(Message("system", "Judge."), Message("user", "Was it done?")),
        answer_schema=SCHEMA,
        schema_name="verdict",
        model="judge",
        prompt_hash="0" * 16,
        may_repair=may,
        **over,
    )

    async def run() -> Reply:
        async with JudgeServer(script) as server:
            judge = ChatJudge(
                server.base_url, SecretStr("k"), remembered=plans, price=lambda model, *counts: float(counts[0])
            )
            try:
                return await judge.ask(question)
            finally:
                await judge.close()

    return asyncio.run(run())


@pytest.mark.parametrize("bad", [PROSE, '{"verdict":"maybe"}', '{"verdict":"pass", "verdict":"fail"}', "[]", "{", "7"])
def test_what_is_not_the_agreed_json_is_asked_for_once_more_and_both_are_paid(bad: str) -> None:
    script = Script(bad, GOOD)
    reply = asked(script)
    assert reply.content == GOOD
    assert (reply.judging.input_tokens, reply.judging.cost_usd) == (200, 200.0)
    assert len(script.asked) == 2
    first, second = (request["messages"] for request in script.asked)
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[1]["content"] == "Was it done?"
    assert second[2]["content"] == bad
    assert second[3]["content"].startswith(REQUEST)
    assert SCHEMA_REQUEST in first[-1]["content"]
    assert SCHEMA_REQUEST in second[-1]["content"]


def test_there_is_no_third_try() -> None:
    script = Script(PROSE, PROSE, GOOD)
    reply = asked(script)
    assert (reply.content, reply.judging.cost_usd, len(script.asked)) == (PROSE, 200.0, 2)


@pytest.mark.parametrize("good", [GOOD, f"```json\n{GOOD}\n```", f"\n {GOOD} "])
def test_what_can_be_read_is_not_asked_for_again(good: str) -> None:
    script = Script(good)
    assert asked(script).content == good
    assert len(script.asked) == 1


def test_a_question_that_does_not_allow_it_is_asked_once() -> None:
    script = Script(PROSE, GOOD)
    assert asked(script, may=False).content == PROSE
    assert len(script.asked) == 1


@pytest.mark.parametrize("rung", [0, 1, 2])
def test_a_server_that_enforces_a_form_is_asked_once(rung: int) -> None:
    script = Script('{"verdict":"maybe"}', GOOD)
    asked(script, plans={"judge": CapabilityPlan(rung=rung)})
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        completion(None, refusal="I would rather not."),
        completion("Well, I", finish_reason="length"),
        completion("", finish_reason="content_filter"),
        completion("", tokens_out=9),
        completion(None, tokens_out=9),
    ],
)
def test_what_was_refused_cut_or_empty_would_be_so_again(answer: Answer) -> None:
    script = Script(answer, GOOD)
    asked(script)
    assert len(script.asked) == 1


def test_a_long_answer_is_shown_back_by_its_beginning() -> None:
    script = Script("é" * 100_000, GOOD)
    asked(script)
    shown = script.asked[1]["messages"][2]["content"]
    assert shown == "é" * (SHOWN_BYTES // 2)


@pytest.mark.parametrize(
    "trouble", [refused(500, "sorry"), refused(429, "slow down"), refused(401, "who?"), refused(400, "no")]
)
def test_a_second_try_that_fails_leaves_the_first_answer_which_is_paid(trouble: Answer) -> None:
    script = Script(PROSE, trouble)
    reply = asked(script)
    assert (reply.content, reply.judging.cost_usd) == (PROSE, 100.0)


def test_what_was_passed_over_on_the_ladder_is_paid_too() -> None:
    script = Script(PROSE, PROSE, PROSE, PROSE, GOOD)
    reply = asked(script, plans={})
    assert (reply.content, len(script.asked)) == (GOOD, 5)
    assert reply.judging.cost_usd == 500.0
