"""The format of runs: page, schema and records agree, its examples are taken without a notice, and so are real runs."""

import copy
import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from pydantic import BaseModel

from tests.support.documents import lines
from tests.support.shell import Shell
from worker.connectors.sources.document import read
from worker.core.intake.names import RUN_NAMES, STEP_NAMES
from worker.core.intake.run_schema import (
    EXAMPLES,
    RUN_FIELDS,
    STEP_FIELDS,
    FieldFormat,
    json_schema,
    markdown,
    undescribed,
)
from worker.records import Run, Step
from worker.settings.sections_sampling import IntakeSection

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "runs.jsonl.gz"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SCHEMA = jsonschema.Draft202012Validator(json_schema())


def taken(document: Mapping[str, Any]) -> Any:
    return read(dict(document), source="jsonl", now=NOW, limits=IntakeSection())


def test_the_page_is_what_the_program_prints() -> None:
    assert (ROOT / "docs" / "runs.md").read_text(encoding="utf-8") == markdown()


def test_every_field_of_the_records_is_described_and_no_other() -> None:
    assert undescribed() == []
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_satisfies_the_schema_and_is_taken_as_it_is(title: str) -> None:
    example = copy.deepcopy(dict(EXAMPLES[title]))
    SCHEMA.validate(example)
    parsed = taken(example)
    assert parsed.notices == ()
    for name in example.keys() - {"steps", "input", "output", "tags", "started_at", "ended_at", "model"}:
        assert getattr(parsed.run, name) == example[name], name
    assert len(parsed.run.steps) == len(example.get("steps", ()))


def test_the_examples_use_every_field() -> None:
    assert {name for example in EXAMPLES.values() for name in example} == RUN_FIELDS.keys()
    steps = [step for example in EXAMPLES.values() for step in example.get("steps", ())]
    assert {name for step in steps for name in step} == STEP_FIELDS.keys()
    assert {example["status"] for example in EXAMPLES.values()} == {"completed", "errored", "aborted"}


@pytest.mark.parametrize(("record", "fields"), [(Run, RUN_FIELDS), (Step, STEP_FIELDS)])
def test_types_bounds_and_words_are_those_of_the_records(
    record: type[BaseModel], fields: Mapping[str, FieldFormat]
) -> None:
    theirs = record.model_json_schema()["properties"]
    for name in fields.keys() & theirs.keys():
        own = dict(fields[name].schema)
        given = next((one for one in theirs[name].get("anyOf", ()) if one.get("type") != "null"), theirs[name])
        for word in ("enum", "minLength", "maxLength", "minimum", "format"):
            assert own.get(word) == given.get(word), (name, word)
        if own and "enum" not in own:
            assert own["type"] == given["type"], name


def test_defaults_are_those_of_the_records() -> None:
    least = taken(next(iter(EXAMPLES.values()))).run
    said = {name: field.default for name, field in RUN_FIELDS.items()}
    assert said["source"] == f"`{least.source}`"
    for name, default in said.items():
        if default in ("unknown", "nothing recorded", "none", "empty"):
            assert not getattr(least, name) or name in ("input", "output"), name
        elif name in Run.model_fields and default != "required":
            assert default.startswith(("`", "by ")), name
    step = Step(seq=0, kind="other")
    assert STEP_FIELDS["kind"].default == "`other`"
    assert {name for name in STEP_FIELDS if getattr(step, name)} == {"kind"}


def test_the_page_lists_every_other_name() -> None:
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    for table in (RUN_NAMES, STEP_NAMES):
        assert not [name for names in table.values() for name in names if f"`{name}`" not in page]


@pytest.mark.parametrize("missing", ["run_id", "task_type", "status", "ended_at"])
def test_what_the_schema_requires_the_intake_does_too(missing: str) -> None:
    document = {name: value for name, value in next(iter(EXAMPLES.values())).items() if name != missing}
    assert not SCHEMA.is_valid(document)
    with pytest.raises(Exception, match=missing):
        taken(document)


@pytest.mark.parametrize("name", sorted(RUN_FIELDS.keys() - {"run_id", "source", "task_type", "status", "ended_at"}))
def test_what_the_schema_refuses_in_an_optional_field_costs_no_run(name: str) -> None:
    document = {**next(iter(EXAMPLES.values())), name: [[object.__name__]]}
    if SCHEMA.is_valid(document):  # any JSON value
        assert name in ("input", "output")
        return
    assert taken(document).run.run_id == document["run_id"]


def test_the_examples_go_through_the_program(shell: Shell) -> None:
    (shell.folder / "runs.jsonl").write_bytes(lines(*EXAMPLES.values()))
    said = shell("ingest", "runs.jsonl")
    assert "4 accepted" in said.out
    shown = orjson.loads(shell("schema", "run").out)
    assert shown == json_schema()
    assert shell("schema", "run", "--format", "markdown").out == markdown()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared runs are not beside this checkout")
def test_real_runs_satisfy_the_schema_but_for_times_and_a_kind_of_step() -> None:
    with gzip.open(SHARED, "rb") as file:
        documents = [orjson.loads(line) for line in file]
    wrong = []
    for document in documents:
        document["ended_at"] = document.get("ended_at") or "2026-11-20T10:00:00Z"
        wrong += [(error.json_path.rpartition(".")[2], error.instance) for error in SCHEMA.iter_errors(document)]
    assert set(wrong) == {("kind", "user")}, "a step in which a person speaks counts as other, which the intake says"
