"""`valid_json`: the JSON a task type promises."""

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.records import Outcome, Run
from worker.scorers.heuristics.valid_json import ValidJson, ValidJsonSettings
from worker.scorers.protocol import Context

SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"properties": {"price": {"type": "number"}}}}},
    "required": ["items"],
}


def evaluate(output: str | None, schema: Any = SCHEMA, **over: Any) -> Outcome:
    fields = {"run_id": "r", "task_type": "t", "status": "completed", "ended_at": datetime(2026, 5, 4, tzinfo=UTC)}
    settings = ValidJsonSettings(schemas={} if schema is None else {"t": schema})
    return ValidJson(settings).evaluate(Run(**{**fields, "output": output, **over}), Context())


@pytest.mark.parametrize(
    "output",
    [
        '{"items": []}',
        ' {"items": [{"price": 1}]}\n',
        '```json\n{"items": []}\n```',
        '```\n{"items": []}\n```\n',
        '```json {"items": []}```',
        '{"items": [], "note": "```"}',
    ],
)
def test_a_document_that_satisfies_the_schema_passes_even_in_a_fence(output: str) -> None:
    outcome = evaluate(output)
    assert (outcome.value, outcome.label) == (1.0, "pass")


@pytest.mark.parametrize(
    "output",
    [
        None,
        "",
        "Here it is: {}",
        "{'items': []}",
        '{"items": []} done',
        '{"items": [NaN]}',
        '```json\n{"items": []}\n```\n```json\n{}\n```',
        "``````",
        "```",
    ],
)
def test_what_is_no_json_fails(output: str | None) -> None:
    outcome = evaluate(output)
    assert (outcome.value, outcome.label) == (0.0, "fail")
    assert (outcome.rationale or "").startswith("not JSON: ")


def test_the_rationale_names_the_place_of_the_first_error() -> None:
    outcome = evaluate('{"items": [{"price": 1}, {"price": "free"}]}')
    assert outcome.rationale == "$.items[1].price: 'free' is not of type 'number'"


def test_without_a_schema_there_is_nothing_to_say() -> None:
    assert evaluate("{}", None).reason == "no_schema"


@pytest.mark.parametrize("schema", [{"type": 12}, {"$ref": "https://example.org/x.json"}, {"pattern": "("}])
def test_a_wrong_schema_is_the_operators_fault_not_the_agents(schema: dict[str, Any]) -> None:
    assert evaluate('"x"', schema).reason == "schema_invalid"


def test_a_document_beyond_the_caps_is_unscored() -> None:
    assert evaluate("[" + "1," * 600_000 + "1]").reason == "too_large:run.output"
    assert evaluate("[" * 60 + "]" * 60, {"type": "array"}).reason == "too_deep:run.output"
    assert evaluate("[" * 100_000 + "]" * 100_000, {"type": "array"}).reason == "too_deep:run.output"
    assert evaluate("[" * 50 + "]" * 50, {"items": {"$ref": "#"}}).value == 1.0


def test_a_number_beyond_all_floats_does_no_harm() -> None:
    outcome = evaluate("1e400", {"multipleOf": 0.1})
    assert (outcome.value is None) != (outcome.reason is None)


def test_a_missing_output_is_unscored_where_content_is_not_recorded() -> None:
    assert evaluate(None, content="none").reason == "missing:run.output"


@pytest.mark.parametrize(
    ("output", "value"), [("[1, 2, true]", 1.0), ("[1, 1.0]", 0.0), ('[{"a": 1}, {"a": 1}]', 0.0), ('"a"', 1.0)]
)
def test_uniqueness_is_that_of_json(output: str, value: float) -> None:
    assert evaluate(output, {"uniqueItems": True}).value == value


def test_many_unique_items_take_no_quadratic_time() -> None:
    assert evaluate("[" + ",".join(f'{{"a":{i}}}' for i in range(60_000)) + "]", {"uniqueItems": True}).value == 1.0
