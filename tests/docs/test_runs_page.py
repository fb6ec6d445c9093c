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

from tests.support.documents import lines
from tests.support.shell import Shell
from worker.connectors.sources.document import read
from worker.core.intake.run_schema import EXAMPLES, RUN_FIELDS, STEP_FIELDS, json_schema, markdown, undescribed
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
    for name in example.keys() - {"steps", "input", "output", "tags", "started_at", "ended_at"}:
        assert getattr(parsed.run, name) == example[name], name
    assert len(parsed.run.steps) == len(example.get("steps", ()))


def test_the_examples_use_every_field() -> None:
    assert {name for example in EXAMPLES.values() for name in example} | {"model"} == RUN_FIELDS.keys()
    steps = [step for example in EXAMPLES.values() for step in example.get("steps", ())]
    assert {name for step in steps for name in step} | {"result_size", "result_sha"} == STEP_FIELDS.keys()


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
    assert "3 accepted" in said.out
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
