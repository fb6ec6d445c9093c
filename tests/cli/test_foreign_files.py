"""Files that are plainly something else are named in one line; files of other people's shapes are taken as meant."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.support.documents import a_document, lines
from tests.support.exports import BATCH, LANGFUSE_OBSERVATION, LANGFUSE_TRACE, LANGSMITH, OTLP, RUN
from tests.support.shared_data import SHARED
from tests.support.shell import Shell

MANY = 1_500


def _tar(raw: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("runs.jsonl")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    return packed.getvalue()


def _zip(raw: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("runs.jsonl", raw)
    return packed.getvalue()


def _pretty(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


FOREIGN: Mapping[str, tuple[bytes, str]] = {
    "otlp, a line a request": (lines(*[OTLP] * MANY), "an OTLP export (resourceSpans)"),
    "otlp, pretty": (_pretty({"resourceSpans": OTLP["resourceSpans"] * MANY}), "an OTLP export (resourceSpans)"),
    "otlp, one line too long": (lines({"resourceSpans": OTLP["resourceSpans"] * 200_000}), "an OTLP export"),
    "langfuse traces": (lines(*[LANGFUSE_TRACE] * MANY), "a Langfuse export"),
    "langfuse observations, an array": (_pretty([LANGFUSE_OBSERVATION] * MANY), "a Langfuse export"),
    "langsmith": (lines(*[LANGSMITH] * MANY), "a LangSmith export"),
    "openai batch, packed": (gzip.compress(lines(*[BATCH] * MANY)), "the output of an OpenAI batch"),
    "an array on one line": (orjson.dumps([RUN] * MANY), "one JSON array; jq -c '.[]' FILE | spotcheck ingest -"),
    "an array over lines": (_pretty([RUN] * MANY), "one JSON array over several lines; jq -c '.[]' FILE"),
    "one run over lines": (
        _pretty({**RUN, "steps": [{"kind": "tool"}] * MANY}),
        "one JSON document over several lines",
    ),
    "csv": (b"run_id,task_type,status\n" + b"r-1,refund,completed\n" * MANY, "CSV, not JSON lines"),
    "csv, packed": (gzip.compress(b"run_id,task_type,status\nr-1,refund,completed\n"), "CSV, not JSON lines"),
    "parquet": (b"PAR1\x15\x04\x15\n" * MANY + b"PAR1", "a Parquet file"),
    "a tar archive, packed": (_tar(lines(*[RUN] * MANY)), "a tar archive: tar -xOf FILE | spotcheck ingest -"),
    "a zip archive": (_zip(lines(RUN)), "a zip archive: unzip -p FILE | spotcheck ingest -"),
    "packed twice": (gzip.compress(gzip.compress(lines(RUN))), "packed twice with gzip"),
    "a page": (b"<!DOCTYPE html>\n<html>\n" + b"<p>Log in</p>\n" * MANY, "XML or HTML, perhaps the page of a login"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_plainly_something_else_is_named_in_one_line(shell: Shell, name: str) -> None:
    raw, what = FOREIGN[name]
    (shell.folder / "export").write_bytes(raw)
    said = shell("ingest", "export")
    assert said.code == 3
    first, *rest = said.err.splitlines()
    assert first.startswith("export:")
    assert f"this is {what}" in first
    assert [line for line in rest if "places and reasons are in" not in line] == []
    assert "0 accepted" in said.out


@pytest.mark.parametrize("name", FOREIGN)
def test_the_same_from_a_pipe(shell: Shell, name: str) -> None:
    raw, what = FOREIGN[name]
    said = shell("ingest", "-", stdin=raw)
    assert said.code == 3
    assert f"this is {what}" in said.err
    assert said.err.count("this is ") == 1


def test_a_foreign_file_among_good_ones_is_named_fails_and_costs_the_others_nothing(shell: Shell) -> None:
    (shell.folder / "a.jsonl").write_bytes(lines(a_document("a")))
    (shell.folder / "b.json").write_bytes(_pretty(OTLP))
    (shell.folder / "c.jsonl").write_bytes(lines(a_document("c")))
    said = shell("ingest", "a.jsonl", "b.json", "c.jsonl")
    assert (said.code, said.out) == (3, "2 accepted, 0 revised, 0 known already, 0 rejected; 1 file not read\n")
    assert said.err.startswith("b.json: this is an OTLP export (resourceSpans), no run: ")


def test_runs_within_a_document_are_told_how_to_be_taken(shell: Shell) -> None:
    runs = {"runs": [a_document("a"), a_document("b")]}
    for raw in (lines(runs), _pretty(runs)):
        said = shell("ingest", "-", stdin=raw)
        assert (said.code, said.err.count("\n")) == (3, 1 + (raw == lines(runs)))
        assert "this is one document with its runs in a list; jq -c '.runs[]' FILE | spotcheck ingest -" in said.err


def test_a_line_that_was_cut_off_is_said_to_be(shell: Shell) -> None:
    raw = lines(a_document("a", cost_usd=1)) + lines(a_document("b"))[:40]
    said = shell("ingest", "-", stdin=raw)
    assert said.err.startswith(
        "stdin:2: not JSON: the line ends in the middle, after 40 characters: it was cut off as it was written\n"
    )


def test_runs_after_foreign_lines_are_taken_all_the_same(shell: Shell) -> None:
    said = shell("ingest", "-", stdin=lines(*[LANGSMITH] * 20, a_document("a"), LANGSMITH, a_document("b")))
    assert (said.code, said.out) == (0, "2 accepted, 0 revised, 0 known already, 21 rejected\n")


OWN: Mapping[str, dict[str, Any]] = {
    "a platform's own export": {
        "runId": "r-1",
        "taskType": "refund",
        "status": "success",
        "finishedAt": 1795183361000,
        "prompt": "Refund?",
        "startTime": 1795183351000,
        "response": "Done.",
        "tokens_in": 100,
        "tokens_out": "20",
        "cost": "$0.02",
        "steps": [{"type": "function", "tool": "get_order", "args": {"order": 4711}, "output": "83.20", "err": None}],
    },
    "a log of openai calls": {
        "run_id": "r-1",
        "task_type": "refund",
        "status": "completed",
        "end_time": "2026-11-20T14:02:41Z",
        "question": "Refund?",
        "completion": "Done.",
        "start_time": "2026-11-20T14:02:31Z",
        "total_cost": 0.02,
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        "steps": [{"type": "function", "function": {"name": "get_order", "arguments": '{"order":4711}'}}],
    },
    "spans flattened by opentelemetry's names": {
        "run_id": "r-1",
        "task_type": "refund",
        "status": "OK",
        "endTimeUnixNano": "1795183361000000000",
        "startTimeUnixNano": "1795183351000000000",
        "input": "Refund?",
        "output": "Done.",
        "cost_usd": 0.02,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "steps": [{"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order"}],
    },
    "a table from BigQuery": {
        "run_id": "r-1",
        "task_type": "refund",
        "status": "COMPLETED",
        "ended_at": "2026-11-20 14:02:41 UTC",
        "started_at": "2026-11-20 14:02:31 UTC",
        "input": "Refund?",
        "output": "Done.",
        "cost_usd": "0.02",
        "input_tokens": "100",
        "output_tokens": "20",
        "error": "null",
        "session_id": "None",
        "steps": '[{"kind":"TOOL","name":"get_order"}]',
    },
    "a dump of MongoDB": {
        "run_id": "r-1",
        "task_type": "refund",
        "status": "completed",
        "ended_at": {"$date": "2026-11-20T14:02:41Z"},
        "started_at": {"$date": {"$numberLong": "1795183351000"}},
        "user_input": "Refund?",
        "final_output": "Done.",
        "promptTokens": 100,
        "completionTokens": 20,
        "totalCost": 0.02,
        "steps": [{"stepType": "tool_call", "toolName": "get_order", "latency": "12ms"}],
    },
    "pandas": {
        "run_id": "r-1",
        "task_type": "refund",
        "status": "completed",
        "ended_at": 1795183361.0,
        "error": "nan",
        "started_at": 1795183351.0,
        "input": "Refund?",
        "output": "Done.",
        "cost_usd": 0.02,
        "user_id": "nan",
        "input_tokens": 100.0,
        "output_tokens": 20.0,
        "steps": [{"kind": "tool", "name": "get_order", "error": "nan", "duration_ms": "NaN"}],
    },
}


@pytest.mark.parametrize("name", OWN)
def test_a_run_in_another_teams_shape_is_taken_as_it_was_meant(shell: Shell, name: str) -> None:
    said = shell("ingest", "-", "--json", stdin=lines(OWN[name]))
    assert (said.code, said.json["accepted"]) == (0, 1), said.err
    run = shell("show", "r-1", "--json").json
    assert (run["task_type"], run["status"], run["latency_ms"]) == ("refund", "completed", 10_000)
    assert (run["input"], run["output"], run["cost_usd"]) == ("Refund?", "Done.", 0.02)
    assert (run["input_tokens"], run["output_tokens"], run["error"]) == (100, 20, None)
    (step,) = run["steps"]
    assert (step["kind"], step["name"], step["error"]) == ("tool", "get_order", None)


RUNS = SHARED / "runs.jsonl.gz"


@pytest.mark.skipif(not RUNS.exists(), reason="the shared runs are not here")
def test_the_shared_runs_are_taken_with_a_time_and_named_without(shell: Shell) -> None:
    """2,328 real runs of 15 agents; most have no time, which only their reader can know."""
    said = shell("ingest", RUNS, "--json")
    assert {reason["reason"].split(" ")[0] for reason in said.json["reasons"]} == {"ended_at"}
    documents = [orjson.loads(line) for line in gzip.decompress(RUNS.read_bytes()).splitlines()]
    timed = [{**one, "ended_at": "2026-11-20T14:02:41Z", "started_at": None} for one in documents]
    said = shell("ingest", "-", "--json", stdin=lines(*timed))
    assert said.json["accepted"] + said.json["revised"] == len(documents)
    assert [one for one in said.json["notices"] if one["what"] in ("dropped", "unknown_kind", "mended")] == []
