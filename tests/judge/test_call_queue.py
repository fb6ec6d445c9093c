"""The queue in a real event loop: turns in order, none lost when somebody gives up, a judge at its pace."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.judge_questions import GOOD, a_question
from worker.demo.judge.server import Answer, JudgeServer, refused
from worker.errors import JudgeRefusesUs, JudgeUnavailable
from worker.judge import retrying
from worker.judge.client import ChatJudge
from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.call_queue import CallQueue
from worker.judge.limits.ready_calls import wanted_calls
from worker.judge.retrying import PacedJudge


def test_turns_come_in_order_and_one_that_gives_up_is_passed_over() -> None:
    async def run() -> list[int]:
        queue = CallQueue(AdaptiveLimiter(1))
        order: list[int] = []

        async def call(number: int) -> None:
            await queue.enter()
            order.append(number)
            await asyncio.sleep(0.01)  # a call that takes its time
            queue.answered(0.01)

        tasks = []
        for number in range(5):
            tasks.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0)  # it joins the queue
        assert (queue.limiter.in_flight, queue.waiting) == (1, 4)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.limiter.in_flight, queue.waiting) == (0, 0)
        return order

    assert asyncio.run(run()) == [0, 1, 3, 4]


def test_a_turn_that_was_given_to_somebody_who_is_gone_goes_to_the_next() -> None:
    async def run() -> None:
        queue = CallQueue(AdaptiveLimiter(1))
        await queue.enter()
        waiting = [asyncio.create_task(queue.enter()) for _ in range(2)]
        await asyncio.sleep(0)  # they join the queue
        queue.answered(0.01)  # the first has its turn, but has not woken up yet
        waiting[0].cancel()
        await asyncio.sleep(0.01)  # it is cancelled, and the next wakes up
        assert waiting[0].cancelled()
        assert waiting[1].done()
        assert queue.limiter.in_flight == 1

    asyncio.run(run())


def test_whoever_waits_for_a_rate_is_let_through_without_anybody_ending() -> None:
    async def run() -> float:
        queue = CallQueue(AdaptiveLimiter(100, rate=50.0))
        since = time.monotonic()
        for _ in range(14):
            await queue.enter()
        return time.monotonic() - since

    assert asyncio.run(run()) > 0.12  # five may be saved up


def test_those_who_wait_are_sent_away_when_the_server_refuses_us() -> None:
    async def run() -> None:
        queue = CallQueue(AdaptiveLimiter(1))
        await queue.enter()
        waiting = [asyncio.create_task(queue.enter()) for _ in range(3)]
        await asyncio.sleep(0)  # they join the queue
        queue.force_open("refused")
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        assert wanted_calls(queue) == 0

    asyncio.run(run())


def asked(answers: list[Answer], most: int = 4) -> tuple[Any, int]:
    """What a paced judge makes of these answers, the last one for ever; and how often it asked."""

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def run() -> tuple[Any, int]:
        async with JudgeServer(answer) as server:
            judge = PacedJudge(ChatJudge(server.base_url, None, concurrency=most))
            try:
                told: Any = await judge.ask(a_question())
            except (JudgeUnavailable, JudgeRefusesUs) as error:
                told = error
            await judge.close()
            return told, server.requests.count

    return asyncio.run(run())


LATER = refused(429, "slow down")._replace(headers={"Retry-After": "0.05"})


def test_a_refused_call_waits_for_another_turn_and_is_not_a_try() -> None:
    told, count = asked([LATER, LATER, GOOD])
    assert (told.content, count) == ('{"verdict":"pass"}', 3)


def test_a_503_that_says_when_to_come_back_is_a_refusal() -> None:
    busy = refused(503, "busy")
    assert asked([busy._replace(headers={"Retry-After": "0.05"}), GOOD])[1] == 2
    told, count = asked([busy, GOOD])
    assert (type(told), count) == (JudgeUnavailable, 1)  # an error: the ledger's


def test_one_that_is_refused_again_and_again_goes_back_to_the_ledger() -> None:
    told, count = asked([LATER])
    assert isinstance(told, JudgeUnavailable)
    assert (told.is_refusal, count) == (True, retrying.MAX_TURNS + 1)


def test_a_long_wait_is_the_ledgers() -> None:
    told, count = asked([refused(429, "slow down")._replace(headers={"Retry-After": "120"}), GOOD])
    assert (told.retry_after_s, count) == (120, 1)


@pytest.mark.parametrize("code", [401, 404])
def test_a_refusal_of_our_key_or_model_stops_everybody(code: int) -> None:
    async def run() -> tuple[list[Any], int]:
        async with JudgeServer(lambda request, headers: refused(code, "no such thing")) as server:
            judge = PacedJudge(ChatJudge(server.base_url, None, concurrency=2))
            asking = [asyncio.create_task(judge.ask(a_question())) for _ in range(20)]
            told = await asyncio.gather(*asking, return_exceptions=True)
            await judge.close()
            return told, server.requests.count

    told, count = asyncio.run(run())
    assert count == 2
    assert {type(error) for error in told} == {JudgeRefusesUs, asyncio.CancelledError}


def test_an_allowance_that_an_answer_says_is_used_up_holds_back_the_next() -> None:
    last = GOOD._replace(headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"})

    async def run() -> float:
        async with JudgeServer(lambda request, headers: last) as server:
            judge = PacedJudge(ChatJudge(server.base_url, None))
            await judge.ask(a_question())
            since = time.monotonic()
            await judge.ask(a_question())
            await judge.close()
            return time.monotonic() - since

    assert asyncio.run(run()) > 0.2


def test_where_calls_are_seldom_none_is_made_ready_before_its_turn() -> None:
    now = [100.0]
    queue = CallQueue(AdaptiveLimiter(50, rate=0.2), clock=lambda: now[0])
    assert wanted_calls(queue) == 1
    queue.limiter.begins(now[0])
    queue.answered(0.3)
    assert wanted_calls(queue) == 0  # another process may have its turn sooner
    now[0] += 4.9
    assert wanted_calls(queue) == 0
    now[0] += 0.2
    assert wanted_calls(queue) == 1
    assert wanted_calls(CallQueue(AdaptiveLimiter(50, rate=2.0))) == 2
