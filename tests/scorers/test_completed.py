"""`completed`: the agent came to its own end."""

from datetime import UTC, datetime

import pytest

from worker.records import Run, RunStatus
from worker.scorers.heuristics.completed import Completed
from worker.scorers.protocol import Context


def a_run(status: RunStatus, **over: str) -> Run:
    return Run(run_id="r", task_type="t", status=status, ended_at=datetime(2026, 5, 4, tzinfo=UTC), **over)


def test_a_completed_run_passes() -> None:
    assert Completed().evaluate(a_run("completed"), Context()).label == "pass"


@pytest.mark.parametrize("status", ["aborted", "errored", "incomplete"])
def test_every_other_end_fails(status: RunStatus) -> None:
    outcome = Completed().evaluate(a_run(status), Context())
    assert (outcome.value, outcome.label, outcome.rationale) == (0.0, "fail", status)


def test_the_rationale_says_why_it_ended() -> None:
    outcome = Completed().evaluate(a_run("aborted", stop_reason="max_steps"), Context())
    assert outcome.rationale == "aborted: max_steps"
