"""`answer_present`: something that could be an answer."""

from datetime import UTC, datetime
from typing import Any

from worker.records import Outcome, Run
from worker.scorers.heuristics.answer_present import AnswerPresent
from worker.scorers.protocol import Context


def evaluate(**over: Any) -> Outcome:
    fields = {"run_id": "r", "task_type": "t", "status": "completed", "ended_at": datetime(2026, 5, 4, tzinfo=UTC)}
    return AnswerPresent().evaluate(Run(**{**fields, "input": "Where is order ORD-1234?", **over}), Context())


def test_an_answer_passes() -> None:
    assert (evaluate(output="It left Hamburg on Monday.").value, evaluate(output="It left on Monday.").label) == (
        1.0,
        "pass",
    )


def test_a_missing_output_fails_where_content_is_recorded() -> None:
    outcome = evaluate(output=None)
    assert (outcome.value, outcome.label, outcome.rationale) == (0.0, "fail", "empty")


def test_a_missing_output_is_unscored_where_content_is_not_recorded() -> None:
    assert evaluate(output=None, content="none").reason == "missing:run.output"
    assert evaluate(output=None, content="partial").reason == "missing:run.output"


def test_the_rationale_quotes_what_stands_there_instead() -> None:
    assert evaluate(output="Sure, here is\nthe answer:").rationale == "opener only: “Sure, here is the answer:”"


def test_an_aborted_run_may_still_have_an_answer() -> None:
    assert evaluate(output="Hamburg", status="aborted").value == 1.0
