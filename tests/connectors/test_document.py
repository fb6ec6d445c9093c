"""One document to a run: lenient in form, strict in facts, bounded in size, and never another exception."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.connectors.sources import document
from worker.connectors.sources.document import ParsedRun
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
        ({"status": "done"}, "status is 'done': Input should be 'completed', 'aborted', 'errored' or 'incomplete'"),
        ({"run_id": ""}, "run_id is '': String should have at least 1 character"),
        ({"run_id": {"a": 1}}, "run_id is {'a': 1}: Input should be a valid string"),
        ({"run_id": True}, "run_id is True: Input should be a valid string"),
        ({"run_id": "x" * 513}, "run_id is 'xxx"),
        ({"run_id": "a\0b"}, "run_id holds a NUL character"),
        ({"task_type": 3}, "task_type is 3: Input should be a valid string"),
        ({"task_type": "a\0"}, "task_type holds a NUL character"),
        ({"ended_at": "yesterday"}, "ended_at is 'yesterday'"),
        ({"ended_at": "2026-11-20T14:02:41"}, "ended_at '2026-11-20T14:02:41' has no time zone; write it like"),
        ({"ended_at": "2026-11-20"}, "ended_at '2026-11-20' has no time zone"),
        ({"ended_at": "2026-11-25T14:02:41Z"}, "ended_at 2026-11-25T14:02:41+00:00 lies in the future"),
        ({"ended_at": "1970-01-01T00:00:00Z"}, "is before 2000: a clock that was never set?"),
        ({"ended_at": "0001-01-01T00:00:00+14:00"}, "a time stamp is outside the calendar"),
        ({"ended_at": "9999-12-31T23:59:59-14:00"}, "a time stamp is outside the calendar"),
        ({"ended_at": []}, "ended_at is []"),
        ({"started_at": "2026-11-20T14:02:41"}, "started_at '2026-11-20T14:02:41' has no time zone"),
        ({"steps": {"a": 1}}, "steps is an object; it must be a list of objects"),
        ({"steps": "none"}, "steps is a string; it must be a list of objects"),
        ({"steps": [1]}, "steps[0] is a number; a step is an object"),
        ({"steps": [{"duration_ms": -1}]}, "steps.0.duration_ms is -1"),
        ({"cost_usd": -0.1}, "cost_usd is -0.1: Input should be greater than or equal to 0"),
        ({"cost_usd": "free"}, "cost_usd is 'free'"),
        ({"cost_usd": 1e300}, "cost_usd is 1e+300: more than any run can have"),
        ({"input_tokens": 10**18}, "input_tokens is 1e+18: more than any run can have"),
        ({"input_tokens": 1.5}, "input_tokens is 1.5"),
        ({"content": "some"}, "content is 'some': Input should be 'full', 'partial' or 'none'"),
        ({"vendor_ids": [1]}, "vendor_ids is [1]"),
    ],
)
def test_a_wrong_fact_rejects_the_run_with_one_line(over: dict[str, Any], said: str) -> None:
    with pytest.raises(IngestError) as raised:
        read(**over)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


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
    told = [{"kind": "llm", "name": "x"}, {"kind": [], "name": None, "error": ""}, {"error": {"e": 1}}]
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


def test_deep_nesting_is_one_line() -> None:
    deep: object = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(IngestError, match="nested too deeply"):
        read(input=deep)


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
