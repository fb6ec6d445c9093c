"""Reading what servers say instead of an answer."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.judge.failures import Complaint, error_for, error_in, read_complaint, status_of
from worker.judge.waits import RETRY_AFTER_LIMIT_S, UNKNOWN_LIMIT_S, retry_after_s, said_wait_s

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
        ({"retry-after": "9" * 8}, RETRY_AFTER_LIMIT_S),
        ({"retry-after": "9" * 15}, UNKNOWN_LIMIT_S),
        ({"retry-after": "30s"}, 30),
        ({"retry-after": "2026-11-23T12:00:07Z"}, 7),
        ({"retry-after": str(int(NOW.timestamp()) + 8)}, 8),
        ({"x-ratelimit-reset": "59000"}, UNKNOWN_LIMIT_S),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() * 1e3) + 3_000)}, 3),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) * 10**6 + 4_000_000)}, 4),
        ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 5) * 10**9)}, 5),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 10**6)}, UNKNOWN_LIMIT_S),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) - 5)}, 0),
        ({"x-ratelimit-reset": "2026-11-23T12:00:09+00:00"}, 9),
        ({"x-ratelimit-reset": "1m5s"}, 65),
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


@pytest.mark.parametrize(
    ("words", "wait_s"),
    [
        ("Please retry in 4.2s.", 4.2),
        ("Rate limit reached for m. Please try again in 1m30.5s. Visit the docs.", 90.5),
        ("Please try again in 250ms", 0.25),
        ("Please wait 20 seconds before the next request", 20),
        ("The limit resets in 2 minutes and 5 seconds", 125),
        ("retry after 30 seconds", 30),
        ("available again in 3 hours", RETRY_AFTER_LIMIT_S),
        ('{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}', 37.5),
        ('{"retry_after": 12}', 12),
        ("try again later", None),
        ("It was asked 20 seconds ago", None),
        ("upgrade in 3 steps", None),
        ("", None),
    ],
)
def test_how_long_words_ask_to_wait(words: str, wait_s: float | None) -> None:
    assert said_wait_s(words) == wait_s


BILL = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "body", "is_passing"),
    [
        (429, {"error": {"message": BILL, "code": "insufficient_quota"}}, False),
        (429, {"error": {"message": BILL + " Please retry in 4.2s.", "code": "insufficient_quota"}}, False),
        (429, {"error": {"message": BILL}}, False),
        (429, {"error": {"message": "Your credit balance is too low to access the API."}}, False),
        (402, {"error": {"message": "Insufficient credits. Please retry in 5s"}}, False),
        (
            429,
            [{"error": {"code": 429, "message": BILL + "\nPlease retry in 4.2s.", "status": "RESOURCE_EXHAUSTED"}}],
            True,
        ),
        (429, {"error": {"message": BILL, "details": [{"retryDelay": "4s"}]}}, True),
        (429, {"error": {"message": BILL + " Quota exceeded for metric: requests_per_minute, limit: 10"}}, True),
        (429, {"error": {"message": "Rate limit reached for requests per min (RPM). See billing to raise it."}}, True),
        (429, {"error": {"message": BILL + " See https://example.org/docs/rate-limits"}}, False),
        (
            400,
            {"error": {"message": "Your credit balance is too low to access the API. Go to Plans & Billing."}},
            False,
        ),
        (429, {"error": {"message": "Too many tokens, please wait before trying again."}}, True),
        (429, [{"error": {"message": BILL + "\n* limit: 0, model: m\nPlease retry in 24.3s."}}], False),
        (
            429,
            {"error": {"message": "Rate limit reached for requests per day: Limit 0, Used 0. Try again in 1s"}},
            False,
        ),
        (429, {"error": {"message": "Rate limit reached: Limit 0.5, Used 1. Try again in 1s"}}, True),
        (429, {"error": {"message": "Rate limit reached: Limit 1000, Used 0. Try again in 1s"}}, True),
        (429, {"error": {"message": "Rate limit: 0 requests remaining, try again in 1s"}}, True),
        (429, {"error": {"message": "Rate limit: 0 of 500 left"}}, True),
        (400, {"__type": "ThrottlingException", "message": "Too many tokens, please wait before trying again."}, True),
        (400, {"error": {"message": "An error occurred (ThrottlingException) when calling the InvokeModel"}}, True),
        (403, {"error": {"message": "Country, region, or territory not supported"}}, False),
        (498, {"error": {"message": "Flex tier capacity exceeded"}}, True),
        (529, {"error": {"message": "overloaded_error"}}, True),
        (420, {"error": {"message": "Enhance your calm"}}, True),
        (499, {"error": {"message": "client closed request"}}, True),
    ],
)
def test_a_limit_that_passes_is_waited_out_and_a_bill_is_told(status: int, body: object, is_passing: bool) -> None:
    complaint = read_complaint(orjson.dumps(body))
    error = error_for(status, complaint, judge="j", model="m", message=complaint.message, wait_s=None)
    assert isinstance(error, JudgeUnavailable if is_passing else JudgeRefusesUs)
    if is_passing and "retry in" in complaint.message:
        assert isinstance(error, JudgeUnavailable)
        assert error.retry_after_s == 4.2


def test_a_403_says_what_the_server_says_since_it_may_not_be_about_the_key() -> None:
    error = error_for(403, Complaint("Country not supported"), judge="j", model="m", message="Country…", wait_s=None)
    assert str(error) == "the judge at j refuses the key for model 'm' (403): Country…; check OPENAI_API_KEY"


def test_a_run_that_a_moderation_flags_stops_nobody() -> None:
    complaint = Complaint("The requested model requires moderation. Your input was flagged", "403")
    error = error_for(403, complaint, judge="j", model="m", message="flagged", wait_s=None)
    assert isinstance(error, VerdictUnreadable)
    assert error.reason == "content_filter"


def test_a_400_that_echoes_a_run_is_no_throttling() -> None:
    complaint = Complaint(
        "messages.0: 'an error occurred (ThrottlingException)' is not allowed", "invalid_request_error"
    )
    error = error_for(400, complaint, judge="j", model="m", message="x", wait_s=None)
    assert isinstance(error, VerdictUnreadable)


def test_a_limit_of_nothing_says_that_another_model_is_needed() -> None:
    error = error_for(429, Complaint("limit: 0, model: m", wait_s=24.0), judge="j", model="m", message="…", wait_s=24.0)
    assert str(error) == (
        "the judge at j gives this account no quota for model 'm' (a limit of 0, 429): …;"
        " take another model, or a plan that has this one"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"code": 1}, "choices": []}, {"code": 1}),
        ({"error": None, "choices": [{"error": {"code": 2}}]}, {"code": 2}),
        ({"object": "error", "message": "x"}, {"object": "error", "message": "x"}),
        ({"object": "chat.completion", "choices": [{"error": None}]}, None),
        ({"choices": "x"}, None),
        ({"choices": [], "base_resp": {"status_code": 1002, "status_msg": "x"}}, {"code": 1002, "message": "x"}),
        ({"choices": [{}], "base_resp": {"status_code": 1002, "status_msg": "x"}}, None),
        ({"base_resp": {"status_code": 0, "status_msg": "success"}}, None),
        ({"code": 429, "msg": "slow"}, {"code": 429, "msg": "slow"}),
        ({"code": 0, "msg": "ok"}, None),
        ({"detail": "Internal error"}, {"detail": "Internal error"}),
        ({"choices": [3]}, None),
        ([], None),
    ],
)
def test_an_error_is_found_wherever_it_stands_in_a_body(body: object, said: object) -> None:
    assert error_in(body) == said


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


@pytest.mark.parametrize(("code", "status"), [("insufficient_quota", 402), ("invalid_api_key", 401), ("oops", 502)])
def test_an_error_with_status_200_has_the_status_of_its_code(code: str, status: int) -> None:
    assert status_of(read_complaint(b'{"error":{"message":"x","code":"%s"}}' % code.encode())) == status
