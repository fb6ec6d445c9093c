"""A simulated judge: a loopback server with the chat-completions wire protocol, for the demo and for tests."""

import argparse
import asyncio
import inspect
import logging
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, Self

import orjson

from worker.demo.judge.verdicts import simulated_verdict
from worker.demo.judge.wire import MODEL, Answer, Answerer, completion, refused

__all__ = ["MODEL", "Answer", "Answerer", "JudgeServer", "completion", "refused", "simulated_verdict"]

Elsewhere = Callable[[str, str, Mapping[str, str], bytes], Answer | None]
"""Answers requests to other paths: called with method, path with query, headers and body; None gives a 404."""
HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024

log = logging.getLogger(__name__)


@dataclass
class Requests:
    """Counts of requests since the server started."""

    count: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    max_in_flight: int = 0
    connections: int = 0
    """Connections opened so far."""
    failures: list[BaseException] = field(default_factory=list)
    """Exceptions raised by the answerer; the client got status 500."""


class JudgeServer:
    """Serves `answer` on 127.0.0.1, in the running loop (`async with`) or in a thread of its own (`with`).

    Example:
        >>> with JudgeServer(lambda request, headers: Answer(body={"object": "chat.completion"})) as server:
        ...     server.base_url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, answer: Answerer, *, port: int = 0, path: str = "/v1/chat/completions") -> None:
        """Prepare a server; port 0 takes a free one. Judge requests are answered at `path` only."""
        self.answer = answer
        self.path = path
        self.elsewhere: Elsewhere = lambda method, path, headers, body: None
        """Answers requests to other paths; None gives a 404."""
        self.port = port
        self.requests = Requests()
        self.open: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._thread: threading.Thread | None = None
        self._halt: Callable[[], object] = lambda: None

    @property
    def base_url(self) -> str:
        """The base URL for clients; valid after the start."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Listen in the running loop."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close all connections and wait until all answers in progress have ended."""
        if self._server is None:
            return
        self._server.close()
        tasks = [connection.task for connection in self.open if connection.task is not None]
        for connection in tuple(self.open):
            connection.hang_up()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self.open:  # connection_lost is called in the next iteration of the event loop
            await asyncio.sleep(0)  # one iteration
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name=MODEL, daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(self, *exc: object) -> None:
        self._halt()
        if self._thread is not None:
            self._thread.join()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | Awaitable[Answer]:
        """What a request is answered: a list of models, a verdict, or what the server has elsewhere."""
        route = (method, path.partition("?")[0])
        if route == ("GET", "/v1/models"):
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "spotcheck"}
            return Answer(body={"object": "list", "data": [model]})
        if route != ("POST", self.path):
            return self.elsewhere(method, path, headers, body) or refused(404, f"no {method} {path} here")
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return refused(400, "the body is not JSON")
        if not isinstance(request, dict):
            return refused(400, "the body is not an object")
        try:
            return self.answer(request, headers)
        except Exception as exc:  # noqa: BLE001 a script of a test may raise anything; the client gets a 500
            return self.broken(exc)

    def broken(self, exc: Exception) -> Answer:
        """What a client gets when the answerer raised: a 500; the error is kept for whoever runs the server."""
        self.requests.failures.append(exc)
        log.error("the simulated judge's answerer failed", exc_info=exc)
        return refused(500, "the answerer failed")

    async def _serve(self, started: "Future[None]") -> None:
        halted = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._halt = lambda: loop.call_soon_threadsafe(halted.set)
        try:
            await self.start()
        except OSError as exc:
            started.set_exception(exc)
            return
        started.set_result(None)
        await halted.wait()
        await self.stop()


class _Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered in order."""

    def __init__(self, server: JudgeServer) -> None:
        self.server = server
        self.task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._busy = False
        self._continued = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.server.open.add(self)
        self.server.requests.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.discard(self)
        self._writable.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HEAD_LIMIT + BODY_LIMIT:
            self.hang_up()
        else:
            self._next()

    def hang_up(self) -> None:
        """Close the connection at once; unsent data is lost."""
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()

    def _next(self) -> None:
        while not self._busy and not self._transport.is_closing():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_LIMIT:
                    self._fail(431)
                return
            method, path, headers = _read_head(bytes(self._buffer[:end]))
            length = headers.get("content-length", "0")
            if not method or "transfer-encoding" in headers or not length.isdecimal() or len(length) > 12:
                self._fail(400)
                return
            if int(length) > BODY_LIMIT:
                self._fail(413)
                return
            stop = end + 4 + int(length)
            if len(self._buffer) < stop:
                if headers.get("expect") == "100-continue" and not self._continued:
                    self._continued = True
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = bytes(self._buffer[end + 4 : stop])
            del self._buffer[:stop]
            self._continued = False
            self._handle(method, path, headers, body)

    def _handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        requests = self.server.requests
        requests.count += 1
        requests.by_path[path] += 1
        requests.in_flight += 1
        requests.max_in_flight = max(requests.max_in_flight, requests.in_flight)
        self._busy = True
        keep = headers.get("connection", "").lower() != "close"
        answer = self.server.respond(method, path, headers, body)
        if isinstance(answer, Answer) and not answer.delay_s and answer.endless_every_s is None:
            self._send(answer, keep)
            self._answered()
            return
        self.task = asyncio.get_running_loop().create_task(self._later(answer, keep))
        self.task.add_done_callback(lambda task: self._ended(task, answer))

    def _answered(self) -> None:
        self.server.requests.in_flight -= 1
        self._busy = False

    def _ended(self, task: "asyncio.Task[None]", answer: object) -> None:
        self.task = None
        self._answered()
        if inspect.iscoroutine(answer):
            answer.close()  # a task that is cancelled before its first step never awaits it
        if not task.cancelled():
            self._next()

    async def _later(self, answer: Answer | Awaitable[Answer], keep: bool) -> None:
        if not isinstance(answer, Answer):
            try:
                answer = await answer
            except Exception as exc:  # noqa: BLE001 a script of a test may raise anything; the client gets a 500
                answer = self.server.broken(exc)
        await asyncio.sleep(answer.delay_s)  # the latency that a test asked for
        if answer.endless_every_s is None:
            self._send(answer, keep)
        else:
            await self._repeat(answer, answer.endless_every_s)

    def _send(self, answer: Answer, keep: bool) -> None:
        if self._transport.is_closing():
            return
        body = _bytes(answer)
        head = _head(answer, f"content-length: {len(body)}", keep and not answer.cut)
        self._transport.write(head + (body[: len(body) // 2] if answer.cut else body))
        if answer.cut or not keep:
            self._transport.close()

    async def _repeat(self, answer: Answer, pause_s: float) -> None:
        body = _bytes(answer)
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        self._transport.write(_head(answer, "transfer-encoding: chunked", keep=False))
        while not self._transport.is_closing():
            self._transport.write(chunk)
            await self._writable.wait()
            await asyncio.sleep(pause_s)  # a reply that comes slowly, as a test asked for

    def _fail(self, status: int) -> None:
        answer = refused(status, responses[status])
        body = _bytes(answer)
        self._transport.write(_head(answer, f"content-length: {len(body)}", keep=False) + body)
        self._transport.close()


def _read_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers; an empty method when it is not an HTTP/1 request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", "", {}
    pairs = (line.partition(":") for line in lines)
    return words[0], words[1], {name.strip().lower(): value.strip() for name, _, value in pairs}


def _head(answer: Answer, length: str, keep: bool) -> bytes:
    phrase = responses.get(answer.status, "Unknown")
    lines = [f"HTTP/1.1 {answer.status} {phrase}", length, f"connection: {'keep-alive' if keep else 'close'}"]
    if "content-type" not in {name.lower() for name in answer.headers}:
        lines.append("content-type: application/json")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _bytes(answer: Answer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body, default=dict)


async def _stand_alone(server: JudgeServer) -> None:
    halted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, halted.set)
    async with server:
        sys.stdout.write(f"simulated judge on {server.base_url}, model {MODEL}\n")
        sys.stdout.flush()
        await halted.wait()


def main(arguments: list[str] | None = None) -> None:
    """Run the simulated judge until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m worker.demo.judge.server", description=__doc__)
    parser.add_argument("--port", type=int, default=8098)
    parser.add_argument("--p-pass", type=float, default=0.8, help="probability of a pass, 0..1 (default: 0.8)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before each answer (default: 0)")
    options = parser.parse_args(arguments)

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        verdict = simulated_verdict(request, lambda prompt: options.p_pass)
        return verdict._replace(delay_s=options.latency_ms / 1000)

    asyncio.run(_stand_alone(JudgeServer(answer, port=options.port)))


if __name__ == "__main__":
    main()
