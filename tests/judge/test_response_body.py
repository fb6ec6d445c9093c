"""A body as JSON: also where parsers disagree, and where it was streamed; never two answers, never half of one."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.judge.wire.finish_reasons import finish_reason
from worker.judge.wire.response_body import parsed

WHOLE = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
TEXT = json.dumps(WHOLE)


def chunk(delta: object, reason: str | None = None, **over: object) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'model': 'm', 'choices': [choice]} | over)}\n\n"


@pytest.mark.parametrize(
    "body",
    [
        TEXT,
        f"\ufeff{TEXT}",
        f"\n\n   \n{TEXT}",
        json.dumps(WHOLE, indent=2),
        f"{TEXT}\n\ndata: [DONE]\n\n",
        f"{TEXT}\n[DONE]",
        f"data: {TEXT}\n\ndata: [DONE]\n\n",
        f": PROCESSING\n\n: PROCESSING\n\n{TEXT}",
        f"event: message\nid: 4\ndata: {TEXT}\n\n",
        f": PROCESSING\r\n\r\ndata: {TEXT}\r\n\r\n",
    ],
)
def test_one_completion_is_read_in_whatever_frame(body: str) -> None:
    assert parsed(body.encode()) == WHOLE


def test_the_pieces_of_a_stream_are_put_together() -> None:
    body = (
        ": PROCESSING\n\n"
        + chunk({"role": "assistant", "reasoning_content": "hm "})
        + chunk({"content": '{"a"', "reasoning_content": "so"})
        + chunk({"content": ": 1}"})
        + chunk({}, "stop")
        + f"data: {json.dumps({'choices': [], 'usage': {'prompt_tokens': 7, 'completion_tokens': 3}})}\n\n"
        + "data: [DONE]\n\n"
    )
    whole = parsed(body.encode())
    assert isinstance(whole, dict)
    assert whole["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
    assert whole["model"] == "m"
    assert whole["choices"] == [
        {"message": {"content": '{"a": 1}', "reasoning_content": "hm so"}, "finish_reason": "stop"}
    ]


def test_the_arguments_of_a_streamed_call_are_put_together() -> None:
    def call(arguments: str) -> dict[str, object]:
        return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}

    whole = parsed((chunk(call('{"a"')) + chunk(call(": 1}")) + chunk({}, "tool_calls")).encode())
    assert isinstance(whole, dict)
    assert whole["choices"][0]["message"]["tool_calls"] == [{"function": {"arguments": '{"a": 1}'}}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"<html>{}</html>",
        TEXT[:-3].encode(),
        f"{TEXT}\n{TEXT}".encode(),
        f"data: {TEXT}\n\ndata: {TEXT}\n\n".encode(),
        (chunk({"content": "half of an an"})).encode(),
        (chunk({"content": "a"}) + "data: {broken\n\n" + chunk({}, "stop")).encode(),
        (chunk({"content": "a"}) + f"data: {TEXT}\n\n").encode(),
        chunk({"content": "a"}, "stop").replace('"index": 0', '"index": 1').encode(),
        f"{TEXT} and more".encode(),
    ],
)
def test_half_an_answer_two_answers_and_anything_else_are_none(body: bytes) -> None:
    assert parsed(body) is None


def test_half_an_emoji_is_replaced_and_nan_is_nothing() -> None:
    assert parsed(b'{"a": ["\\ud83d!", "\\ud83d\\ude00"], "n": NaN, "\\udc00": -Infinity}') == {
        "a": ["\ufffd!", "\U0001f600"],
        "n": None,
        "\ufffd": None,
    }
    assert parsed(b'{"a": "line\nbreak"}') == {"a": "line\nbreak"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_the_strict_parser_takes_is_left_as_it_is(value: object) -> None:
    raw = json.dumps(value).encode()
    try:
        expected = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return
    assert parsed(raw) == expected


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_none(raw: bytes) -> None:
    parsed(raw)


def test_a_deep_body_is_none() -> None:
    assert parsed(b"[" * 100_000) is None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        *(
            (word, "stop")
            for word in ("stop", "STOP", "end_turn", "eos", "stop_sequence", "COMPLETE", "FINISH_REASON_STOP")
        ),
        *((word, "length") for word in ("length", "MAX_TOKENS", "max_tokens", "max_output_tokens", "model_length")),
        *(
            (word, "content_filter")
            for word in ("content_filter", "sensitive", "SAFETY", "RECITATION", "content-filter")
        ),
        *((word, "tool_calls") for word in ("tool_calls", "tool_use", "function_call")),
        *((word, "error") for word in ("error", "MALFORMED_FUNCTION_CALL", "insufficient_system_resource", "abort")),
        ("refusal", "refusal"),
        ("a new word", "a new word"),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_why_an_answer_ended_has_one_name(theirs: object, ours: str | None) -> None:
    assert finish_reason(theirs) == ours
