"""A small rubric, a run, and the scorer made of the rubric."""

from datetime import UTC, datetime
from typing import Any

from worker.core.rubric.parse import Rubric, parse
from worker.core.rubric.sandbox import RUN_FIELDS
from worker.records import Run, Scoring, Step
from worker.scorers.rubric.scorer import RubricScorer

BENIGN_DOCUMENT: dict[str, Any] = dict.fromkeys(RUN_FIELDS) | {"output": "benign", "steps": [], "elided": []}

FRONT = """---
name: demo
version: 1.0.0
needs: [{needs}]
mode: {mode}
criteria:
  - {{id: one, question: "One?", weight: 3, required: true, pass_when: The first thing holds.}}
  - {{id: two, question: "Two?", pass_when: The second thing holds.}}
judge: {{params: {{temperature: 0}}, max_output_tokens: 500}}
---
{{% chat role="system" %}}{{% for criterion in criteria %}}{{{{ criterion.id }}}} {{% endfor %}}{{% endchat %}}
{{% chat role="user" %}}{{{{ run | fenced }}}}
Decide.{{% endchat %}}
"""
RUN = Run(
    run_id="r-1",
    task_type="refund",
    status="completed",
    ended_at=datetime(2026, 11, 2, tzinfo=UTC),
    input="Please refund order 4411, mail ann@example.org.",
    output="The refund for order 4411 was issued.",
    steps=(Step(seq=0, kind="tool", name="issue_refund", arguments={"order": 4411}, result="ok"),),
    tags={"truth": 0},
    user_id="u-77",
)


def a_rubric(needs: str = "run.input, run.output", mode: str = "joint", text: str = FRONT) -> Rubric:
    return parse(text.format(needs=needs, mode=mode), "x")


def a_scorer(rubric: Rubric | None = None, **over: Any) -> RubricScorer:
    return RubricScorer(rubric or a_rubric(), **{"model": "judge-1", "secret": b"s"} | over)


def told(scoring: Scoring) -> list[tuple[str | None, float | None, str | None]]:
    return [(outcome.criterion, outcome.value, outcome.reason) for outcome in scoring.outcomes]
