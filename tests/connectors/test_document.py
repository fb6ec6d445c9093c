"""One document to a run: lenient in form, strict in facts, bounded in size, and never another exception."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.connectors.sources import document
from worker.connectors.sources.document import ParsedRun
from worker.core.intake.names import meant
from worker.errors import IngestError
from worker.records import Run, Step
from worker.settings.sections_sampling import IntakeSection

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LIMITS = IntakeSection()
TIGHT = IntakeSection(max_text_chars=1_000, max_result_chars=100, max_steps=10)
PLAIN: Mapping[str, Any] = {
    "run_id": "r-1",
    "task_type": "refund",
    "status": "completed",
    "ended_at": "2026-11-20T14:02:41Z",
}


def read(limits: IntakeSection = LIMITS, **over: Any) -> Run:
    return taken(limits, **over).run


def taken(limits: IntakeSection = LIMITS, **over: Any) -> ParsedRun:
    return document.read({**PLAIN, **over}, source="jsonl", now=NOW, limits=limits)


def stored_steps(one: ParsedRun) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = orjson.loads(one.payload)["steps"]
    return steps


def test_the_four_required_fields_are_enough() -> None:
    run = read()
    assert (run.run_id, run.task_type, run.status, run.content) == ("r-1", "refund", "completed", "none")
    assert run.ended_at == datetime(2026, 11, 20, 14, 2, 41, tzinfo=UTC)
    assert run.received_at == NOW
    assert run.cost_usd is None


@pytest.mark.parametrize("name", PLAIN)
def test_a_missing_required_field_is_named_whether_absent_or_null(name: str) -> None:
    with pytest.raises(IngestError, match=f"^{name} is missing$"):
        document.read(
            {key: value for key, value in PLAIN.items() if key != name}, source="jsonl", now=NOW, limits=LIMITS
        )
    with pytest.raises(IngestError, match=f"^{name} is missing$"):
        document.read({**PLAIN, name: None}, source="jsonl", now=NOW, limits=LIMITS)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"status": "done"}, "status is 'done', which is none of completed, errored, aborted and incomplete, nor"),
        ({"run_id": ""}, "run_id is empty"),
        ({"run_id": {"a": 1}}, "run_id is {'a': 1}, which is no text"),
        ({"run_id": True}, "run_id is True, which is no text"),
        ({"run_id": "x" * 513}, "run_id is 'xxx"),
        ({"run_id": "a\0b"}, "run_id holds a NUL character"),
        ({"task_type": 3}, "task_type is 3, which is no text"),
        ({"task_type": "a\0"}, "task_type holds a NUL character"),
        ({"ended_at": "yesterday"}, "ended_at is 'yesterday'"),
        ({"ended_at": "2026-11-20T14:02:41"}, "ended_at '2026-11-20T14:02:41' has no time zone; write it like"),
        ({"ended_at": "2026-11-20"}, "ended_at '2026-11-20' has no time zone"),
        ({"ended_at": "2026-11-25T14:02:41Z"}, "ended_at 2026-11-25T14:02:41+00:00 lies in the future"),
        ({"ended_at": "1970-01-01T00:00:00Z"}, "is before 2000: a clock that was never set?"),
        ({"ended_at": "0001-01-01T00:00:00+14:00"}, "a time stamp is outside the calendar"),
        ({"ended_at": "9999-12-31T23:59:59-14:00"}, "a time stamp is outside the calendar"),
        ({"ended_at": []}, "ended_at is []"),
        ({"status": "running"}, "status is 'running': this run has not ended; send it when it has"),
        ({"run_id": "None"}, "run_id is 'None', which is nothing"),
        ({"run_id": "nan"}, "run_id is 'nan', which is nothing"),
        ({"task_type": "null"}, "task_type is 'null', which is nothing"),
        ({"run_id": None, "id": "r-1"}, "run_id is missing (is it 'id'?)"),
        ({"task_type": None, "category": "refund"}, "task_type is missing (is it 'category'?)"),
    ],
)
def test_a_wrong_fact_rejects_the_run_with_one_line(over: dict[str, Any], said: str) -> None:
    with pytest.raises(IngestError) as raised:
        read(**over)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("over", "noticed"),
    [
        ({"started_at": "2026-11-20T14:02:41"}, "started_at"),
        ({"started_at": "yesterday"}, "started_at"),
        ({"started_at": 0}, "started_at"),
        ({"started_at": "0001-01-01T00:00:00+14:00"}, "started_at"),
        ({"steps": {"a": 1}}, "steps"),
        ({"steps": "none at all"}, "steps"),
        ({"steps": [1]}, "steps"),
        ({"cost_usd": -0.1}, "cost_usd"),
        ({"cost_usd": "free"}, "cost_usd"),
        ({"cost_usd": "0,031"}, "cost_usd"),
        ({"cost_usd": True}, "cost_usd"),
        ({"cost_usd": "inf"}, "cost_usd"),
        ({"cost_usd": 1e300}, "cost_usd"),
        ({"input_tokens": 10**18}, "input_tokens"),
        ({"input_tokens": 1.5}, "input_tokens"),
        ({"output_tokens": [1]}, "output_tokens"),
        ({"latency_ms": "soon"}, "latency_ms"),
        ({"latency_ms": {"ms": 1}}, "latency_ms"),
        ({"content": "some"}, "content"),
        ({"cost_source": 3}, "cost_source"),
        ({"vendor_ids": [1]}, "vendor_ids"),
        ({"agent": ["a"]}, "agent"),
        ({"agent": "x" * 301}, "agent"),
        ({"agent_version": "x" * 201}, "agent_version"),
        ({"session_id": {"id": 1}}, "session_id"),
        ({"user_id": True}, "user_id"),
    ],
)
def test_an_optional_field_never_costs_a_run_and_what_was_left_out_is_counted(
    over: dict[str, Any], noticed: str
) -> None:
    one = taken(**over)
    plain = read()
    assert one.run.model_copy(update={"content": plain.content}) == plain
    assert [(notice.what, notice.where, notice.name, notice.number) for notice in one.notices] == [
        ("dropped", "run", noticed, 1)
    ]


@pytest.mark.parametrize(
    ("over", "noticed"),
    [
        *(({"duration_ms": -1}, "duration_ms"), ({"duration_ms": "soon"}, "duration_ms")),
        *(({"duration_ms": True}, "duration_ms"), ({"duration_ms": 1e300}, "duration_ms")),
        *(({"duration_ms": [1]}, "duration_ms"), ({"duration_ms": "1,5"}, "duration_ms")),
        *(({"input_tokens": "a few"}, "input_tokens"), ({"input_tokens": 1.5}, "input_tokens")),
        *(({"input_tokens": 10**18}, "input_tokens"), ({"input_tokens": False}, "input_tokens")),
        *(({"cost_usd": "€1"}, "cost_usd"), ({"cost_usd": -2}, "cost_usd"), ({"cost_usd": {}}, "cost_usd")),
        *(({"started_at": "2026-11-20T14:02:41"}, "started_at"), ({"started_at": "noon"}, "started_at")),
        *(({"started_at": []}, "started_at"), ({"started_at": 1e30}, "started_at")),
        ({"started_at": "0001-01-01T00:00:00+14:00"}, "started_at"),
        *(({"started_at": 120}, "started_at"), ({"started_at": "20261120100000"}, "started_at")),
        *(({"started_at": "0001-01-01T00:00:00Z"}, "started_at"), ({"duration_ms": 1795168801000}, "duration_ms")),
        ({"seq": -4}, "seq"),
        ({"seq": "first"}, "seq"),
        ({"result_sha": 4}, "result_sha"),
    ],
)
def test_an_optional_field_never_costs_a_step(over: dict[str, Any], noticed: str) -> None:
    other = {"kind": "tool", "name": "b", "duration_ms": 3}
    one = taken(steps=[{"kind": "tool", "name": "a", "result": "r", **over}, other])
    assert one.run.steps == read(steps=[{"kind": "tool", "name": "a", "result": "r"}, other]).steps
    assert [(notice.what, notice.where, notice.name) for notice in one.notices] == [("dropped", "step", noticed)]
    assert stored_steps(one)[0] == {"seq": 0, "kind": "tool", "name": "a", "result": "r"}


ENDED = datetime(2026, 11, 20, 14, 2, 41, tzinfo=UTC)


@pytest.mark.parametrize(
    ("over", "field", "value"),
    [
        ({"cost_usd": "$0.031"}, "cost_usd", 0.031),
        ({"latency_ms": "1.2s"}, "latency_ms", 1_200),
        ({"latency": "1.2s"}, "latency_ms", 1_200),
        ({"duration_s": 1.2}, "latency_ms", 1_200),
        ({"tokens_in": 7}, "input_tokens", 7),
        ({"promptTokens": "7"}, "input_tokens", 7),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 2}}, "output_tokens", 2),
        ({"total_cost": 0.5}, "cost_usd", 0.5),
        ({"agentName": "bot"}, "agent", "bot"),
        ({"agent": {"name": "bot", "id": 7}}, "agent", "bot"),
        ({"conversation_id": 12}, "session_id", "12"),
        ({"question": "Why?"}, "input", "Why?"),
        ({"response": {"text": "So."}}, "output", '{"text":"So."}'),
        ({"finish_reason": "stop"}, "stop_reason", "stop"),
        ({"status": "SUCCESS"}, "status", "completed"),
        ({"status": "failed"}, "status", "errored"),
        ({"status": "timed-out"}, "status", "aborted"),
        (
            {"ended_at": None, "end_time": "2026-11-20T14:02:41Z"},
            "ended_at",
            datetime(2026, 11, 20, 14, 2, 41, tzinfo=UTC),
        ),
        ({"ended_at": 1795183361000000}, "ended_at", ENDED),
        ({"ended_at": "1795183361"}, "ended_at", ENDED),
        ({"run_id": None, "runId": "r-9"}, "run_id", "r-9"),
        ({"task_type": None, "Task-Type": "faq"}, "task_type", "faq"),
        ({"started_at": 1795183360000}, "latency_ms", 1_000),
        ({"startTimeUnixNano": "1795183360000000000"}, "latency_ms", 1_000),
        ({"latency_ms": "soon", "started_at": "2026-11-20T14:02:40Z"}, "latency_ms", 1_000),
        ({"steps": '[{"kind": "tool"}]'}, "steps", (Step(seq=0, kind="tool"),)),
    ],
)
def test_what_other_tools_call_a_field_or_how_they_write_it_is_taken(
    over: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(read(**over), field) == value
    other = set(over) - set(Run.model_fields) - {"usage"}
    assert not other & set(read(**over).tags)


@pytest.mark.parametrize(
    "words",
    [
        {"error": "None", "stop_reason": "null", "session_id": "nan", "user_id": "undefined", "agent": "None"},
        {"error": False, "cost_usd": "", "latency_ms": "N/A", "input_tokens": "NaN", "started_at": ""},
        {"error": {}, "agent_version": "nan", "trace_id": "None", "root_span_id": "null", "output_tokens": "none"},
    ],
)
def test_nothing_written_as_a_word_is_nothing_and_needs_no_notice(words: dict[str, Any]) -> None:
    one = taken(**words)
    assert one.run == read()
    assert one.notices == ()


def test_what_could_be_two_things_is_a_tag_that_is_asked_about() -> None:
    one = taken(latency=1.2, cost=3, answer="42", created_at="2026-11-20T14:02:40Z", duratoin_ms=4)
    assert (one.run.latency_ms, one.run.cost_usd, one.run.output, one.run.started_at) == (None, None, None, None)
    assert set(one.run.tags) == {"latency", "cost", "answer", "created_at", "duratoin_ms"}
    assert {notice.name: notice.did_you_mean for notice in one.notices} == {
        "latency": "latency_ms",
        "cost": "cost_usd",
        "answer": "output",
        "created_at": "started_at",
        "duratoin_ms": "latency_ms",
    }


def test_a_field_of_ours_wins_over_another_name_for_it() -> None:
    one = taken(input_tokens=3, tokens_in=4, steps=[{"kind": "tool", "type": "llm", "duration_ms": 1, "latency_ms": 2}])
    assert (one.run.input_tokens, one.run.tags) == (3, {"tokens_in": 4})
    assert (one.run.steps[0].kind, one.run.steps[0].duration_ms) == ("tool", 1)


STEPS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "openai": (
        {"type": "function", "id": "call_1", "function": {"name": "get_order", "arguments": '{"order": 4711}'}},
        {"kind": "tool", "name": "get_order", "arguments": '{"order": 4711}'},
    ),
    "langsmith": (
        {
            "run_type": "tool",
            "name": "get_order",
            "inputs": {"order": 1},
            "outputs": {"total": 2},
            "start_time": 1795183360,
        },
        {"kind": "tool", "name": "get_order", "arguments": {"order": 1}, "result": '{"total":2}'},
    ),
    "opentelemetry": (
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x", "gen_ai.tool.call.result": "ok"},
        {"kind": "tool", "name": "x", "result": "ok"},
    ),
    "openinference": (
        {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 5, "name": "n"},
        {"kind": "model", "model": "m", "input_tokens": 5, "name": "n"},
    ),
    "ai sdk": (
        {"type": "ai.toolCall", "toolName": "x", "args": {"a": 1}, "result": "r", "latencyMs": "12"},
        {"kind": "tool", "name": "x", "arguments": {"a": 1}, "result": "r", "duration_ms": 12},
    ),
    "anthropic": (
        {"type": "llm", "usage": {"input_tokens": 1, "cache_read_input_tokens": 9, "output_tokens": 2}},
        {"kind": "model", "input_tokens": 10, "output_tokens": 2},
    ),
    "a tool's names and no kind": (
        {"tool": "get_order", "tool_input": {"order": 1}, "observation": "83.20"},
        {"kind": "tool", "name": "get_order", "arguments": {"order": 1}, "result": "83.20"},
    ),
    "a tool as an object": ({"tool": {"name": "x", "id": 4}}, {"kind": "tool", "name": "x"}),
    "a function and no kind": (
        {"function": {"name": "x", "arguments": {}}},
        {"kind": "tool", "name": "x", "arguments": {}},
    ),
    "start and end": (
        {"kind": "tool", "start_time": 1795183360, "end_time": "1795183361500"},
        {"kind": "tool", "duration_ms": 1_500},
    ),
    "a flag": (
        {"kind": "tool", "isError": True, "result": "no"},
        {"kind": "tool", "error": "isError: True", "result": "no"},
    ),
    "a flag as a word": ({"kind": "tool", "success": "false"}, {"kind": "tool", "error": "success: false"}),
    "a status": ({"kind": "tool", "status": "ERROR"}, {"kind": "tool", "error": "status: ERROR"}),
    "a status of HTTP": ({"kind": "tool", "status": 503}, {"kind": "tool", "error": "status: 503"}),
    "a status of OpenTelemetry": (
        {"kind": "tool", "status": {"code": "STATUS_CODE_ERROR", "message": "no such order"}},
        {"kind": "tool", "error": "no such order"},
    ),
    "a state of the AI SDK": (
        {"kind": "tool", "state": "output-error", "errorText": "no such order"},
        {"kind": "tool", "error": "no such order"},
    ),
    "a level of Langfuse": (
        {"type": "TOOL", "level": "ERROR", "statusMessage": "no such order"},
        {"kind": "tool", "error": "no such order"},
    ),
    "an exit code": ({"kind": "tool", "exitCode": "127"}, {"kind": "tool", "error": "exitCode: 127"}),
    "a signal": ({"kind": "tool", "returncode": -9}, {"kind": "tool", "error": "returncode: -9"}),
    "a flag as a number": ({"kind": "tool", "success": 0}, {"kind": "tool", "error": "success: 0"}),
    "a list of errors": ({"kind": "tool", "errors": ["no"]}, {"kind": "tool", "error": "errors: ['no']"}),
    "nothing that failed": ({"kind": "tool", "exit_code": 0, "errors": [], "status": 200}, {"kind": "tool"}),
    "gemini": (
        {"kind": "model", "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 1, "thoughtsTokenCount": 7}},
        {"kind": "model", "input_tokens": 9, "output_tokens": 8},
    ),
    "bedrock": (
        {"kind": "model", "usage": {"inputTokens": 1, "cacheReadInputTokens": 9, "outputTokens": 2}},
        {"kind": "model", "input_tokens": 10, "output_tokens": 2},
    ),
    "milliseconds since the run began": (
        {"kind": "tool", "start_ms": 120, "end_ms": 620},
        {"kind": "tool", "duration_ms": 500},
    ),
    "a good status": ({"kind": "tool", "status": "ok", "is_error": False}, {"kind": "tool"}),
    "no error": ({"kind": "tool", "error": "null"}, {"kind": "tool"}),
}


@pytest.mark.parametrize("shape", STEPS)
def test_a_step_in_another_tools_shape_is_understood(shape: str) -> None:
    sent, expected = STEPS[shape]
    (step,) = read(steps=[sent]).steps
    found = step.model_dump(exclude={"seq", "started_at"}, exclude_defaults=True)
    assert found == expected | {"kind": step.kind}
    assert step.kind == expected["kind"]


def test_tokens_in_an_object_are_told_once_and_a_count_that_cannot_be_read_is_told_too() -> None:
    one = taken(steps=[{"kind": "model", "usage": {"input_tokens": "1,000", "output_tokens": 5}}])
    found = [(notice.what, notice.where, notice.name, notice.number) for notice in one.notices]
    assert sorted(found) == [("dropped", "step", "usage.input_tokens", 1), ("renamed", "step", "usage", 1)]
    assert one.run.steps[0].output_tokens == 5


def test_unknown_fields_and_kinds_of_steps_are_counted() -> None:
    steps = [{"kind": "teapot", "lattency_ms": 4, "colour": "red"}, {"name": "x", "colour": "blue"}]
    found = {(notice.what, notice.name, notice.did_you_mean): notice.number for notice in taken(steps=steps).notices}
    assert found == {
        ("unknown", "lattency_ms", "duration_ms"): 1,
        ("unknown", "colour", None): 2,
        ("unknown_kind", "teapot", None): 1,
        ("unknown_kind", "", None): 1,
    }


def test_what_a_name_was_meant_for_is_not_asked_of_thousands() -> None:
    """It takes 0.1 ms a name, and a line of 16 MB holds a million."""
    before = meant.cache_info().misses
    metrics: dict[str, Any] = {f"metric {number}": 1 for number in range(2_000)}
    one = taken(**metrics)
    assert meant.cache_info().misses == before
    assert sum(notice.number for notice in one.notices if notice.what == "unknown") == 2_000


def test_an_end_before_the_start_has_no_latency_and_is_told() -> None:
    (notice,) = taken(started_at="2026-11-20T15:00:00Z").notices
    assert (notice.what, notice.name) == ("mended", "an end before the start")


def test_notices_of_a_run_are_bounded() -> None:
    steps = [{"kind": f"kind {number}", f"field {number}": 1} for number in range(3_000)]
    tags: dict[str, Any] = {f"tag {number}": 1 for number in range(3_000)}
    one = taken(steps=steps, **tags)
    assert len(one.notices) < 110
    assert sum(notice.number for notice in one.notices) == 9_000


@pytest.mark.parametrize("value", [None, [], "text", 1, 1.5, True])
def test_a_document_that_is_no_object_says_what_it_is(value: object) -> None:
    with pytest.raises(IngestError, match=r"not an object but (null|a list|a string|a number|a boolean)"):
        document.read(value, source="jsonl", now=NOW, limits=LIMITS)


def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    assert read(ended_at=(NOW + timedelta(hours=23)).isoformat())


def test_null_counts_as_not_given_everywhere() -> None:
    names = set(Run.model_fields) - set(PLAIN) - {"tags", "revision", "received_at"}
    assert document.read({**PLAIN, **dict.fromkeys(names)}, source="jsonl", now=NOW, limits=LIMITS).run == read()
    step = read(steps=[{"kind": "tool", **dict.fromkeys(set(Step.model_fields) - {"kind"})}]).steps[0]
    assert step == Step(seq=0, kind="tool")


def test_numbers_that_came_as_text_are_numbers_from_then_on() -> None:
    one = taken(
        input_tokens="12",
        cost_usd="0.5",
        steps=[{"kind": "tool", "input_tokens": "7", "duration_ms": "1.5", "seq": "3"}],
    )
    assert (one.run.input_tokens, one.run.cost_usd) == (12, 0.5)
    assert stored_steps(one) == [{"seq": 3, "kind": "tool", "input_tokens": 7, "duration_ms": 1.5}]


def test_ids_that_came_as_numbers_are_text() -> None:
    run = read(run_id=4711, user_id=42, session_id=7, agent_version=2.5, trace_id=1, vendor_ids={"a": 1, "b": None})
    assert (run.run_id, run.user_id, run.session_id, run.agent_version, run.trace_id) == ("4711", "42", "7", "2.5", "1")
    assert run.vendor_ids == {"a": "1"}


def test_texts_that_are_no_text_become_json() -> None:
    run = read(input={"ask": [1, "ü"]}, output=["done"], error={"code": 500}, stop_reason=["end"])
    assert (run.input, run.output, run.error, run.stop_reason) == (
        '{"ask":[1,"ü"]}',
        '["done"]',
        '{"code":500}',
        '["end"]',
    )


def test_unknown_fields_become_tags_and_never_reach_a_scorer() -> None:
    run = read(truth=False, score=1, tags={"team": "a"}, extra=None)
    assert run.tags == {"truth": False, "score": 1, "team": "a"}
    assert run.for_scorer().tags == {}
    assert read(tags=["a", "b"]).tags == {"tags": ["a", "b"]}


def test_what_only_we_decide_is_not_taken_from_the_document() -> None:
    run = read(revision=9, received_at="2020-01-01T00:00:00Z")
    assert (run.revision, run.received_at, run.tags) == (1, NOW, {})


def test_latency_is_said_or_measured_or_unknown() -> None:
    assert read(started_at="2026-11-20T14:02:40.5Z").latency_ms == 500
    assert read(duration_ms=70).latency_ms == 70
    assert read(latency_ms=7, duration_ms=70, started_at="2026-11-20T14:02:40Z").latency_ms == 7
    assert read(started_at="2026-11-20T15:00:00Z").latency_ms is None


def test_a_cost_that_was_sent_is_the_clients() -> None:
    assert read(cost_usd=0.1).cost_source == "client"
    assert read().cost_source == "unknown"


def test_an_unknown_kind_of_step_is_other_and_nothing_is_lost_of_it() -> None:
    told = [{"kind": "teapot", "name": "x"}, {"kind": [], "name": None, "error": ""}, {"error": {"e": 1}}]
    steps = read(steps=told).steps
    assert [step.kind for step in steps] == ["other", "other", "other"]
    assert [step.error for step in steps] == [None, None, '{"e":1}']
    assert [step.name for step in steps] == ["x", "", ""]


def test_a_result_beyond_the_limit_is_cut_with_its_size_and_hash() -> None:
    step = read(TIGHT, steps=[{"kind": "tool", "result": "y" * 5_000}]).steps[0]
    assert (len(step.result or ""), step.result_size) == (100, 5_000)
    assert step.result_sha == hashlib.sha256(b"y" * 5_000).hexdigest()[:16]
    again = read(TIGHT, steps=[{"kind": "tool", "result": "y" * 4_999 + "z"}]).steps[0]
    assert again.result == step.result
    assert again.result_sha != step.result_sha
    whole = read(steps=[{"kind": "tool", "result": "y" * 5_000}]).steps[0]
    assert (whole.result_size, whole.result_sha) == (None, None)


def test_input_and_output_beyond_the_limit_are_cut_and_the_content_is_partial() -> None:
    run = read(TIGHT, input="a" * 5_000, output="b")
    assert (len(run.input or ""), run.output, run.content) == (1_000, "b", "partial")


def test_five_thousand_steps_are_all_kept() -> None:
    run = read(steps=[{"kind": "tool", "name": f"n{number}"} for number in range(5_000)])
    assert len(run.steps) == 5_000
    assert run.content == "full"


@pytest.mark.parametrize("most", [1, 2, 9, 5_000])
def test_of_twenty_thousand_steps_beginning_and_end_are_kept_with_their_places(most: int) -> None:
    steps = [{"kind": "tool", "name": f"n{number}"} for number in range(20_000)]
    run = read(IntakeSection(max_steps=most), steps=steps)
    assert len(run.steps) == most
    assert run.content == "partial"
    assert all(step.name == f"n{step.seq}" for step in run.steps)
    assert run.steps[0].seq == 0
    assert most == 1 or run.steps[-1].seq == 19_999


@pytest.mark.parametrize("depth", [200, 260, 900, 5_000])
@pytest.mark.parametrize("place", ["input", "tag", "arguments"])
def test_what_is_nested_too_deeply_costs_its_field_and_not_the_run(depth: int, place: str) -> None:
    deep: object = "x"
    for _ in range(depth):
        deep = [deep]
    steps: list[dict[str, Any]] = [{"kind": "tool", "name": "a"}, {"kind": "tool", "name": "b"}]
    sent: dict[str, Any] = {"steps": [{**steps[0], place: deep}, steps[1]]} if place == "arguments" else {place: deep}
    one = taken(**{"steps": steps, **sent})
    assert [step.name for step in one.run.steps] == ["a", "b"]
    dropped = [notice.name for notice in one.notices if notice.what == "dropped"]
    assert dropped == ([] if depth == 200 else [place])
    assert len(one.payload) < 1_000


@pytest.mark.parametrize("field", ["tag", "tags", "input", "steps", "as text", "step's"])
def test_nesting_at_the_very_limit_costs_its_field_and_not_the_run(field: str) -> None:
    """A field becomes a tag, or a text a list of steps, which stand deeper in what is stored than in what was sent."""
    deep: object = "x"
    for depth in range(1, 257):
        deep = [deep]
        if depth < 245:
            continue
        step = {"kind": "tool", "name": "a", "arguments": deep}
        sent: dict[str, dict[str, Any]] = {
            "as text": {"steps": json.dumps([step])},
            "step's": {"steps": [step]},
            "steps": {"steps": {"a": deep}},
        }
        one = taken(**sent.get(field, {field: deep}))
        assert [each.name for each in one.run.steps] == (["a"] if field in ("as text", "step's") else [])
        if depth == 256:
            assert len(one.payload) < 400, "and it was left out"


def test_deep_nesting_where_the_identity_should_be_is_one_line() -> None:
    deep: object = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(IngestError, match="nested too deeply"):
        read(run_id=deep)


def test_nul_characters_in_texts_are_kept_as_data() -> None:
    assert read(output="a\0b").output == "a\0b"


def test_the_hash_is_of_the_document_and_not_of_its_order() -> None:
    assert taken(a=1, b=2).sha == taken(b=2, a=1).sha
    assert taken(a=1).sha != taken(a=2).sha


def test_the_payload_holds_what_the_run_says() -> None:
    one = taken(
        input="i", output="o", steps=[{"kind": "tool", "arguments": {"a": None}}], note="n", vendor_ids={"v": "1"}
    )
    assert orjson.loads(one.payload) == {
        "input": "i",
        "output": "o",
        "steps": [{"seq": 0, "kind": "tool", "arguments": {"a": None}}],
        "tags": {"note": "n"},
        "vendor_ids": {"v": "1"},
    }


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_step = st.dictionaries(st.sampled_from(sorted(Step.model_fields)), _json, max_size=5)
_stamp = st.datetimes().map(datetime.isoformat) | st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | _json
_near = st.fixed_dictionaries(
    {
        "run_id": st.text(min_size=1, max_size=20) | _json,
        "task_type": st.text(min_size=1, max_size=20) | _json,
        "status": st.sampled_from(["completed", "aborted", "errored", "incomplete"]) | _json,
        "ended_at": st.just("2026-11-20T14:02:41Z") | _stamp,
    },
    optional={
        **{name: _json for name in sorted(Run.model_fields) if name not in (*PLAIN, "steps", "started_at")},
        "steps": st.lists(_step | _json, max_size=3) | _json,
        "started_at": _stamp,
        "anything": _json,
    },
)


def _run_or_line(anything: object) -> ParsedRun | str:
    try:
        return document.read(anything, source="jsonl", now=NOW, limits=TIGHT)
    except IngestError as error:
        return str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_json | _near)
def test_any_json_document_gives_a_run_or_one_line(anything: object) -> None:
    one = _run_or_line(anything)
    if isinstance(one, str):
        assert one.strip()
        assert "\n" not in one
        return
    assert tuple(Step.model_validate(step, strict=False) for step in stored_steps(one)) == one.run.steps
    for step in stored_steps(one):
        assert not {type(step.get(name, 0)) for name in ("seq", "input_tokens", "duration_ms", "cost_usd")} & {
            str,
            bool,
        }
    assert document.read(anything, source="jsonl", now=NOW, limits=TIGHT) == one
    Run.model_validate_json(one.run.model_dump_json())


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_that_are_json_give_a_run_or_one_line(raw: bytes) -> None:
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    with pytest.raises(IngestError):
        document.read(parsed, source="jsonl", now=NOW, limits=TIGHT)
