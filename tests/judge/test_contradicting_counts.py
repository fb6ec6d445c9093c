"""Counts of a server that contradict themselves."""

from typing import Any

import pytest

from worker.judge.wire.protocol import TokenUsage, tokens


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"in": 0, "out": 0, "total_tokens": 0}, TokenUsage(None, None, None)),
        ({"in": 0, "out": 9}, TokenUsage(None, None, 9)),
        ({"in": -1, "out": "12"}, TokenUsage(None, None, 12)),
        ({"in": 10, "out": 5, "more": {"cached_tokens": 90}}, TokenUsage(100, None, 5)),
        ({"in": 10, "out": 5, "out_details": {"reasoning_tokens": 40}}, TokenUsage(10, None, 45)),
        ({"in": 10, "out": 5, "total_tokens": 70}, TokenUsage(10, None, 60)),
        ({"in": 10, "out": 5, "total_tokens": 3}, TokenUsage(10, None, 5)),
    ],
)
def test_a_contradiction_counts_as_the_most_it_can_mean(usage: dict[str, Any], expected: TokenUsage) -> None:
    assert tokens(usage, "in", "more", "out") == expected
