"""The words of an answer, whatever its framework wraps them in."""

import json

import pytest

from worker.core.judging.verdict import ShownText
from worker.core.wrapped_text import plain_text

WORDS = 'The total\nis "83.20".'


@pytest.mark.parametrize(
    "wrapped",
    [
        WORDS,
        [{"type": "text", "text": WORDS}],
        [{"type": "output_text", "text": WORDS, "annotations": []}],
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": WORDS}]},
        {"role": "model", "parts": [{"text": WORDS}]},
        {"role": "assistant", "content": WORDS, "tool_calls": None},
        [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": WORDS}],
        {"choices": [{"message": {"role": "assistant", "content": WORDS}}]},
        {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": WORDS}},
        {"type": "ai", "data": {"content": WORDS}},
        json.dumps(json.dumps([{"type": "text", "text": WORDS}])),
        json.dumps(WORDS),
        f"content={WORDS!r} additional_kwargs={{}}",
    ],
)
def test_the_words_are_found_in_every_wrapper(wrapped: object) -> None:
    assert plain_text(wrapped if isinstance(wrapped, str) else json.dumps(wrapped)) == WORDS


@pytest.mark.parametrize(
    "wrapped",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        {"role": "assistant", "content": []},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        [{"type": "text", "text": ""}, {"type": "reasoning", "text": "hm"}],
        {"type": "ai", "data": {"content": ""}},
        "content='' additional_kwargs={}",
    ],
)
def test_a_message_without_words_is_empty(wrapped: object) -> None:
    assert plain_text(wrapped if isinstance(wrapped, str) else json.dumps(wrapped)).strip() == ""


@pytest.mark.parametrize("text", ['{"total": 83.2}', "[1, 2]", "[]", '{"name": "Ann", "content": "x", "age": 3}', "[x"])
def test_an_answer_that_is_an_object_of_its_own_stays(text: str) -> None:
    assert plain_text(text) == text


@pytest.mark.parametrize(
    ("shown", "quote"),
    [
        (json.dumps([{"type": "text", "text": "Order 4711\ntotal 83.20"}]), "Order 4711\ntotal 83.20"),
        (json.dumps(json.dumps({"said": "Order 4711\n\ttotal"})), "Order 4711 total"),
        (json.dumps({"said": "caf\u00e9 \U0001f600 open"}), "caf\u00e9 \U0001f600 open"),
        (json.dumps({"said": 'he said "no"'}), 'he said "no"'),
        (json.dumps({"path": "a/b"}).replace("/", "\\/"), '"path": "a/b"'),
    ],
)
def test_a_quote_is_found_over_what_the_transcript_escapes(shown: str, quote: str) -> None:
    assert ShownText({"output": shown}).holds(quote)
    assert not ShownText({"output": shown}).holds(quote + " and more")
