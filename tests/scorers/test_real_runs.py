"""Every heuristic over every real run there is."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker.records import Reference, Run
from worker.scorers.protocol import Context
from worker.scorers.registry import build
from worker.settings.sections_sampling import ScoringSection

RUNS = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs.jsonl.gz"
ENDED = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = Context(reference=Reference(cost_usd=0.005, steps=8.0, latency_ms=9_000.0))

pytestmark = pytest.mark.skipif(not RUNS.exists(), reason=f"needs the real runs in {RUNS}")


@pytest.fixture(scope="module")
def real_runs() -> list[Run]:
    """All of them, without their truth."""
    with gzip.open(RUNS, "rt", encoding="utf-8") as lines:
        return [_run(json.loads(line)) for line in lines]


def _run(raw: dict[str, Any]) -> Run:
    fields = ("run_id", "source", "agent", "task_type", "status", "input", "output", "cost_usd")
    of_step = ("seq", "name", "arguments", "result", "error")
    steps = [
        {name: step[name] for name in of_step}
        | {"kind": "other" if step["kind"] == "user" else step["kind"], "name": step["name"] or ""}
        for step in raw["steps"]
    ]
    return Run(**{name: raw[name] for name in fields}, steps=steps, ended_at=ENDED, latency_ms=raw["duration_ms"])


def test_every_real_run_gets_a_value_or_a_reason_from_every_heuristic(real_runs: list[Run]) -> None:
    assert len(real_runs) == 2_328
    scorers = build(ScoringSection(schemas={run.task_type: {"type": "array"} for run in real_runs}))
    for run in real_runs:
        for scorer in scorers.values():
            outcome = scorer.look(run, CONTEXT)
            assert (outcome.value is None) != (outcome.reason is None), (run.run_id, scorer.name)


def test_the_answers_that_are_none_are_found_and_few_others(real_runs: list[Run]) -> None:
    answer_present = build(ScoringSection())["answer_present"]
    failed = [run for run in real_runs if answer_present.look(run, CONTEXT).value == 0]
    shouted = [run for run in failed if (run.output or "").strip() == "TERMINATE"]
    assert len(shouted) == 71  # the Who&When runs that end in the team's stop word
    assert 13 <= len(failed) - len(shouted) <= 25  # 14 have no output at all


def test_tool_errors_are_found_where_the_source_noted_them(real_runs: list[Run]) -> None:
    tool_success = build(ScoringSection())["tool_success"]
    for run in real_runs:
        tools = [step for step in run.steps if step.kind == "tool"]
        if any(step.error for step in tools):
            value = tool_success.look(run, CONTEXT).value
            assert value is not None
            assert value < 1
