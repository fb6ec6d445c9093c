"""Files that hold no runs are named: by their first bytes, or by the names in their documents; runs never are."""

import gzip
import io
import json
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.exports import BATCH, LANGFUSE_OBSERVATION, LANGFUSE_TRACE, LANGSMITH, OTLP, RUN, SPAN
from worker.core.intake.formats import of_beginning, of_document

EXPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "otlp": (OTLP, "an OTLP export"),
    "langfuse traces": (LANGFUSE_TRACE, "a Langfuse export"),
    "langfuse observations": (LANGFUSE_OBSERVATION, "a Langfuse export"),
    "langsmith": (LANGSMITH, "a LangSmith export"),
    "openai batch": (BATCH, "the output of an OpenAI batch"),
    "openai agents": ({"object": "trace", "id": "t", "workflow_name": "w"}, "an export of the OpenAI Agents SDK"),
    "opentelemetry": ({**SPAN, "attributes": {}}, "an OpenTelemetry or Phoenix export of spans"),
    "mlflow": ({"info": {"trace_id": "tr-1"}, "data": {"spans": []}}, "an MLflow export"),
    "weave": ({"op_name": "f", "trace_id": "t", "started_at": "x"}, "a Weave export"),
    "rejects": ({"line": 1, "reason": "r", "file": "f", "excerpt": "e"}, "Spotcheck's own file of rejected lines"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_named_by_line_and_pretty_printed_and_as_an_array(name: str) -> None:
    document, what = EXPORTS[name]
    assert (of_document(document) or "").startswith(f"this is {what}")
    for pretty in (json.dumps(document, indent=2), json.dumps([document, document], indent=1)):
        assert (of_beginning(pretty.encode()) or "").startswith(f"this is {what}")
    assert of_beginning(json.dumps(document).encode() + b"\n") is None, "lines are told one by one"


@pytest.mark.parametrize(
    ("beginning", "said"),
    [
        (json.dumps(RUN, indent=2).encode(), "one JSON document over several lines; jq -c ."),
        (json.dumps([RUN, RUN], indent=2).encode(), "one JSON array over several lines; jq -c '.[]'"),
        (b"[\n" + json.dumps(RUN).encode() + b",\n", "one JSON array over several lines"),
        (b"run_id,task_type,status\nr-1,refund,completed\n", "CSV"),
        (b'"run_id";"task type";"status"\n1;2;3\n', "CSV with semicolons"),
        (b"run_id\ttask_type\tstatus\n", "a table with tabs"),
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        (b"PK\x03\x04\x14\x00", "a zip archive"),
        (b"\x28\xb5\x2f\xfd\x04", "packed with zstd"),
        (b"BZh91AY&SY", "packed with bzip2"),
        (b"\xfd7zXZ\x00\x00", "packed with xz"),
        (gzip.compress(b"{}", mtime=0), "packed twice with gzip"),
        (b"SQLite format 3\x00\x10", "an SQLite database"),
        (b"<!DOCTYPE html>\n<html>", "XML or HTML"),
        ('{"run_id": "r"}\n'.encode("utf-16"), "looks like UTF-16"),
        ('{"run_id": "r"}\n'.encode("utf-16-be"), "looks like UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_named_by_its_beginning(beginning: bytes, said: str) -> None:
    assert said in (of_beginning(beginning) or "")


def test_a_tar_archive_is_named() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("runs.jsonl"), io.BytesIO())
    assert "a tar archive" in (of_beginning(packed.getvalue()) or "")


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"\n\n",
        b'{"run_id',
        json.dumps(RUN).encode() + b"\n" + json.dumps(RUN).encode(),
        b'{"run_id": "r-1", "in\n' + json.dumps(RUN).encode() + b"\n",
        b"started, loaded, ready\n" + json.dumps(RUN).encode() + b"\n",
        b"no json at all\n",
        b"\0" * 8_000,
        json.dumps(RUN).encode() + b"\n" + b"\0" * 7_000,
        json.dumps(RUN).encode() + b",\n" + json.dumps(RUN).encode() + b",\n",
        json.dumps(RUN).encode() + b" ,\r\n" + json.dumps(RUN).encode(),
    ],
)
def test_what_may_be_runs_is_read_line_by_line(beginning: bytes) -> None:
    assert of_beginning(beginning) is None


@pytest.mark.parametrize("name", ["runs", "data", "items"])
def test_a_document_that_holds_runs_says_how_to_get_at_them(name: str) -> None:
    said = of_document({"next": None, name: [RUN, RUN]})
    assert said is not None
    assert f"jq -c '.{name}[]'" in said
    assert of_document({name: [{"a": 1}]}) is None


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_beginning_is_named_or_not_and_a_run_before_it_never_is(noise: bytes) -> None:
    said = of_beginning(noise)
    assert said is None or "\n" not in said
    assert of_beginning(json.dumps(RUN).encode() + b"\n" + noise) is None
    assert of_document(RUN) is None
