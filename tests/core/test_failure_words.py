"""Whether a tool call failed, whatever wraps what it said, and what only mentions errors."""

import json

import pytest

from worker.core.tool_failure import failure
from worker.core.wrapped_text import MAX_CHARS
from worker.records import Step


def told(result: object, error: str | None = None) -> str | None:
    text = result if isinstance(result, str) else json.dumps(result)
    return failure(Step(seq=0, kind="tool", result=text, error=error))


SAID = "Error: no such order"
WRAPPED = {
    "content blocks": [{"type": "text", "text": SAID}],
    "a message of a tool": {"role": "tool", "content": SAID},
    "MCP": {"content": [{"type": "text", "text": SAID}], "isError": True},
    "LangChain's dumps": {"lc": 1, "type": "constructor", "id": ["ToolMessage"], "kwargs": {"content": SAID}},
    "LangChain's dictionaries": {"type": "tool", "data": {"content": SAID, "tool_call_id": "c"}},
    "LangChain's text": f"content='{SAID}' name='get_order' tool_call_id='c'",
    "Vercel's AI SDK": {"type": "tool-result", "toolCallId": "c", "output": {"type": "text", "value": SAID}},
    "a field": {"result": SAID},
    "JSON text": json.dumps(SAID),
    "a block too long to be parsed": [{"type": "text", "text": SAID + " " * MAX_CHARS}],
    "a block that was cut": '[{"type": "text", "text": "Error: no such ord',
}


@pytest.mark.parametrize("result", WRAPPED.values(), ids=WRAPPED)
def test_a_failure_is_seen_in_every_wrapper_and_its_words_are_the_reason(result: object) -> None:
    assert (told(result) or "").startswith("Error: no such ord")


@pytest.mark.parametrize(
    "result",
    [
        {"lc": 1, "type": "constructor", "id": ["ToolMessage"], "kwargs": {"content": "nope", "status": "error"}},
        "content='nope' name='get_order' tool_call_id='c' status='error'",
        {"type": "tool-result", "toolCallId": "c", "output": {"type": "error-text", "value": "nope"}},
        [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "nope"}],
        {"functionResponse": {"name": "get_order", "response": {"error": "nope"}}},
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "nope"}], "isError": True}},
        {"content": [{"type": "text", "text": '{"error": "nope"}'}]},
        json.dumps(json.dumps({"error": "nope"})),
        {"statusCode": 503, "body": "try later"},
        {"status": 404},
        {"status_code": "500", "text": ""},
        {"code": 500, "message": "Internal"},
        {"exit_code": 1, "stdout": ""},
        {"returncode": -9},
        {"Success": "False"},
        {"ok": False},
        {"errors": [{"message": "no field"}], "data": None},
        "HTTP 503",
        "HTTP/1.1 500 Internal Server Error",
        "503 Service Unavailable",
        "Request failed with status code 502",
        "MCP error -32602: invalid arguments",
        "<tool_use_error>no such file</tool_use_error>",
        "Tool 'get_ordr' not found",
        "The request timed out after 30 s",
        "**Error:** no such order",
        f"Found a pan.\n{'-' * 75}\nNameError      Traceback (most recent call last)\nx\n2 steps left.",
        "Cell In[2], line 1\n    9x^3\n     ^\nSyntaxError: invalid syntax\nYou have 3 steps left.",
    ],
)
def test_flags_statuses_and_the_usual_beginnings_are_failures(result: object) -> None:
    assert told(result) is not None


@pytest.mark.parametrize(
    "result",
    [
        "error: null",
        "Error: None\nrows: 3",
        "error_count: 0",
        "No errors found",
        "404 rows",
        "500 results for the query",
        "HTTP is a protocol",
        "The notebook shows Cell In[2], line 1 in red.",
        "HTTP 200 OK",
        "Error handling in Python: a guide",
        {"error": "nan"},
        {"error": "False", "data": 1},
        {"error_count": 0, "errors": []},
        {"success": True, "log": "Error: disk full"},
        {"exit_code": 0, "stdout": "Error: the word that was looked for"},
        {"status": 200},
        {"status": "delivered", "difference": 12.4},
        {"order": 4711, "code": 404},
        [{"status": 404, "url": "https://example.org"}],
        [{"error": "one of the rows asked for"}],
        {"results": [{"title": "HTTP 500 explained", "error": "x"}]},
        {"lines": ["Error: disk full"]},
        [{"type": "text", "text": "total 83.20"}],
    ],
)
def test_what_only_mentions_errors_is_none(result: object) -> None:
    assert told(result) is None


@pytest.mark.parametrize("error", ["None", "null", "nan", "false", "", " ", "N/A", "undefined", "[]"])
def test_nothing_written_as_a_word_is_no_error(error: str) -> None:
    assert told("total 83.20", error) is None
    assert told(SAID, error) == SAID


@pytest.mark.parametrize("result", ["[" * 50_000, '{"result":' * 5_000 + "1" + "}" * 5_000, '"' + "\\" * 65_000, '{"a'])
def test_hostile_json_is_read_without_a_fault(result: str) -> None:
    assert told(result) is None
