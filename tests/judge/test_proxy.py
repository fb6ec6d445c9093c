"""The way to a judge leads over the proxy that the environment names, as it does for the openai package."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.judge_questions import GOOD, a_question
from worker.demo.judge.server import Answer, JudgeServer
from worker.judge.client import ChatJudge
from worker.records import Reply

NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def a_proxy(seen: list[bytes], extra: bytes = b"") -> Any:
    """Answers in the place of whatever server it is asked for, and keeps the head of each request.

    Args:
        seen: Where the heads go.
        extra: More header lines of the answer.
    """
    body = json.dumps(GOOD.body).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + extra + b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _ask(base_url: str) -> Reply:
    judge = ChatJudge(base_url, SecretStr("sk-0123456789"))
    try:
        return await judge.ask(a_question())
    finally:
        await judge.close()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_asked_with_its_own_password(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen: list[bytes] = []

    async def run() -> Reply:
        async with a_proxy(seen) as address:
            monkeypatch.setenv(name, f"http://ann:secret@{address}")
            return await _ask("http://judge.invalid/v1")

    assert asyncio.run(run()).content == '{"verdict":"pass"}'
    head = seen[0].decode().lower()
    assert head.startswith("post http://judge.invalid/v1/chat/completions http/1.1")
    assert "\r\nproxy-authorization: basic yw5uonnly3jlda==\r\n" in head  # ann:secret
    assert "\r\nhost: judge.invalid\r\n" in head


@pytest.mark.parametrize("excepted", ["127.0.0.1", "example.org, 127.0.0.1", "*"])
def test_a_judge_that_needs_no_proxy_is_asked_directly(monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    seen: list[bytes] = []

    async def run() -> Reply:
        async with a_proxy(seen) as address, JudgeServer(lambda *_: GOOD) as server:
            monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
            monkeypatch.setenv("NO_PROXY", excepted)
            return await _ask(server.base_url)

    assert asyncio.run(run()).content == '{"verdict":"pass"}'
    assert seen == []


@pytest.mark.parametrize("is_by_proxy", [False, True], ids=["directly", "by a proxy"])
def test_what_a_server_wants_remembered_is_forgotten(monkeypatch: pytest.MonkeyPatch, is_by_proxy: bool) -> None:
    seen: list[bytes] = []
    told: list[Any] = []

    def answer(_: dict[str, Any], headers: Any) -> Answer:
        told.append(headers.get("cookie"))
        return Answer(body=GOOD.body, headers={"set-cookie": "who=ann"})

    async def run() -> None:
        async with a_proxy(seen, b"set-cookie: who=ann\r\n") as address, JudgeServer(answer) as server:
            if is_by_proxy:
                monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
            judge = ChatJudge(server.base_url.replace("127.0.0.1", "localhost"), None)  # cookies are kept for names
            await judge.ask(a_question())
            await judge.ask(a_question())
            await judge.close()

    asyncio.run(run())
    told += ["who=ann" if b"\r\ncookie:" in head.lower() else None for head in seen]
    assert told == [None, None]
    assert len(seen) == 2 * is_by_proxy
