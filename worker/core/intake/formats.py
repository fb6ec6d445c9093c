"""What a file is that holds no runs: named in one sentence with what to do, so that nobody reads it line by line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

_RUNS = "Spotcheck reads one run a line; write your runs so (the fields: spotcheck schema run --format markdown)"
_MAGIC: Sequence[tuple[bytes, int, str]] = (
    (b"PAR1", 0, "a Parquet file: write it as JSON lines first (pandas: to_json(orient='records', lines=True))"),
    (b"PK\x03\x04", 0, "a zip archive: unzip -p FILE | spotcheck ingest -"),
    (b"\x28\xb5\x2f\xfd", 0, "packed with zstd: zstd -dc FILE | spotcheck ingest -"),
    (b"BZh", 0, "packed with bzip2: bzip2 -dc FILE | spotcheck ingest -"),
    (b"\xfd7zXZ\x00", 0, "packed with xz: xz -dc FILE | spotcheck ingest -"),
    (b"\x04\x22\x4d\x18", 0, "packed with lz4: lz4 -dc FILE | spotcheck ingest -"),
    (b"\x1f\x8b", 0, "packed twice with gzip: zcat FILE | spotcheck ingest -"),
    (b"ustar", 257, "a tar archive: tar -xOf FILE | spotcheck ingest -"),
    (b"SQLite format 3\x00", 0, "an SQLite database: query it and write a JSON line of each run"),
    (b"Obj\x01", 0, "an Avro file: write it as JSON lines first"),
    (b"ARROW1", 0, "an Arrow file: write it as JSON lines first"),
    (b"ORC", 0, "an ORC file: write it as JSON lines first"),
    (b"%PDF-", 0, "a PDF file"),
    (b"\x7fELF", 0, "a program"),
    (b"\x89PNG\r\n\x1a\n", 0, "a picture"),
)
"""First bytes of binary formats: the bytes, where they stand, and what to do."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_IS_UTF16 = "this looks like UTF-16; run files are UTF-8, and iconv -f UTF-16 -t UTF-8 makes it so"
_WITHIN = (
    "this is one document with its runs in a list; jq -c '.{name}[]' FILE | spotcheck ingest - makes a line of each"
)
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w{0,40}", re.ASCII)
_LIST_OF_RUNS = re.compile(rb'\{\s*"([A-Za-z_]\w{0,40})"\s*:\s*\[\s*\{', re.ASCII)
_LOOKED_AT = 64
_CELL = re.compile(rb'"?[A-Za-z_][\w .:/-]{0,60}"?', re.ASCII)
_FEWEST_CELLS = 3


class _Export(NamedTuple):
    what: str
    any_of: Sequence[frozenset[str]]
    """Sets of names; a document that has all of one is of this kind."""


def _all(*names: str) -> frozenset[str]:
    return frozenset(names)


_EXPORTS: Sequence[_Export] = (
    _Export(
        "an OTLP export (resourceSpans)",
        [_all(name) for name in ("resourceSpans", "resource_spans", "resourceLogs", "resourceMetrics", "scopeSpans")],
    ),
    _Export(
        "a Langfuse export",
        (
            *(_all("traceId", "parentObservationId"), _all("traceId", "startTime", "type"), _all("htmlPath")),
            *(_all("trace_id", "parent_observation_id"), _all("bookmarked", "public"), _all("observations", "scores")),
            *(_all("projectId", "timestamp", "sessionId"), _all("project_id", "timestamp", "session_id", "release")),
            _all("trace_id", "provided_model_name"),
        ),
    ),
    _Export(
        "a LangSmith export",
        (_all("run_type", "inputs"), _all("dotted_order", "trace_id"), _all("run_type", "session_id")),
    ),
    _Export("the output of an OpenAI batch", (_all("custom_id", "response"),)),
    _Export("the input of an OpenAI batch", (_all("custom_id", "method", "url"),)),
    _Export("an export of the OpenAI Agents SDK", (_all("object", "workflow_name"), _all("span_data", "trace_id"))),
    _Export(
        "an OpenTelemetry or Phoenix export of spans",
        (
            *(_all("context", "span_kind"), _all("context", "parent_id", "attributes"), _all("spanId", "traceId")),
            *(_all("context.span_id", "context.trace_id"), _all("span_id", "trace_id", "attributes")),
        ),
    ),
    _Export(
        "an MLflow export",
        (_all("info", "data"), _all("trace_info", "trace_data"), _all("request_id", "trace_metadata")),
    ),
    _Export("an Opik export", (_all("feedback_scores", "project_id"), _all("span_feedback_scores"))),
    _Export("a Weave export", (_all("op_name", "trace_id"),)),
    _Export("a Braintrust export", (_all("span_attributes", "root_span_id"),)),
    _Export("an Inspect log", (_all("eval", "samples"), _all("eval", "plan", "results"))),
    _Export("a chat completion of a model server", (_all("choices", "usage"), _all("object", "choices"))),
    _Export("Spotcheck's own file of rejected lines", (_all("line", "reason", "excerpt"),)),
)
"""Exports by the names in them, the most telling first (FORMATS §2, FORMATS2 §2)."""


def of_document(document: object) -> str | None:
    """What a document is that is no run, by its names; None where it is nothing that is known.

    Args:
        document: Any JSON value, of a line that was rejected.

    Example:
        >>> of_document({"resourceSpans": []})[:46]
        'this is an OTLP export (resourceSpans), no run'
    """
    if not isinstance(document, Mapping):
        return None
    return _named(document) or _list_within(document)


def _list_within(document: Mapping[str, object]) -> str | None:
    """A document that holds runs in a list, where it is none itself."""
    if "run_id" in document:
        return None
    for name, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping) and "run_id" in value[0]:
            return _WITHIN.format(name=name if _PLAIN_NAME.fullmatch(name) else "…")
    return None


def of_beginning(beginning: bytes) -> str | None:
    """What a whole file is, by its first bytes, where it cannot be runs, a line each; None where it may be.

    Args:
        beginning: Some thousand bytes, unpacked; fewer of a short file or a slow pipe.
    """
    for magic, at, what in _MAGIC:
        if beginning[at : at + len(magic)] == magic:
            return f"this is {what}"
    head = beginning[:_LOOKED_AT]
    if head.startswith(_UTF16) or (len(head) > 8 and len(head) // 3 < head.count(0) < len(head)):
        return _IS_UTF16
    text = beginning.lstrip()
    first, end, rest = text.partition(b"\n")
    if not end:
        return None
    if first[:1] in (b"{", b"["):
        return _over_lines(first.strip(), rest, text)
    if rest.lstrip()[:1] == b"{":
        return None  # a line that is none before lines that may be runs
    if first[:1] == b"<":
        return f"this is XML or HTML, perhaps the page of a login or an error; {_RUNS}"
    return _table(first)


def _over_lines(first: bytes, rest: bytes, text: bytes) -> str | None:
    """One document, or an array of them, over several lines."""
    second = rest.partition(b"\n")[0]
    if first.endswith(b",") and _is_object(first[:-1]):
        return None  # the lines of an array, each whole
    is_open = first in (b"{", b"[", b"[{") or (
        first.endswith((b",", b"{", b"[")) and (second[:1] in b" \t" or second[:1] in (b'"', b"{")) and second.strip()
    )
    if not is_open:
        return None
    names = _names(text)
    known = None if {"run_id", "task_type"} <= names else _named(names)
    if known:
        return known
    if first[:1] == b"[":
        return (
            "this is one JSON array over several lines; jq -c '.[]' FILE | spotcheck ingest - makes a line of each run"
        )
    if within := _LIST_OF_RUNS.match(text):
        return _WITHIN.format(name=within[1].decode("ascii"))
    return "this is one JSON document over several lines; jq -c . FILE | spotcheck ingest - makes a line of each run"


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def of_cut_line(raw: bytes) -> str | None:
    """What a line is that is too long to be read, by its beginning: a whole export on one line, or an array of runs."""
    return ARRAY if raw.lstrip()[:1] == b"[" else _named(_names(raw))


ARRAY = "this is one JSON array; jq -c '.[]' FILE | spotcheck ingest - makes a line of each run"


def _names(text: bytes) -> set[str]:
    return {name.decode("ascii", "replace") for name in re.findall(rb'"([\w.]{1,40})"\s*:', text)}


def _table(first: bytes) -> str | None:
    for mark, name in ((b",", "CSV"), (b"\t", "a table with tabs"), (b";", "CSV with semicolons")):
        cells = first.strip().split(mark)
        if len(cells) >= _FEWEST_CELLS and all(_CELL.fullmatch(cell.strip()) for cell in cells):
            return f"this is {name}, not JSON lines: write it as JSON lines first; {_RUNS}"
    return None


def _named(names: Iterable[str]) -> str | None:
    found = set(names)
    for export in _EXPORTS:
        if any(wanted <= found for wanted in export.any_of):
            return f"this is {export.what}, no run: {_RUNS}"
    return None
