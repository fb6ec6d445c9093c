"""The other side of a sink: real servers on loopback that answer as told, slowly, or by the drop."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A request that arrived."""

    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    path: str


class Receiver:
    """A server that keeps what it got; closed by `close`, or at the end of `receiving`."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answers: list[int] = []
        """Statuses of the next answers; 204 when there are none left."""
        self.always: int = 204
        self.headers: dict[str, str] = {}
        """Sent with every answer."""
        self.text = b""
        self.holds = threading.Event()
        """An answer waits for this; set unless a test clears it."""
        self.holds.set()
        self.arrived = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                receiver.got.append(Got(headers, body, self.path))
                receiver.arrived.set()
                receiver.holds.wait(30)
                self.send_response(receiver.answers.pop(0) if receiver.answers else receiver.always)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(receiver.text)))
                self.end_headers()
                self.wfile.write(receiver.text)

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                return  # a client that hung up

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.holds.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def ids(self) -> list[str]:
        """The webhook ids of what arrived, in order."""
        return [got.headers["webhook-id"] for got in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def nobody() -> str:
    """An address on which nobody listens."""
    receiver = Receiver()
    receiver.close()
    return receiver.url


@contextmanager
def raw_server(script: bytes, *, drips: bool = False) -> Iterator[str]:
    """A server that sends these bytes to whoever connects, at once or one every 50 ms, and never ends by itself."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65_536)
            parts = [script[index : index + 1] for index in range(len(script))] if drips else [script]
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    return
                if stop.wait(0.05 if drips else 0):
                    return
            stop.wait(30)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        stop.set()
        listener.close()
        thread.join(5)
