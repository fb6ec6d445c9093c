"""Ordinary results that begin or look like failures, and are none."""

import pytest

from worker.core.tool_failure import failure
from worker.records import Step


@pytest.mark.parametrize(
    "result",
    [
        '{"data":{"n":3},"error":{"code":"ok","message":"","log_id":"2024"}}',
        '{"data":{"n":3},"error":{"code":0,"message":"success"}}',
        '{"data":{"n":3},"error":{"code":null,"message":""}}',
        "401 client records found",
        "500 service tickets were closed this week",
        "Status: 450 units in stock",
    ],
)
def test_a_success_is_none(result: str) -> None:
    assert failure(Step(seq=0, kind="tool", result=result)) is None


@pytest.mark.parametrize(
    "result",
    [
        '{"error":{"code":"not_found","message":"no such order"}}',
        '{"error":{"code":404,"message":"no such order"}}',
        "404 Not Found",
        "HTTP 503",
        "500 Internal Server Error",
        "status code: 429",
    ],
)
def test_a_failure_is_one(result: str) -> None:
    assert failure(Step(seq=0, kind="tool", result=result)) is not None
