"""What the batch lane's client sends, and what it makes of answers that have no end."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.judge_questions import GOOD, a_question
from worker.errors import JudgeUnavailable
from worker.judge.batch_api import BatchServer
from worker.judge.client import ChatJudge
from worker.judge.http_client import ANSWER_LIMIT

BATCH = {"id": "b-1", "status": "in_progress", "request_counts": {"completed": 3}}


class Server:
    """Answers every request with one body, and keeps paths and headers."""

    def __init__(self) -> None:
        self.body = json.dumps(BATCH).encode()
        self.is_endless = False
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("set-cookie", "who=ann")
                if not server.is_endless:
                    self.send_header("content-length", str(len(server.body)))
                self.end_headers()
                try:
                    self.wfile.write(server.body)
                    while server.is_endless:
                        self.wfile.write(b" " * 65_536)
                except OSError:  # hung up on
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def batches(server: Server, key: SecretStr | None = None, query: str = "") -> BatchServer:
    return BatchServer(server.address + query, key, user_agent="spotcheck/9")


def test_a_status_is_read_and_nothing_about_this_machine_is_sent(server: Server) -> None:
    client = batches(server)
    status = client.poll("b/1")
    client.poll("b/1")
    client.close()
    assert (status.batch_id, status.state, status.completed) == ("b-1", "in_progress", 3)
    assert server.paths[0] == "/v1/batches/b%2F1"
    assert server.headers[0]["user-agent"] == "spotcheck/9"
    told = [name for name in server.headers[1] if name.startswith(("x-stainless", "authorization", "cookie"))]
    assert told == []


def test_the_key_and_the_query_of_an_address_go_with_every_request(server: Server) -> None:
    client = batches(server, SecretStr("sk-1"), "?api-version=preview")
    client.create("f-1", "/v1/chat/completions", "ours")
    client.close()
    assert server.paths == ["/v1/batches?api-version=preview"]
    assert server.headers[0]["authorization"] == "Bearer sk-1"


def test_a_question_goes_to_an_address_with_a_query_too(server: Server) -> None:
    server.body = json.dumps(GOOD.body).encode()

    async def run() -> str | None:
        judge = ChatJudge(server.address + "?api-version=preview", None)
        try:
            return (await judge.ask(a_question())).content
        finally:
            await judge.close()

    assert asyncio.run(run()) == '{"verdict":"pass"}'
    assert server.paths == ["/v1/chat/completions?api-version=preview"]


def test_a_status_without_end_is_cut_at_the_limit(server: Server) -> None:
    server.is_endless = True
    client = batches(server)
    with pytest.raises(JudgeUnavailable, match=f"longer than {ANSWER_LIMIT} bytes"):
        client.poll("b-1")
    client.close()


def test_a_file_of_answers_may_be_longer_than_an_answer(server: Server, tmp_path: Path) -> None:
    server.body = b"x" * (ANSWER_LIMIT + 1)
    client = batches(server)
    client.download("f-1", tmp_path / "answers")
    client.close()
    assert (tmp_path / "answers").stat().st_size == ANSWER_LIMIT + 1
