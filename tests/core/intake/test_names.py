"""Other tools' names: each means one field of ours, and what could mean two is only asked about."""

from collections.abc import Mapping

import pytest

from worker.core.intake.names import (
    FAILED_FLAGS,
    KINDS,
    MUST_SAY,
    NEAR,
    NOT_ENDED,
    RUN_NAMES,
    STATUSES,
    STEP_NAMES,
    TOOL_ONLY,
    UNITS,
    Where,
    field_of,
    kind_of,
    meant,
    rank,
    spelt,
    status_of,
)
from worker.records import Run, Step

TABLES = (("run", RUN_NAMES, set(Run.model_fields)), ("step", STEP_NAMES, {*Step.model_fields, "ended_at"}))


@pytest.mark.parametrize(("where", "table", "fields"), TABLES)
def test_each_name_is_in_snake_case_means_one_field_and_is_none_of_ours(
    where: Where, table: Mapping[str, tuple[str, ...]], fields: set[str]
) -> None:
    named = [name for names in table.values() for name in names]
    assert len(named) == len(set(named))
    assert [name for name in named if spelt(name) != name or name in fields] == []
    assert set(table) - fields <= {"model"}
    assert not set(named) & set(NEAR[where])
    assert set(NEAR[where].values()) <= fields
    assert not (set(NEAR[where]) | set(FAILED_FLAGS)) & fields


def test_units_and_names_without_one_are_of_the_tables() -> None:
    named = {name for table in (RUN_NAMES, STEP_NAMES) for names in table.values() for name in names}
    assert set(UNITS) <= named
    assert named >= MUST_SAY
    assert not set(UNITS) & MUST_SAY
    assert {name for names in STEP_NAMES.values() for name in names} >= TOOL_ONLY


def test_kinds_and_statuses_are_ours_and_ours_are_among_them() -> None:
    assert set(KINDS.values()) == {"model", "tool", "agent", "other"} <= set(KINDS)
    assert set(STATUSES.values()) == {"completed", "aborted", "errored", "incomplete"} <= set(STATUSES)
    assert not NOT_ENDED & set(STATUSES)
    assert all(spelt(word) == word for word in (*KINDS, *STATUSES, *NOT_ENDED))


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        *(
            (word, "tool")
            for word in ("TOOL", "function", "retriever", "tool_use", "toolCall", "ai.toolCall", "tool-call")
        ),
        *((word, "model") for word in ("LLM", "llm.call", "GENERATION", "ChatCompletion", "chat_model", "RunType.LLM")),
        *((word, "agent") for word in ("AGENT", "invoke_agent", "SubAgent")),
        *((word, "other") for word in ("CHAIN", "embedding", "Guardrail")),
        *((word, None) for word in ("teapot", "", "☃", "tool or so")),
    ],
)
def test_a_kind_is_known_however_it_is_spelt(sent: str, kind: str | None) -> None:
    assert kind_of(sent) == kind


def test_of_several_names_of_one_field_the_first_of_the_table_is_taken() -> None:
    assert rank("run", "latencyMs") < rank("run", "duration_ms") < rank("run", "latency")
    assert rank("step", "args") < rank("step", "params")


def test_what_can_mean_two_things_is_asked_about_and_not_taken() -> None:
    for name, field in {
        "id": "run_id",
        "answer": "output",
        "created_at": "started_at",
        "inputTokns": "input_tokens",
    }.items():
        assert (field_of("run", name), meant("run", name)) == (None, field)
    assert meant("step", "end_time") == "duration_ms"
    assert status_of("done") is status_of("stopped") is None
