"""The little server: GET /metrics and nothing else, whoever comes, however slowly, and however many."""

import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support import servers
from tests.support.processes import until
from worker.celery import metrics_server
from worker.celery.metrics_server import REQUEST_BYTES, VISITORS, MetricsServer

TEXT = b"spotcheck_up 1\n"


@contextmanager
def serving(answer: Callable[[], bytes] = lambda: TEXT, port: int | None = None) -> Iterator[int]:
    at = servers.free_port() if port is None else port
    server = MetricsServer("127.0.0.1", at, answer, "text/plain; version=0.0.4; charset=utf-8")
    server.start()
    try:
        until(lambda: server.is_listening, "it listens")
        yield at
    finally:
        server.close()
        until(lambda: not server.is_listening, "it has ended")


def say(port: int, request: bytes) -> bytes:
    """What a request is answered, to the end."""
    with socket.create_connection(("127.0.0.1", port), 30) as visitor:
        visitor.sendall(request)
        said = b""
        try:
            while more := visitor.recv(65_536):
                said += more
        except ConnectionResetError:
            pass
    return said


def test_a_scrape_gets_the_text_with_its_type() -> None:
    with serving() as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        assert response.read() == TEXT
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert response.headers["content-length"] == str(len(TEXT))


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics?x=1 HTTP/1.1", b"200 OK"),
        (b"GET / HTTP/1.1", b"404 Not Found"),
        (b"GET /metrics/../../etc/passwd HTTP/1.1", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"405 Method Not Allowed"),
        (b"get /metrics HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /metrics", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01", b"400 Bad Request"),
        (b"", b"400 Bad Request"),
    ],
)
def test_everything_else_is_refused(request_line: bytes, status: bytes) -> None:
    with serving() as port:
        said = say(port, request_line + b"\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 " + status)
    assert (TEXT in said) == (status == b"200 OK")


def test_head_gets_the_head_alone() -> None:
    with serving() as port:
        said = say(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert f"Content-Length: {len(TEXT)}".encode() in said


def test_a_request_without_end_is_hung_up_on() -> None:
    with serving() as port:
        assert say(port, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (2 * REQUEST_BYTES)) == b""
        assert b"200 OK" in say(port, b"GET /metrics HTTP/1.1\r\n\r\n")


def test_a_visitor_who_drips_is_hung_up_on_though_each_byte_comes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "VISIT_S", 0.3)
    with serving() as port, socket.create_connection(("127.0.0.1", port), 30) as visitor:
        is_over = threading.Event()

        def drip() -> None:
            try:
                while not is_over.wait(0.02):
                    visitor.sendall(b"x")
            except OSError:
                pass

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert visitor.recv(100) == b""
        except ConnectionResetError:
            pass
        finally:
            is_over.set()
            dripping.join()


def test_visitors_beyond_the_limit_are_sent_away_and_come_in_when_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "VISIT_S", 60.0)
    with serving() as port:
        idle = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(VISITORS)]
        until(lambda: say(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b"", "the house is full")
        for visitor in idle:
            visitor.close()
        until(lambda: b"200 OK" in say(port, b"GET /metrics HTTP/1.1\r\n\r\n"), "there is room again")


def test_a_text_that_cannot_be_made_is_500_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise KeyError("x")

    with serving(broken) as port, pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")
    assert "metrics: the figures could not be made" in caplog.text


def test_a_port_that_is_taken_is_told_once_and_served_when_it_is_free(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "AGAIN_S", 0.02)
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = MetricsServer("127.0.0.1", port, lambda: TEXT, "text/plain")
        server.start()
        until(lambda: "cannot be served" in caplog.text, "it is told")
        time.sleep(0.2)  # it tries again ten times, and tells none of them
    try:
        until(lambda: server.is_listening, "it listens")
        assert b"200 OK" in say(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    finally:
        server.close()
        until(lambda: not server.is_listening, "it has ended")
    told = [record.getMessage() for record in caplog.records if "metrics:" in record.getMessage()]
    assert len(told) == 2
    assert told[0] == (
        f"metrics: http://127.0.0.1:{port}/metrics cannot be served (Address already in use); "
        "work goes on, and it is tried again"
    )
    assert told[1] == f"metrics: http://127.0.0.1:{port}/metrics"
