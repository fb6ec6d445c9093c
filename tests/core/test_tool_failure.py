"""What an answer or a result says, whatever wraps it, and whether a tool call failed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.intake.values import says_no_error
from worker.core.sampling import flags
from worker.core.tool_failure import failure
from worker.core.wrapped_text import plain_text
from worker.records import Step
from worker.store.runs.runs import _tools

ERROR = "Error: no such order"
WRAPPERS: dict[str, Any] = {
    "content blocks": [{"type": "text", "text": "%"}],
    "MCP": {"content": [{"type": "text", "text": "%"}], "isError": False},
    "MCP with structure": {"content": [{"type": "text", "text": "%"}], "structuredContent": {"a": 1}, "_meta": None},
    "Anthropic's tool_result": {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "%"}]},
    "a list of tool_result": [{"type": "tool_result", "tool_use_id": "t", "content": "%"}],
    "a chat message": {"role": "tool", "tool_call_id": "c", "content": "%"},
    "an assistant's message": {"role": "assistant", "content": "%", "refusal": None, "annotations": []},
    "a message of parts": {"role": "model", "parts": [{"text": "%"}]},
    "Gemini's parts": [{"text": "%"}, {"functionCall": {"name": "f", "args": {}}}],
    "responses": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "%"}]}],
    "LangChain's constructor": {
        "lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ToolMessage"],
        "kwargs": {"content": "%", "tool_call_id": "c"},
    },
    "LangChain's dict": {"type": "ai", "data": {"content": "%", "additional_kwargs": {}, "example": False}},
    "LangChain's message": {"content": "%", "type": "tool", "name": "f", "id": None, "status": "success"},
    "a completion": {"choices": [{"index": 0, "message": {"role": "assistant", "content": "%"}}], "usage": {}},
    "thoughts before": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "%"}],
    "an assistant of threads": [{"type": "text", "text": {"value": "%", "annotations": []}}],
    "messages": {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "%"}]},
}  # fmt: skip


def wrapped(name: str, text: str) -> str:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        return text if value == "%" else value

    return json.dumps(filled(WRAPPERS[name]))


def a_call(result: str | None, error: str | None = None) -> Step:
    return Step(seq=0, kind="tool", name="get_order", result=result, error=error)


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("text", ["The total is 83.20.\nThank you.", ERROR, "half \ud83d"])
def test_the_words_are_read_whatever_wraps_them(name: str, text: str) -> None:
    assert plain_text(wrapped(name, text)).replace("?\n", "") == text


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_failure_is_seen_whatever_wraps_it_and_a_success_too(name: str) -> None:
    assert failure(a_call(wrapped(name, ERROR))) == ERROR
    assert failure(a_call(wrapped(name, '{"error": "no such order"}'))) is not None
    assert failure(a_call(wrapped(name, "83.20"))) is None
    assert failure(a_call(wrapped(name, '{"value": 3.1, "error": 0.05}'))) is None
    assert failure(a_call(wrapped(name, "No errors were found."))) is None


@pytest.mark.parametrize(
    "output",
    [
        '{"role": "assistant", "content": null, "tool_calls": [{"id": "c"}]}',
        '{"role": "assistant", "content": ""}',
        '{"role": "assistant", "content": []}',
        '[{"type": "text", "text": ""}]',
        '[{"type": "tool_use", "id": "t", "name": "f", "input": {}}]',
        '{"role": "model", "parts": [{"functionCall": {"name": "f"}}]}',
    ],
)
def test_a_message_without_words_is_empty(output: str) -> None:
    assert plain_text(output) == ""


@pytest.mark.parametrize(
    "text",
    [
        '{"total": 83.2}',
        "[]",
        "{}",
        "[1, 2]",
        '["a", "b"]',
        '[{"id": 1}, {"id": 2}]',
        '{"name": "Ada", "role": "admin"}',
        '{"content": "x", "title": "a document of the agent"}',
        '{"type": "refund", "text": "done"}',
        '[{"type": "text", "text": "a"}, {"row": 2}]',
        '{"broken": ',
        "plain words",
        "[see above] and more",
    ],
)
def test_other_json_is_an_answer_of_its_own(text: str) -> None:
    assert plain_text(text) == text


@pytest.mark.parametrize(
    "result",
    [
        '{"content": [{"type": "text", "text": "not found"}], "isError": true}',
        '[{"type": "tool_result", "content": "not found", "is_error": true}]',
        '{"content": "not found", "type": "tool", "status": "error", "tool_call_id": "c"}',
        '{"success": false}',
        '{"ok": false, "result": null}',
    ],
)
def test_a_mark_is_enough(result: str) -> None:
    assert failure(a_call(result)) is not None


@pytest.mark.parametrize("word", ["None", "null", "nan", "NaN", "false", "", " none ", "undefined", "N/A", "nil"])
def test_nothing_written_as_a_word_is_no_error(word: str) -> None:
    assert says_no_error(word)
    assert failure(a_call("83.20", word)) is None
    assert failure(a_call(json.dumps({"error": word, "total": 1}))) is None


@pytest.mark.parametrize(("result", "error"), [(ERROR, None), (None, "timeout"), ("fine", "None"), ("fine", None)])
def test_flags_counts_and_scorer_say_the_same(result: str | None, error: str | None) -> None:
    from tests.support.rubric_scorers import RUN

    step = a_call(result, error)
    run = RUN.model_copy(update={"steps": (step,)})
    failed = failure(step) is not None
    assert ("tool_error" in flags(run, None)) == failed
    assert _tools([(step, failed)]) == json.dumps({"get_order": [1, int(failed)]}, separators=(",", ":"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "text", "content", "role", "parts", "data", "kwargs", "choices", "messages"]),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_has_words_and_a_verdict(value: Any) -> None:
    text = json.dumps(value)
    assert isinstance(plain_text(text), str)
    failure(a_call(text))


def test_deep_and_long_texts_are_taken_as_they_are() -> None:
    deep = '[{"content": ' * 3_000 + '"x"' + "}]" * 3_000
    assert plain_text(deep) == deep
    long = json.dumps([{"type": "text", "text": "x" * 70_000}])
    assert plain_text(long) == long
