"""The chat form by itself: what a line of a batch holds, and how its row is read, without any server."""

from typing import Any

import orjson
import pytest

from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.chat import ChatWire
from worker.judge.wire.protocol import NoCompletion
from worker.records import Message, Question

QUESTION = Question(
    messages=(Message("system", "Judge."), Message("user", "Was it done?")),
    answer_schema={"type": "object"},
    schema_name="verdict",
    model="judge",
    params={"temperature": 0},
    prompt_hash="0" * 16,
    digest_version="3",
)
ROW = {
    "model": "judge-2026",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 90, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}},
}


def test_a_row_is_read_completely_without_a_judge() -> None:
    line, effective = ChatWire().body(QUESTION, CapabilityPlan())
    assert orjson.loads(line)["response_format"]["type"] == "json_schema"

    def price(model: str, read: int, cached: int, written: int, tier: str | None) -> float:
        return (read + cached + written) * (0.5 if tier == "batch" else 1.0)

    reply = ChatWire().read(ROW, QUESTION, effective, latency_ms=None, price=price, tier="batch")
    assert (reply.content, reply.finish_reason) == ("{}", "stop")
    assert reply.judging.model_dump() == {
        "model_requested": "judge",
        "model_served": "judge-2026",
        "fingerprint": "fp_1",
        "prompt_hash": "0" * 16,
        "digest_version": "3",
        "params_effective": {"temperature": 0, "max_tokens": 1200, "response_format": "json_schema"},
        "service_tier": "batch",
        "input_tokens": 90,
        "cached_tokens": 40,
        "output_tokens": 10,
        "counts": None,
        "cost_usd": 70.0,
        "latency_ms": None,
    }


def test_the_tier_is_the_answers_where_nobody_knows_better() -> None:
    reply = ChatWire().read(ROW, QUESTION, {}, latency_ms=5.0, price=None)
    assert (reply.judging.service_tier, reply.judging.latency_ms, reply.judging.cost_usd) == ("default", 5.0, None)


@pytest.mark.parametrize("tier", [None, "", 7, ["flex"], {"tier": "flex"}])
def test_a_tier_that_is_no_word_is_none(tier: object) -> None:
    reply = ChatWire().read({**ROW, "service_tier": tier}, QUESTION, {}, latency_ms=5.0, price=None)
    assert reply.judging.service_tier is None


@pytest.mark.parametrize("body", [None, "hello", 7, [], {}, {"choices": None}, {"choices": {"a": 1}}])
def test_what_is_no_completion_is_said_to_be_none(body: Any) -> None:
    with pytest.raises(NoCompletion):
        ChatWire().read(body, QUESTION, {}, latency_ms=5.0, price=None)
