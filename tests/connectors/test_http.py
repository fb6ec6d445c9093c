"""The HTTP client: a time for the whole call, bounded answers, and trouble as a value."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.receivers import raw_server, receiving
from worker.connectors.http import HttpClient, one_line, retry_after

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 5_000,
    ],
)
def test_a_server_that_drips_or_is_silent_is_left_in_time(script: bytes) -> None:
    with raw_server(script, drips=True) as url, HttpClient(timeout_s=0.5) as http:
        answer = http.post(url, b"{}", {})
    assert (answer.status, answer.text) == (None, "no answer within 0.5 seconds")


def test_an_answer_whose_body_never_ends_is_an_answer() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nyes") as url, HttpClient(timeout_s=0.5) as http:
        answer = http.post(url, b"{}", {})
    assert (answer.status, answer.body, answer.text) == (200, b"yes", "HTTP 200 yes")


@pytest.mark.parametrize("script", [b"not HTTP at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n"])
def test_what_is_no_http_is_one_line(script: bytes) -> None:
    with raw_server(script) as url, HttpClient(timeout_s=2) as http:
        answer = http.post(url, b"{}", {})
    assert answer.status is None
    assert answer.text
    assert "\n" not in answer.text


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/", "gopher://x/", "", "http://\x00/"])
def test_what_cannot_be_called_is_a_value_too(url: str) -> None:
    with HttpClient(timeout_s=2) as http:
        assert http.post(url, b"{}", {}).status is None


def test_a_large_answer_is_read_no_further_than_its_beginning() -> None:
    with receiving() as receiver, HttpClient() as http:
        receiver.always, receiver.text = 200, b"x" * 5_000_000
        answer = http.post(receiver.url, b"{}", {})
    assert len(answer.body) == 4_000


def test_several_calls_share_a_client_and_threads_have_their_own() -> None:
    with receiving() as receiver:
        statuses: list[int | None] = []

        def call() -> None:
            with HttpClient() as http:
                statuses.extend(http.post(receiver.url, b"{}", {}).status for _ in range(3))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [204] * 12


def test_a_client_that_never_called_has_nothing_to_close() -> None:
    with HttpClient():
        pass


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", 0.0),
        ("inf", 3_600.0),
        ("nan", None),
        ("", None),
        ("tomorrow", None),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120.0),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 0.0),
        ("Mon, 23 Nov 2026 09:02:00", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_a_time_within_an_hour_or_none(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 3_600


@given(st.text())
def test_any_text_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()
    assert len(one_line(text)) <= 120
