"""The format of runs, `spotcheck.run/1`, as a JSON Schema and as a page: made from the records and the tables of names.

The schema describes what a source should send. The intake takes more than it allows (other names, other units, numbers
as text), so a document that fails it may be taken all the same; one that satisfies it is taken without a notice.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worker.core.intake.names import KINDS, RUN_NAMES, STATUSES, STEP_NAMES, UNITS
from worker.records import Run, Step

SCHEMA_ID = "spotcheck.run/1"
NOT_SENT = frozenset({"revision", "received_at"})
"""Fields of the record that the intake decides."""
_REQUIRED = ("run_id", "task_type", "status", "ended_at")
_KINDS = ["model", "tool", "agent", "other"]
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_NUMBER: Mapping[str, Any] = {"type": "number", "minimum": 0}


class FieldFormat(NamedTuple):
    """One field of the format."""

    schema: Mapping[str, Any]
    """Its JSON Schema, without null, which every optional field may be."""
    meaning: str
    default: str = "unknown"
    """What counts where it is missing, in words."""


RUN_FIELDS: Mapping[str, FieldFormat] = {
    "run_id": FieldFormat(
        {"type": "string", "minLength": 1, "maxLength": 512},
        "Identity, together with `source`. The same id with other content is a new revision.",
        "required",
    ),
    "source": FieldFormat(
        {"type": "string", "minLength": 1, "maxLength": 200},
        "Where the run comes from; part of its identity.",
        "`jsonl`",
    ),
    "task_type": FieldFormat(
        {"type": "string", "minLength": 1, "maxLength": 200},
        "What kind of work it was: a dozen or so values. Samples, trends and findings are by task type.",
        "required",
    ),
    "status": FieldFormat(
        {"enum": ["completed", "aborted", "errored", "incomplete"]},
        "How it ended. A run that has not ended is rejected; send it when it has.",
        "required",
    ),
    "ended_at": FieldFormat(_TIME, "When it ended, with its offset from UTC. Decides its night, for ever.", "required"),
    "started_at": FieldFormat(_TIME, "When it began."),
    "agent": FieldFormat({"type": "string", "maxLength": 300}, "Name of the agent.", "empty"),
    "agent_version": FieldFormat(
        {"type": "string", "maxLength": 200}, "Its version; `trends --by agent_version`.", "empty"
    ),
    "input": FieldFormat({}, "The request: text, or any JSON value, which is kept as JSON text.", "nothing recorded"),
    "output": FieldFormat({}, "The final answer: text, or any JSON value.", "nothing recorded"),
    "steps": FieldFormat({"type": "array", "items": {"$ref": "#/$defs/step"}}, "What it did, in order.", "none"),
    "error": FieldFormat(
        {"type": "string"}, "Why it failed. A word for nothing (`null`, `false`) counts as nothing.", "none"
    ),
    "stop_reason": FieldFormat({"type": "string"}, "Why it stopped, in the agent's own word.", "none"),
    "latency_ms": FieldFormat(_NUMBER, "Wall time, milliseconds.", "`ended_at` − `started_at`"),
    "input_tokens": FieldFormat(_COUNT, "Tokens read by all its models, cached ones included; all are priced in full."),
    "output_tokens": FieldFormat(_COUNT, "Tokens written by all its models, reasoning included."),
    "cost_usd": FieldFormat(
        _NUMBER, "What it cost, US dollars; 0 is free.", "by its tokens where they have a price, else unknown"
    ),
    "cost_source": FieldFormat(
        {"enum": ["client", "price_table", "unknown"]}, "Where `cost_usd` comes from.", "`client` with a cost"
    ),
    "model": FieldFormat(
        {"type": "string"}, "The model of all its calls, for the price; kept as a tag.", "that of its steps"
    ),
    "session_id": FieldFormat({"type": "string"}, "The conversation it belongs to; never shown to a judge."),
    "user_id": FieldFormat({"type": "string"}, "Who asked; never shown to a judge."),
    "trace_id": FieldFormat({"type": "string"}, "Id of its trace in your tracing tool."),
    "root_span_id": FieldFormat({"type": "string"}, "Id of its root span there."),
    "vendor_ids": FieldFormat(
        {"type": "object", "additionalProperties": {"type": "string"}},
        "Ids by which other tools find it again.",
        "none",
    ),
    "tags": FieldFormat({"type": "object"}, "Anything else; never shown to a judge.", "none"),
    "content": FieldFormat(
        {"enum": ["full", "partial", "none"]},
        "Whether input, output and steps are complete, cut, or were not recorded at all.",
        "by what is there",
    ),
}

STEP_FIELDS: Mapping[str, FieldFormat] = {
    "kind": FieldFormat({"enum": _KINDS}, "A model call, a tool call, a nested agent, or anything else.", "`other`"),
    "name": FieldFormat({"type": "string"}, "The tool's or model's name.", "empty"),
    "arguments": FieldFormat({}, "What the tool was called with: any JSON value.", "not recorded"),
    "result": FieldFormat({}, "What came back: text, or any JSON value, which is kept as JSON text.", "nothing"),
    "error": FieldFormat({"type": "string"}, "Why the step failed; a failure told in `result` is found too.", "none"),
    "started_at": FieldFormat(_TIME, "When it began."),
    "duration_ms": FieldFormat(_NUMBER, "How long it took, milliseconds."),
    "model": FieldFormat({"type": "string"}, "The model that was called, as its server names it; gives the price."),
    "input_tokens": FieldFormat(_COUNT, "Tokens read, cached ones included."),
    "output_tokens": FieldFormat(_COUNT, "Tokens written, reasoning included."),
    "cost_usd": FieldFormat(_NUMBER, "What it cost, US dollars.", "by its tokens where they have a price"),
    "seq": FieldFormat(_COUNT, "Its position, from 0.", "its place in the list"),
    "result_size": FieldFormat(
        _COUNT, "Characters of the whole result, where you send a part.", "the length of `result`"
    ),
    "result_sha": FieldFormat({"type": "string"}, "First 16 hex of its SHA-256, where you send a part.", "none"),
}

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "The least that is a run, with something to judge": {
        "run_id": "faq-0001",
        "task_type": "faq",
        "status": "completed",
        "ended_at": "2026-11-20T10:00:07Z",
        "input": "When do you close on Saturdays?",
        "output": "We close at 4 pm on Saturdays.",
    },
    "An agent with tools, its tokens and its time": {
        "run_id": "refund-4711",
        "source": "support",
        "agent": "refund-agent",
        "agent_version": "2026-11-18",
        "task_type": "refund",
        "status": "completed",
        "started_at": "2026-11-20T10:00:00Z",
        "ended_at": "2026-11-20T10:00:11.250Z",
        "input": "Please refund the lamp of order 4711, it came broken.",
        "output": "I have refunded 83.20 EUR for order 4711; it arrives in three days.",
        "steps": [
            {"kind": "model", "name": "plan", "model": "gpt-4o-mini", "input_tokens": 812, "output_tokens": 64},
            {
                "kind": "tool",
                "name": "get_order",
                "arguments": {"order": 4711},
                "result": {"order": 4711, "total": 83.2, "currency": "EUR"},
                "started_at": "2026-11-20T10:00:02Z",
                "duration_ms": 410,
            },
            {"kind": "tool", "name": "refund", "arguments": {"order": 4711, "amount": 83.2}, "result": "issued"},
            {"kind": "model", "name": "answer", "model": "gpt-4o-mini", "input_tokens": 1034, "output_tokens": 41},
        ],
        "session_id": "s-99",
        "tags": {"region": "eu", "experiment": "b"},
    },
    "A run that was stopped, whose steps do not name their model": {
        "run_id": "chat-88",
        "source": "web",
        "agent": "helpdesk",
        "task_type": "faq",
        "status": "aborted",
        "started_at": "2026-11-20T10:00:00Z",
        "ended_at": "2026-11-20T10:00:30Z",
        "stop_reason": "max_turns",
        "input": "Where is my parcel?",
        "steps": [
            {
                "kind": "tool",
                "name": "track_parcel",
                "arguments": {"parcel": "PX-1"},
                "result": "Found 3 events; the first: left the depot",
                "result_size": 48211,
                "result_sha": "9f86d081884c7d65",
            },
            {"kind": "model", "name": "answer"},
        ],
        "model": "gpt-4o-mini",
        "input_tokens": 2200,
        "output_tokens": 130,
        "session_id": "s-100",
    },
    "A run that failed, with everything that is known of it": {
        "run_id": "research-17",
        "source": "batch",
        "agent": "supplier-research",
        "agent_version": "4",
        "task_type": "supplier_research",
        "status": "errored",
        "started_at": "2026-11-20T02:00:00+01:00",
        "ended_at": "2026-11-20T02:03:20+01:00",
        "input": [{"role": "user", "content": "Find three suppliers of M4 screws."}],
        "output": None,
        "error": "the search tool did not answer",
        "stop_reason": "tool_error",
        "steps": [
            {
                "seq": 0,
                "kind": "tool",
                "name": "web_search",
                "arguments": {"query": "M4 screws supplier"},
                "error": "503 Service Unavailable",
                "duration_ms": 30000,
            },
            {"seq": 1, "kind": "agent", "name": "summarise", "result": "Nothing to summarise.", "cost_usd": 0.0031},
        ],
        "latency_ms": 200000,
        "input_tokens": 5120,
        "output_tokens": 388,
        "cost_usd": 0.0204,
        "cost_source": "client",
        "user_id": "u-12",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "root_span_id": "00f067aa0ba902b7",
        "vendor_ids": {"langfuse": "tr-8812"},
        "tags": {"team": "purchasing"},
        "content": "full",
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of one line of a run file (draft 2020-12).

    `x-other-names` lists the names under which a field is read as well; validators pass over it.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Run",
        "description": "One finished run of an agent. Fields that are not named here are kept as tags.",
        "type": "object",
        "required": list(_REQUIRED),
        "properties": {
            name: _property(field, RUN_NAMES.get(name, ()), is_required=name in _REQUIRED)
            for name, field in RUN_FIELDS.items()
        },
        "examples": list(EXAMPLES.values()),
        "$defs": {
            "step": {
                "title": "Step",
                "description": "One action within a run. Fields that are not named here are left out and counted.",
                "type": "object",
                "properties": {
                    name: _property(field, STEP_NAMES.get(name, ()), is_required=False)
                    for name, field in STEP_FIELDS.items()
                },
            }
        },
    }


def _property(field: FieldFormat, names: Sequence[str] = (), *, is_required: bool) -> dict[str, Any]:
    schema = dict(field.schema)
    if schema and not is_required:
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        elif "$ref" not in schema:
            schema["type"] = [schema["type"], "null"]
    missing = "" if is_required else f" When missing: {field.default}."
    others = {"x-other-names": list(names)} if names else {}
    return {**schema, "description": f"{field.meaning}{missing}", **others}


def markdown() -> str:
    """`docs/runs.md`."""
    examples = "\n\n".join(
        f"{title}:\n\n```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```"
        for title, example in EXAMPLES.items()
    )
    words = {"kind": KINDS, "status": STATUSES}
    return _PAGE.format(
        runs=_table(RUN_FIELDS),
        steps=_table(STEP_FIELDS),
        run_names=_names(RUN_NAMES),
        step_names=_names(STEP_NAMES),
        **{f"{name}_words": _names(_by_ours(table)) for name, table in words.items()},
        examples=examples,
    )


def _table(fields: Mapping[str, FieldFormat]) -> str:
    rows = ["| field | type | means | when missing |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {_type(field.schema)} | {field.meaning} | {field.default} |" for name, field in fields.items()
    ]
    return "\n".join(rows)


def _names(names: Mapping[str, Sequence[str]]) -> str:
    """What is read as each of ours, a line each."""
    return "\n".join(
        f"- `{name}`: {', '.join(f'`{other}`{_factor(other)}' for other in others)}" for name, others in names.items()
    )


def _factor(name: str) -> str:
    return f" × {UNITS[name]:,g}" if name in UNITS else ""


def _by_ours(words: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word, ours in words.items():
        if word != ours:
            found.setdefault(ours, []).append(word)
    return found


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema.get("format") == "date-time":
        return "time"
    kind = str(schema.get("type", "any value"))
    if "maxLength" in schema:
        return f"{kind}, at most {schema['maxLength']}"
    if schema.get("minimum") == 0:
        return f"{kind} ≥ 0"
    return "list of steps" if kind == "array" else kind


_PAGE = """# The format of runs

<!-- generated: spotcheck schema run --format markdown > docs/runs.md -->

A file of runs has one JSON object a line (JSON Lines), plain or packed with gzip. `spotcheck ingest FILE` takes it in;
sending a file twice changes nothing. `spotcheck schema run` prints the JSON Schema of a line. Needed are identity, task
type, status and time; everything else is worth having:

- `input` and `output`: without them nothing can be judged.
- `steps`: without them nothing can be said of tools, and judges see less.
- `cost_usd`, or `model` and tokens: without them nothing is said of cost.

## A run

{runs}

## A step

{steps}

Times are ISO 8601 with an offset (`2026-11-20T10:00:00Z`), or epoch stamps in seconds, milli-, micro- or nanoseconds.
Numbers may be text where they can mean one thing only (`"$0.031"`, `"1.2s"`). A value that cannot be read is left out
and counted; it never costs the run. Other names are told once an intake. `--json` has every notice. Tokens may stand
in an object `usage`, `token_usage`, `usage_metadata` or `tokens`, as model servers send them.

A run without `cost_usd` is priced by the table of prices (`[judge.prices]`): by its steps, where every call of a model
has a cost or can be priced, else by its own tokens and `model`. Cached tokens are priced as others, so that such a cost
is rather too high. What cannot be priced whole has no cost; the intake counts these runs.

A line is rejected only where it is no JSON object, or has no identity, task type, status or time. `[intake]` in
`spotcheck settings` has the limits: longer texts and longer lists of steps are cut, longer lines are rejected.

## Examples

{examples}

## Other names

Names may be written in any case and with any marks (`latencyMs`, `gen_ai.usage.input_tokens`). A field under its own
name goes before any other; of several others the first here is taken. `latency`, `duration`, `elapsed`, `cost` and the
like are taken only where the value says its unit (`"1.2s"`, `"$0.031"`).

Of a run:

{run_names}

Of a step:

{step_names}

Words for a `status`; `done` and `stopped` can mean two things and are refused:

{status_words}

Words for a `kind` of step; any other counts as `other`:

{kind_words}
"""


def undescribed() -> list[str]:
    """Fields of the records that the format does not name, and the other way round; empty where both agree."""
    run = (set(Run.model_fields) - NOT_SENT) ^ (RUN_FIELDS.keys() - {"model"})
    step = set(Step.model_fields) ^ STEP_FIELDS.keys()
    return sorted(run | step)
