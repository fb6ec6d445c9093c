"""`grounded_figures`: numbers, ids and dates of the answer that come from somewhere."""

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.records import Outcome, Run, Step, StepKind
from worker.scorers.heuristics.grounded_figures import GroundedFigures
from worker.scorers.protocol import Context


def a_step(result: str | None, kind: StepKind = "tool", name: str = "search", **over: Any) -> Step:
    return Step(seq=0, kind=kind, name=name, result=result, **over)


def evaluate(output: str | None, *steps: Step, **over: Any) -> Outcome:
    fields = {"run_id": "r", "task_type": "t", "status": "completed", "ended_at": datetime(2026, 5, 4, tzinfo=UTC)}
    return GroundedFigures().evaluate(Run(**{**fields, "output": output, "steps": steps, **over}), Context())


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("The total is $1,234.50.", '{"total": 1234.5}'),
        ("That is 1.234,50 €", "1234.50"),
        ("That is 1'234 francs", "1234"),
        ("It weighs 42kg", "weight: 42 kg"),
        ("45% of them", "a share of 0.45"),
        ("a share of 0.45", "45 percent"),
        ("about 3.14", "3.14159265"),
        ("roughly 124", "123.7"),
        ("100.0", "100"),
        ("order ORD-1234 is on its way", '{"id":"ORD-1234"}'),
        ("order #w2378156", '"order_id": "#W2378156"'),
        ("call 555-123-2002", "phone 5551232002"),
        ("your card ending in 7447", "credit_card_7447"),
        ("patient S6534835", '["S6534835"]'),
        ("on May 20, 2024", '"date": "2024-05-20"'),
        ("on 20 May 2024", "2024-05-20T10:00:00Z"),
        ("on May 20th", "2024-05-20"),
        ("on 2024-05-20", "May 20"),
        ("on 05/20/2024", "2024-05-20"),
        ("on 20.05.2024", "2024-05-20"),
        ("in 2024", "2024-05-20"),
        ("departs at 7:00 PM", '"departure": "19:00:00"'),
        ("departs at 07:30", "half past: 7:30am"),
        ("the 21st row", "row 21"),
        ("between 150 and 250", "[150,250]"),
        ("it holds 15 and 20", "[15,20]"),
        ("the code is 4711", '{"text": "line\\n4711"}'),
        ("pages 120-135", "from 120 to 135"),
        ("on ٢٠٢٤", "2024"),
        ("lot 45/67/2024", "lots 45, 67, year 2024"),
        ("a ratio of 16:90", "16 to 90"),
    ],
)
def test_the_same_figure_written_otherwise_is_grounded(answer: str, source: str) -> None:
    assert evaluate(answer, a_step(source)).value == 1.0


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("The total is 1235", "1234"),
        ("order ORD-1235", "ORD-1234"),
        ("on May 21, 2024", "2024-05-20"),
        ("on 2023-05-20", "2024-05-20"),
        ("departs at 7:00 AM", "19:00:00"),
        ("10% off", "nothing is off"),
        ("1.8", "1"),
    ],
)
def test_another_figure_is_not(answer: str, source: str) -> None:
    outcome = evaluate(answer, a_step(source))
    assert outcome.value == 0.0
    assert "occur nowhere" in (outcome.rationale or "")


def test_the_value_is_the_share_of_distinct_figures() -> None:
    outcome = evaluate("It costs 120, yes 120, not 130, and leaves at gate B1234.", a_step("price 120, gate B1234"))
    assert outcome.value == pytest.approx(2 / 3)
    assert outcome.rationale == "1 of 3 figures occur nowhere, first “130”"


@pytest.mark.parametrize(
    "output",
    [None, "", "No figures here", "There are 3 of 10.", "1. one\n2. two\n11. eleven\n12) twelve", "A1 and B2", "x²"],
)
def test_an_answer_without_figures_is_unscored(output: str | None) -> None:
    assert evaluate(output, a_step("12345")).reason == "no_figures"


def test_the_task_grounds_and_so_does_what_the_person_said_later() -> None:
    assert evaluate("For user 3668", input="I am user 3668").value == 1.0
    assert evaluate("For user 3668", a_step("I am 3668", kind="other", name="simulated user")).value == 1.0


@pytest.mark.parametrize("kind", ["model", "agent", "other"])
def test_what_the_model_wrote_itself_grounds_nothing(kind: StepKind) -> None:
    assert evaluate("It is 3668", a_step("I guess 3668", kind=kind, name="chain")).value == 0.0


def test_an_argument_the_model_made_up_grounds_nothing() -> None:
    assert evaluate("It is 3668", a_step("ok", arguments={"id": 3668})).value == 0.0


def test_a_tool_error_grounds() -> None:
    assert evaluate("The price is 375", a_step(None, error="Error: total price is 375, but paid 299")).value == 1.0


@pytest.mark.parametrize("result", ["row 1 \n...[truncated 21708 bytes]", "row 1 … (truncated)", "row <truncated>"])
def test_a_source_that_was_cut_leaves_the_run_unscored(result: str) -> None:
    assert evaluate("It is 3668", a_step(result)).reason == "missing:step.result"
    assert evaluate("It is 3668", a_step("row 1", result_size=90_000)).reason == "missing:step.result"


def test_content_that_was_not_recorded_leaves_the_run_unscored() -> None:
    assert evaluate(None, content="none").reason == "missing:run.output"
    assert evaluate("It is 3668", content="partial").reason == "missing:run.input"
    assert evaluate("It is 3668", a_step(None), content="partial", input="x").reason == "missing:step.result"
