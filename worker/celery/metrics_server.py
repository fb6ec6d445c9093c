"""A very small HTTP server that answers `GET /metrics` and nothing else; what it says is handed to it.

Bounded in every direction: eight visitors at a time, eight kilobytes of request, five seconds for all of one. Whoever
visits waits for nobody's database: the answer is made at most every few seconds, by whoever asks first.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

log = logging.getLogger("spotcheck")
VISITORS, REQUEST_BYTES, VISIT_S = 8, 8_192, 5.0
AGAIN_S = 15.0
"""A port that is taken is tried again this often: its holder may be the worker before this one."""
_LOOK_S = 0.5

Answer = Callable[[], bytes]


class _MetricsResponse(NamedTuple):
    status: str
    body: bytes
    kind: str = "text/plain; charset=utf-8"


class MetricsServer:
    """Serves in threads of its own until it is closed; a child that is forked meanwhile lets go of its sockets."""

    def __init__(self, host: str, port: int, answer: Answer, content_type: str) -> None:
        """Prepare; nothing is opened yet.

        Args:
            host: Where to listen.
            port: And at which port.
            answer: Makes the body; may be asked by several threads at once.
            content_type: Of the body.
        """
        self._address = (host, port)
        self._answer, self._content_type = answer, content_type
        self._ended = threading.Event()
        self._listening: socket.socket | None = None
        self._visitors = threading.BoundedSemaphore(VISITORS)
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._let_go)

    @property
    def is_listening(self) -> bool:
        """Whether a visitor would be heard."""
        return self._listening is not None

    def start(self) -> None:
        """Begin to listen, now or as soon as the port is free."""
        threading.Thread(target=self._run, name="spotcheck-metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening; who is being answered still is."""
        self._ended.set()

    def _run(self) -> None:
        shown = f"http://{self._address[0]}:{self._address[1]}/metrics"
        is_told = False
        while not self._ended.is_set():
            try:
                self._listening = self._listen()
            except OSError as error:
                if not is_told:
                    number = error.errno or 0
                    why = os.strerror(number) if number > 0 else error.strerror or str(error)
                    log.warning("metrics: %s cannot be served (%s); work goes on, and it is tried again", shown, why)
                is_told = True
                self._ended.wait(AGAIN_S)
                continue
            log.info("metrics: %s", shown)
            with self._listening:
                self._serve(self._listening)
            self._listening = None

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listening = socket.create_server(self._address, family=family, backlog=VISITORS)
        listening.settimeout(_LOOK_S)
        return listening

    def _serve(self, listening: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                visitor, _ = listening.accept()
            except TimeoutError:
                continue
            except OSError:  # out of file descriptors, say; not for ever
                self._ended.wait(_LOOK_S)
                continue
            if not self._visitors.acquire(blocking=False):
                visitor.close()
                continue
            try:
                threading.Thread(target=self._receive, args=(visitor,), daemon=True).start()
            except RuntimeError:  # no thread to be had
                self._visitors.release()
                visitor.close()

    def _receive(self, visitor: socket.socket) -> None:
        try:
            with visitor, contextlib.suppress(OSError):
                head = _head(visitor, time.monotonic() + VISIT_S)
                if head is not None:
                    visitor.settimeout(VISIT_S)
                    visitor.sendall(_response(self._reply(head), is_head=head.startswith(b"HEAD ")))
                    visitor.shutdown(socket.SHUT_WR)
        finally:
            self._visitors.release()

    def _reply(self, head: bytes) -> _MetricsResponse:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _MetricsResponse("400 Bad Request", b"this is no HTTP/1 request\n")
        if method not in (b"GET", b"HEAD"):
            return _MetricsResponse("405 Method Not Allowed", b"only GET /metrics\n")
        if path.partition(b"?")[0] != b"/metrics":
            return _MetricsResponse("404 Not Found", b"only /metrics is here\n")
        try:
            return _MetricsResponse("200 OK", self._answer(), self._content_type)
        except Exception:  # one scrape that fails ends no worker
            log.exception("metrics: the figures could not be made")
            return _MetricsResponse("500 Internal Server Error", b"the figures could not be made; the log says why\n")

    def _let_go(self) -> None:
        """In a child: the port is its parent's."""
        listening, self._listening = self._listening, None
        if listening is not None and os.getpid() != self._pid:
            with contextlib.suppress(OSError):
                listening.close()


def _head(visitor: socket.socket, until: float) -> bytes | None:
    """A request as far as its empty line; None where there is none in time, or none so short."""
    said = b""
    while b"\r\n\r\n" not in said:
        left_s = until - time.monotonic()
        if left_s <= 0 or len(said) > REQUEST_BYTES:
            return None
        visitor.settimeout(left_s)
        more = visitor.recv(REQUEST_BYTES)
        if not more:
            return None
        said += more
    return said


def _response(reply: _MetricsResponse, *, is_head: bool) -> bytes:
    head = [
        f"HTTP/1.1 {reply.status}",
        f"Content-Type: {reply.kind}",
        f"Content-Length: {len(reply.body)}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if reply.status.startswith("405") else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + (b"" if is_head else reply.body)
