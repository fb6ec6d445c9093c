"""What is paid for answers that are none, and what a slip of a model teaches about its server."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest

from tests.support.judge_forms import form_of
from tests.support.judge_questions import GOOD, a_question
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.errors import JudgeError, JudgeUnavailable
from worker.jobs.metered_ask import MeteredAsk
from worker.judge.capabilities import CapabilityPlan, plan_keys
from worker.judge.client import ChatJudge
from worker.judge.retrying import PacedJudge
from worker.records import Reply
from worker.store.queue.job import Job

PART = completion('{"verd', finish_reason="error", prompt="x" * 400, tokens_out=9)
NO_CHOICE = Answer(body={"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 9}})
SLIP = refused(400, "Failed to validate JSON. Please adjust your prompt. See 'failed_generation' for more details.")


def a_price(model: str, read: int, cached: int, written: int, tier: str | None) -> float:
    return float(read + written)


def asked(
    answers: Callable[[int, Mapping[str, Any]], Answer], questions: int = 1
) -> tuple[list[Reply | JudgeError], dict[str, CapabilityPlan], list[str]]:
    """What one question after the other comes to, the plans that are remembered, and the forms that were asked."""
    forms: list[str] = []

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        forms.append(form_of(request))
        return answers(len(forms), request)

    async def run() -> tuple[list[Reply | JudgeError], dict[str, CapabilityPlan]]:
        told: dict[str, CapabilityPlan] = {}
        got: list[Reply | JudgeError] = []
        async with JudgeServer(answer) as server:
            judge = ChatJudge(server.base_url, None, price=a_price, on_plan=told.__setitem__)
            for _ in range(questions):
                try:
                    got.append(await judge.ask(a_question()))
                except JudgeError as error:
                    got.append(error)
            await judge.close()
            await asyncio.get_running_loop().shutdown_default_executor()
        return got, told

    got, told = asyncio.run(run())
    return got, told, forms


@pytest.mark.parametrize("answer", [PART, NO_CHOICE])
def test_an_answer_that_is_none_is_paid_all_the_same(answer: Answer) -> None:
    ((error,), _, _) = asked(lambda number, request: answer)
    assert isinstance(error, JudgeUnavailable)
    assert error.paid_usd == 109.0


def test_answers_on_the_way_to_an_error_are_paid_too() -> None:
    prose = completion("It passes, I think.", prompt="x" * 400, tokens_out=9)
    ((error,), _, forms) = asked(lambda number, request: prose if number < 3 else refused(503, "overloaded"))
    assert isinstance(error, JudgeUnavailable)
    assert (error.paid_usd, len(forms)) == (218.0, 3)


def test_the_account_of_a_job_holds_what_its_failed_tries_cost() -> None:
    job = Job(1, 1, 1, "production", 0, date(2026, 11, 2), 1, 0.0, None)

    async def run() -> float:
        async with JudgeServer(lambda request, headers: PART) as server:
            judge = PacedJudge(ChatJudge(server.base_url, None, price=a_price))
            ask = MeteredAsk(judge, job, None)
            for _ in range(2):
                with pytest.raises(JudgeUnavailable):
                    await ask(a_question())
            await judge.close()
        return ask.spent_usd

    assert asyncio.run(run()) == 218.0


def test_a_slip_of_a_model_that_is_known_is_asked_in_a_simpler_form_and_teaches_nothing() -> None:
    got, told, forms = asked(lambda number, request: SLIP if number == 2 else GOOD, questions=3)
    assert [type(one) for one in got] == [Reply] * 3
    assert forms == ["json_schema", "json_schema", "tool", "json_schema"]
    assert told["judge"].rung == 0


def test_a_model_that_is_not_known_and_keeps_to_no_schema_is_asked_in_a_simpler_form_from_then_on() -> None:
    got, told, forms = asked(lambda number, request: SLIP if form_of(request) == "json_schema" else GOOD, questions=2)
    assert [type(one) for one in got] == [Reply] * 2
    assert forms == ["json_schema", "tool", "tool"]
    assert told["judge"].rung == 1


def counting(total: int) -> Answer:
    usage = {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": total}
    choice = {"index": 0, "message": {"content": '{"verdict":"pass"}'}, "finish_reason": "stop"}
    return Answer(body={"choices": [choice], "usage": usage})


def test_a_server_that_miscounts_is_remembered_and_forgotten_when_another_process_finds_it_does_not() -> None:
    _, told, _ = asked(lambda number, request: counting(900 if number == 2 else 109), questions=3)
    assert told["judge"].counts == "contradictory"
    assert CapabilityPlan.loaded(json.loads(json.dumps(told["judge"].dumped()))) == told["judge"]
    _, later, _ = asked(lambda number, request: counting(109))
    assert later["judge"].counts is None


def test_a_model_is_remembered_under_the_name_of_each_backend() -> None:
    assert plan_keys("judge:8b") == ("judge:8b", "responses:judge:8b", "decisions:judge:8b")
