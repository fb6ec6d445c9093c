"""Reading what servers say instead of an answer."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import JudgeError
from worker.judge.failures import RETRY_AFTER_LIMIT_S, Complaint, error_for, read_complaint, retry_after_s

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:10 -0000"}, 10),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "9" * 15}, RETRY_AFTER_LIMIT_S),
        ({"retry-after": "soon", "x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 42)}, 42),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-remaining-requests": "0"}, 0.12),
        ({"x-ratelimit-reset-tokens": "1h0m2s", "x-ratelimit-remaining-tokens": "900"}, None),
        ({"x-ratelimit-reset-tokens": "1h0m2s", "x-ratelimit-remaining-tokens": "0"}, RETRY_AFTER_LIMIT_S),
        ({"x-ratelimit-reset-tokens": "later"}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, NOW) == wait_s


HEADER = st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,20} [A-Z][a-z]{2} \d{1,20} \d+:\d+:\d+ [+-]?\w+")


@settings(deadline=None)
@given(HEADER, st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-reset-tokens"]))
def test_no_header_breaks_the_reading(text: str, name: str) -> None:
    wait_s = retry_after_s({name: text}, NOW)
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_LIMIT_S


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"error": {"message": "a", "type": "T", "param": "p.q[0]", "code": "C"}}', Complaint("a", "c t", "p")),
        (b'{"error": "flat"}', Complaint("flat")),
        (b'{"object": "error", "message": "old vLLM", "code": 400}', Complaint("old vLLM", "400")),
        (b'{"detail": "Not Found"}', Complaint("Not Found")),
        (b'{"detail": [{"loc": ["body", "seed"], "msg": "no", "type": "extra"}]}', Complaint("no", "extra", "seed")),
        (b'[{"error": {"message": "Gemini", "status": "INVALID_ARGUMENT"}}]', Complaint("Gemini", "invalid_argument")),
        (b'{"error": {"message": null, "code": {}}}', Complaint()),
        (b"<h1>Bad\x00\x1b[31m gateway</h1>\r\n", Complaint("<h1>Bad [31m gateway</h1>")),
        (b"", Complaint()),
        (b"[]", Complaint("[]")),
        (b"{}", Complaint()),
        (b"null", Complaint("None")),
    ],
)
def test_every_servers_shape_of_an_error_is_read(raw: bytes, expected: Complaint) -> None:
    assert read_complaint(raw) == expected


@settings(deadline=None)
@given(st.binary(), st.integers(200, 599))
def test_no_body_breaks_the_reading(raw: bytes, status: int) -> None:
    complaint = read_complaint(raw)
    error = error_for(status, complaint, judge="here", model="m", message=complaint.message, wait_s=None)
    assert isinstance(error, JudgeError)
    assert "\n" not in str(error)
