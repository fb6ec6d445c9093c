"""Whether a tool call failed, by what APIs, frameworks and programs answer with as JSON, whole or cut."""

import json

import pytest

from worker.core.tool_failure import failure
from worker.records import Step


def told(result: object, name: str = "") -> str | None:
    text = result if isinstance(result, str) else json.dumps(result)
    return failure(Step(seq=0, kind="tool", name=name, result=text))


@pytest.mark.parametrize(
    "result",
    [
        # GraphQL, JSON:API, Rails, validators of requests
        {"errors": [{"message": "Field 'x' doesn't exist on type 'Query'", "locations": [{"line": 1}]}]},
        {"errors": [{"status": "404", "title": "Not Found", "detail": "no such order"}]},
        {"errors": ["no such order"]},
        {"errors": {"name": ["can't be blank"]}},
        {"detail": [{"type": "missing", "loc": ["query", "q"], "msg": "Field required", "input": None}]},
        # FastAPI, Django, GitHub, API Gateway, Spring, ASP.NET, WordPress, PostgREST, RFC 9457
        {"detail": "Not Found"},
        {"detail": "Authentication credentials were not provided."},
        {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"},
        {"message": "Missing Authentication Token"},
        {"Message": "An error has occurred."},
        {"Message": "x", "ExceptionMessage": "y", "ExceptionType": "System.InvalidOperationException"},
        {"code": "rest_no_route", "message": "No route was found", "data": {"status": 404}},
        {"code": "PGRST116", "details": "The result contains 0 rows", "hint": None, "message": "JSON object requested"},
        {"type": "https://example.com/out-of-credit", "title": "Not enough credit.", "detail": "x", "instance": "/a"},
        # a status in a word, with what it says of it and nothing else
        {"status": "failed", "message": "no such order"},
        {"status": "ERROR", "detail": "quota"},
        {"status": "timed_out", "reason": "30 s"},
        {"status": "fail", "data": {"title": "A title is required"}},
        {"status": "error", "data": None},
        {"state": "error", "message": "no such order"},
        {"type": "error", "message": "no such order"},
        {"success": 0, "message": "no such order"},
        {"response": {"status": "failed", "message": "no such order"}},
        # codes and classes
        {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", "message": "not found"},
        {"errorMessage": "Task timed out after 3.00 seconds"},
        {"errorMessage": "'order'", "errorType": "KeyError", "stackTrace": ["..."]},
        {"error_code": 404, "error_msg": "no such order"},
        {"errcode": 40001, "errmsg": "invalid credential"},
        {"code": 40001, "msg": "invalid token", "data": None},
        {"code": "ENOENT", "message": "no such file or directory", "errno": -2},
        {"code": "rate_limit_exceeded", "message": "slow down"},
        {"error": {"message": "no such model", "type": "invalid_request_error", "param": None, "code": None}},
        {"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}},
        {"exception": "ValueError: no such order"},
        {"traceback": "Traceback (most recent call last): ..."},
        {"name": "HTTPError", "message": "Not found", "stack": "HTTPError: Not found\n at x"},
        {"stdout": "", "stderr": "Traceback (most recent call last):\n  File \"x\"\nKeyError: 'a'"},
        # as Python writes it, and cut
        "{'error': 'no such order'}",
        "{'isError': True, 'content': [{'type': 'text', 'text': 'no'}]}",
        "[{'type': 'text', 'text': 'Error: no such order'}]",
        '{"error": "no such',
        '{"error": {"message": "no such',
        '{"isError": true, "content": [{"type": "te',
        '{"success": false, "mess',
        # what was known before
        '{"error":{"code":"not_found","message":"no such order"}}',
        '{"error":{"code":404,"message":"no such order"}}',
    ],
)
def test_an_object_that_is_an_error_is_a_failure(result: object) -> None:
    assert told(result) is not None


@pytest.mark.parametrize(
    "result",
    [
        # a record that was asked for
        {"run_id": 9, "status": "failed", "message": "build of main failed"},
        {"state": "failed", "message": "build failed", "url": "https://ci.example/9"},
        {"status": "failed", "reason": "insufficient funds", "payment_id": "p"},
        {"id": "pi_1", "status": "failed", "amount": 3},
        {"status": "error", "name": "smoke detector"},
        {"conclusion": "failure", "status": "completed"},
        {"title": "Access denied", "url": "https://example.org"},
        {"type": "missing_person", "title": "Anna"},
        {"name": "Error", "year": 2009},
        {"status": 450, "unit": "V"},
        {"exit_code": None, "running": True},
        # what a linter, a validator or a count says
        {"errors": [{"file": "a.py", "line": 3, "message": "unused import"}]},
        {"errors": ["too long"], "valid": False},
        {"errors": {"count": 3, "warnings": 1}},
        {"errors": 0, "warnings": 2},
        {"success": 3, "failed": 0},
        {"success": 0, "failed": 3},
        # an envelope of a success
        {"error": "no errors found"},
        {"error": "Success"},
        {"errcode": 0, "errmsg": "ok"},
        {"errorCode": "0", "errorMessage": "SUCCESS"},
        {"code": 0, "msg": "ok", "data": None},
        {"code": 200, "msg": "done", "data": None},
        {"errors": [], "status": "ok"},
        {"status": "ok", "message": "Error log cleared"},
        {"message": "Refund issued"},
        {"detail": "The lamp is 12 cm long."},
        {"code": "SUMMER10", "message": "10 % off"},
        {"stdout": "Error: the word that was looked for", "stderr": ""},
        '{"data":{"n":3},"error":{"code":"ok","message":"","log_id":"2024"}}',
        '{"data":{"n":3},"error":{"code":0,"message":"success"}}',
        '{"data":{"n":3},"error":{"code":null,"message":""}}',
        "{'error': None, 'total': 83.2}",
        '{"error": null, "rows": [1, 2',
        '{"error": "none", "rows": [1, 2',
    ],
)
def test_an_object_that_only_has_such_fields_is_none(result: object) -> None:
    assert told(result) is None


@pytest.mark.parametrize(
    "result",
    [
        "{'error': {'code': 0x" + "f" * 15_000 + "}}",
        "{'error': " * 3_000 + "1" + "}" * 3_000,
        "{'error': '\\d'}",
        "{'error': " + "-" * 10_000 + "1}",
        "{'error': {[]: 1}}",
    ],
)
def test_what_only_looks_like_python_is_read_without_a_fault(result: str) -> None:
    assert told(result) is None


def test_what_a_tool_has_read_is_no_failure_of_its_own() -> None:
    log = "Error: disk full\n" + "worked\n" * 20
    crash = "started\n" * 20 + 'Traceback (most recent call last):\n  File "a"\nValueError: x'
    for name in ("read_file", "grep", "searchDocs", "view-log"):
        assert told(log, name) is None
        assert told(crash, name) is None
        assert told("Error: no such file", name) == "Error: no such file"
        assert told({"isError": True, "content": [{"type": "text", "text": log}]}, name) is not None
    assert told(log, "run_python") is not None
    assert told(crash, "run_python") == "ValueError: x"
