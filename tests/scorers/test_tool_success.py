"""`tool_success`: the share of tool calls that worked."""

from datetime import UTC, datetime

import pytest

from worker.records import Outcome, Run, Step, StepKind
from worker.scorers.heuristics.tool_success import ToolSuccess
from worker.scorers.protocol import Context

TRACEBACK = 'Traceback (most recent call last):\n  File "<stdin>", line 1\nZeroDivisionError: division by zero'


def a_call(result: str | None = None, error: str | None = None, kind: StepKind = "tool") -> Step:
    return Step(seq=0, kind=kind, name="search", result=result, error=error)


def evaluate(*steps: Step) -> Outcome:
    run = Run(run_id="r", task_type="t", status="completed", ended_at=datetime(2026, 5, 4, tzinfo=UTC), steps=steps)
    return ToolSuccess().evaluate(run, Context())


def test_a_run_without_tool_calls_is_unscored() -> None:
    assert evaluate().reason == "no_tool_calls"
    assert evaluate(a_call("Error: x", kind="model")).reason == "no_tool_calls"


def test_the_value_is_the_share_that_worked() -> None:
    outcome = evaluate(a_call("fine"), a_call("fine"), a_call("fine"), a_call(error="HTTP 500"))
    assert outcome.value == 0.75
    assert outcome.rationale == "1 of 4 tool calls failed, first step 0 search: “HTTP 500”"


@pytest.mark.parametrize(
    "result",
    [
        "Error: flight HAT030 not available on date 2024-05-13",
        "Error in sending the GET request: 400 Client Error",
        "[ERROR] disk full",
        "fatal: not a git repository",
        TRACEBACK,
        f"reading the file\n{TRACEBACK}\n",
        "ValueError: max() arg is an empty sequence",
        "requests.exceptions.HTTPError: 404",
        "exitcode: 1 (execution failed)\nCode output: x",
        '{"error": "no such order"}',
        '{"error": {"code": 404}, "data": null}',
        '{"error": true}',
        '{"content": [{"type": "text", "text": "nope"}], "isError": true}',
        '{"success": false, "reason": "limit"}',
        '{"status": "error", "message": "quota exceeded"}',
    ],
)
def test_a_result_that_plainly_says_so_is_a_failure(result: str) -> None:
    assert evaluate(a_call(result)).value == 0.0


@pytest.mark.parametrize(
    "result",
    [
        None,
        "",
        "[]",
        '{"cut": "in the mid',
        "exitcode: 0 (execution succeeded)\nCode output: 4",
        "Terror: a history of fear",
        "Errors are the portals of discovery",
        "The log says Error: disk full",
        "Page: Observational error\nSummary: Error is the difference",
        '{"error": null, "data": 1}',
        '{"error": ""}',
        '{"error": "none"}',
        '{"value": 3.1, "error": 0.05}',
        '{"errors": [{"line": 3, "message": "unused import"}]}',
        '{"status": "error"}',
        '{"job": 7, "status": "failed"}',
        '[{"error": "in one of many rows"}]',
        "Traceback (most recent call last) is what Python prints\nand this file explains it.",
    ],
)
def test_a_result_that_only_mentions_errors_is_none(result: str | None) -> None:
    first_line_only = result is not None and result.startswith("Traceback")
    assert evaluate(a_call(result)).value == (0.0 if first_line_only else 1.0)


def test_a_blank_error_is_no_error() -> None:
    assert evaluate(a_call("fine", error=" ")).value == 1.0
