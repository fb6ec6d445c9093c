"""The flex tier: half the price where there is room, the full one where there is none, and known which it was."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.openai_replies import a_message, a_response, text
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.errors import JudgeUnavailable
from worker.judge.client import ChatJudge
from worker.judge.limits.adaptive import CallTotals
from worker.judge.limits.call_queue import CallQueue
from worker.records import Backend, Message, Question, Reply

FULL = refused(429, "Resource Unavailable", code="resource_unavailable")
FULL_IN_WORDS = Answer(429, body={"error": {"message": "Resource unavailable, please try again later."}})
BUSY = refused(429, "Rate limit reached for requests", code="rate_limit_exceeded")


def a_question(backend: Backend = "chat", tier: str | None = "flex") -> Question:
    return Question(
        backend=backend,
        messages=(Message("user", "Was it done?"),),
        answer_schema={"type": "object"},
        schema_name="verdict",
        model="judge",
        service_tier=tier,
        prompt_hash="0" * 16,
    )


class Tiers:
    """Has no room on flex so many times, and says with each answer on which tier it was served."""

    def __init__(self, *instead: Answer, path: str = "/v1/chat/completions") -> None:
        self.instead = list(instead)
        self.path = path
        self.asked: list[str | None] = []

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        tier = request.get("service_tier")
        self.asked.append(tier)
        if self.instead:
            return self.instead.pop(0)
        if self.path.endswith("responses"):
            return Answer(body=a_response(a_message(text("{}")), service_tier=tier or "default"))
        answer = completion("{}", prompt="x" * 400)
        assert isinstance(answer.body, dict)
        return Answer(body=answer.body | {"service_tier": tier or "default"})


def price(model: str, read: int, cached: int, written: int, tier: str | None) -> float:
    return read * {"flex": 0.5}.get(tier or "", 1.0)


def replies(tiers: Tiers, *questions: Question) -> tuple[list[Reply], CallQueue]:
    async def run() -> tuple[list[Reply], CallQueue]:
        async with JudgeServer(tiers, path=tiers.path) as server:
            judge = ChatJudge(server.base_url, SecretStr("k"), price=price)
            try:
                return [await judge.ask(question) for question in questions], judge.queue("judge")
            finally:
                await judge.close()

    return asyncio.run(run())


@pytest.mark.parametrize("backend", ["chat", "responses"])
def test_it_is_asked_for_and_paid_by_what_was_served(backend: Any) -> None:
    tiers = Tiers(path={"chat": "/v1/chat/completions", "responses": "/v1/responses"}[backend])
    (flex, plain), _ = replies(tiers, a_question(backend), a_question(backend, None))
    assert tiers.asked == ["flex", None]
    assert [reply.judging.service_tier for reply in (flex, plain)] == ["flex", "default"]
    assert [reply.judging.cost_usd for reply in (flex, plain)] == [50.0, 100.0]


@pytest.mark.parametrize("full", [FULL, FULL_IN_WORDS])
def test_without_room_the_same_question_is_asked_at_the_full_price_and_said_so(full: Answer) -> None:
    tiers = Tiers(full)
    (reply,), _ = replies(tiers, a_question())
    assert tiers.asked == ["flex", "default"]
    assert (reply.judging.service_tier, reply.judging.cost_usd) == ("default", 100.0)
    assert reply.judging.params_effective["service_tier"] == "default"


def test_a_tier_without_room_is_no_refusal_to_the_pace() -> None:
    _, queue = replies(Tiers(FULL), *[a_question()] * 3)
    assert queue.limiter.totals == CallTotals(calls=3, refused=0, failed=0, answered=3)
    assert queue.limiter.in_flight == 0


def test_a_rate_limit_is_a_rate_limit_on_flex_too() -> None:
    tiers = Tiers(BUSY)
    with pytest.raises(JudgeUnavailable) as caught:
        replies(tiers, a_question())
    assert caught.value.is_refusal
    assert tiers.asked == ["flex"]


@pytest.mark.parametrize("tier", [None, "default", "priority"])
def test_only_flex_falls_back(tier: str | None) -> None:
    tiers = Tiers(FULL)
    with pytest.raises(JudgeUnavailable):
        replies(tiers, a_question(tier=tier))
    assert tiers.asked == [tier]


def test_it_falls_back_once() -> None:
    tiers = Tiers(FULL, FULL)
    with pytest.raises(JudgeUnavailable):
        replies(tiers, a_question())
    assert tiers.asked == ["flex", "default"]


def test_a_model_that_has_no_flex_is_asked_without_from_then_on() -> None:
    tiers = Tiers(refused(400, "Unsupported service_tier: flex"))
    replies(tiers, a_question(), a_question())
    assert tiers.asked == ["flex", None, None]
