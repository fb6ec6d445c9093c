"""Counts of a server that contradict themselves."""

from typing import Any

import pytest

from tests.support.judge_questions import a_question
from worker.judge.wire.chat import ChatWire
from worker.judge.wire.protocol import TokenUsage, tokens


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"in": 0, "out": 0, "total_tokens": 0}, TokenUsage(None, None, None)),
        ({"in": 0, "out": 9}, TokenUsage(None, None, 9)),
        ({"in": -1, "out": "12"}, TokenUsage(None, None, 12)),
        ({"in": 10, "out": 5, "more": {"cached_tokens": 90}}, TokenUsage(100, None, 5, is_contradictory=True)),
        (
            {"in": 10, "out": 5, "out_details": {"reasoning_tokens": 40}},
            TokenUsage(10, None, 45, is_contradictory=True),
        ),
        ({"in": 10, "out": 5, "total_tokens": 70}, TokenUsage(10, None, 60, is_contradictory=True)),
        ({"in": 10, "out": 5, "total_tokens": 3}, TokenUsage(10, None, 5)),
        ({"in": 10, "out": 0, "total_tokens": 10}, TokenUsage(10, None, None)),
        ({"in": 10, "out": 0, "total_tokens": 70}, TokenUsage(10, None, 60, is_contradictory=True)),
        ({"in": "10", "out": "5.0"}, TokenUsage(10, None, 5)),
        ({"in": "1e9", "out": "5.5"}, TokenUsage(None, None, None)),
        ({"input_tokens": 10, "output_tokens": 5}, TokenUsage(10, None, 5)),
    ],
)
def test_a_contradiction_counts_as_the_most_it_can_mean(usage: dict[str, Any], expected: TokenUsage) -> None:
    assert tokens(usage, "in", "more", "out") == expected


def test_a_classifier_that_writes_nothing_costs_what_it_read() -> None:
    assert tokens({"in": 10, "out": 0}, "in", "more", "out", writes=False) == TokenUsage(10, None, 0)


@pytest.mark.parametrize(
    ("usage", "trouble", "cost_usd"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, None, 15.0),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 70}, "contradictory", 70.0),
        ({"prompt_tokens": 10, "completion_tokens": 0}, "missing", None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, "missing", None),
        (None, "missing", None),
    ],
)
def test_what_is_wrong_with_the_counts_stands_with_the_judging(
    usage: object, trouble: str | None, cost_usd: float | None
) -> None:
    choice = {"message": {"content": '{"verdict":"pass"}'}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": usage}
    reply = ChatWire().read(body, a_question(), {}, latency_ms=None, price=lambda m, read, c, out, t: float(read + out))
    assert (reply.judging.counts, reply.judging.cost_usd) == (trouble, cost_usd)
