"""Every heuristic over every real run there is, and over made-up ones with the same peculiarities."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import shared_data
from worker.records import Reference, Run
from worker.scorers.protocol import Context
from worker.scorers.registry import build
from worker.settings.sections_sampling import ScoringSection

ENDED = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = Context(reference=Reference(cost_usd=0.005, steps=8.0, latency_ms=9_000.0))
COUNTS = {"made up": (40, 2, range(2, 3)), "real": (2_328, 71, range(13, 26))}
"""Runs; those that end in the team's stop word; other answers that are none (14 of the real runs have no output)."""


@pytest.fixture(scope="module", params=shared_data.FOLDERS)
def real_runs(request: pytest.FixtureRequest) -> tuple[str, list[Run]]:
    """Whose runs they are, and all of them, without their truth."""
    return request.param, [_run(row) for row in shared_data.rows(request.param, "runs")]


def _run(raw: dict[str, Any]) -> Run:
    fields = ("run_id", "source", "agent", "task_type", "status", "input", "output", "cost_usd")
    of_step = ("seq", "name", "arguments", "result", "error")
    steps = [
        {name: step[name] for name in of_step}
        | {"kind": "other" if step["kind"] == "user" else step["kind"], "name": step["name"] or ""}
        for step in raw["steps"]
    ]
    return Run(**{name: raw[name] for name in fields}, steps=steps, ended_at=ENDED, latency_ms=raw["duration_ms"])


def test_every_real_run_gets_a_value_or_a_reason_from_every_heuristic(real_runs: tuple[str, list[Run]]) -> None:
    kind, runs = real_runs
    assert len(runs) == COUNTS[kind][0]
    scorers = build(ScoringSection(schemas={run.task_type: {"type": "array"} for run in runs}))
    for run in runs:
        for scorer in scorers.values():
            outcome = scorer.evaluate(run, CONTEXT)
            assert (outcome.value is None) != (outcome.reason is None), (run.run_id, scorer.name)


def test_the_answers_that_are_none_are_found_and_few_others(real_runs: tuple[str, list[Run]]) -> None:
    kind, runs = real_runs
    answer_present = build(ScoringSection())["answer_present"]
    failed = [run for run in runs if answer_present.evaluate(run, CONTEXT).value == 0]
    shouted = [run for run in failed if (run.output or "").strip() == "TERMINATE"]
    _, stop_words, others = COUNTS[kind]
    assert len(shouted) == stop_words
    assert len(failed) - len(shouted) in others


def test_tool_errors_are_found_where_the_source_noted_them(real_runs: tuple[str, list[Run]]) -> None:
    _, runs = real_runs
    tool_success = build(ScoringSection())["tool_success"]
    for run in runs:
        tools = [step for step in run.steps if step.kind == "tool"]
        if any(step.error for step in tools):
            value = tool_success.evaluate(run, CONTEXT).value
            assert value is not None
            assert value < 1
