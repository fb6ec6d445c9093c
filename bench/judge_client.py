"""CPU of one judge call: ChatJudge beside `AsyncOpenAI.chat.completions.create`, against a mock without latency.

    python -m bench.judge_client [--calls 2000] [--rounds 3] [--concurrency 64] [--loop asyncio|uvloop] [--profile]

Starts ../shared/bench/mock_openai.py itself. CPU milliseconds a call are the figure to compare, of the best of the
rounds, which are taken in turn: both wall times and CPU times suffer from whatever else the machine does.
"""

import argparse
import asyncio
import cProfile
import gc
import pstats
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from worker.judge.client import ChatJudge
from worker.judge.prices import PriceOverride, price
from worker.judge.transport import preload
from worker.records import Message, Question

MOCK = Path(__file__).parent.parent.parent / "shared" / "bench" / "mock_openai.py"
MODEL = "mock"
CRITERION = {
    "type": "object",
    "properties": {
        "evidence": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"step": {"type": "integer"}, "quote": {"type": "string"}},
                "required": ["step", "quote"],
                "additionalProperties": False,
            },
        },
        "reason": {"type": "string"},
        "verdict": {"enum": ["pass", "fail", "unknown"]},
    },
    "required": ["evidence", "reason", "verdict"],
    "additionalProperties": False,
}
NAMES = ("done", "honest", "complete")
SCHEMA = {
    "type": "object",
    "properties": dict.fromkeys(NAMES, CRITERION),
    "required": list(NAMES),
    "additionalProperties": False,
}
PROMPT = "The agent looked up the order, refunded it and told the customer so. " * 56  # 3.9 kB, as in ENGINE C1


def a_question(number: int) -> Question:
    return Question(
        messages=(Message("system", "You are a judge. " * 20), Message("user", f"{PROMPT} #{number}")),
        answer_schema=SCHEMA,
        schema_name="verdict",
        model=MODEL,
        params={"temperature": 0},
        prompt_hash="0123456789abcdef",
        digest_version="1",
    )


async def spend(calls: int, concurrency: int, call: Callable[[Question], Awaitable[object]]) -> tuple[float, float]:
    """CPU and wall milliseconds a call."""
    questions = iter([a_question(number) for number in range(calls)])

    async def worker() -> None:
        for question in questions:
            await call(question)

    cpu, wall = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    return (time.process_time() - cpu) * 1000 / calls, (time.perf_counter() - wall) * 1000 / calls


async def ours(base_url: str, calls: int, concurrency: int, profile: bool) -> tuple[float, float]:
    prices = {MODEL: PriceOverride(0.1, 0.5)}

    def priced(model: str, read: int, cached: int, written: int, tier: str | None) -> float | None:
        return price(model, read, cached, written, prices)

    judge = ChatJudge(base_url, SecretStr("x"), concurrency=concurrency, price=priced)
    await spend(200, concurrency, judge.ask)
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    spent = await spend(calls, concurrency, judge.ask)
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    await judge.close()
    return spent


async def theirs(base_url: str, calls: int, concurrency: int, aio: bool) -> tuple[float, float]:
    import openai

    http_client = openai.DefaultAioHttpClient() if aio else openai.DefaultAsyncHttpxClient()
    client = openai.AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0, http_client=http_client)

    async def create(question: Question) -> object:
        messages: Any = [{"role": message.role, "content": message.content} for message in question.messages]
        schema: Any = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}
        return await client.chat.completions.create(
            model=MODEL, messages=messages, response_format=schema, temperature=0, max_tokens=1200
        )

    await spend(200, concurrency, create)
    spent = await spend(calls, concurrency, create)
    await client.close()
    return spent


async def bare(base_url: str, calls: int, concurrency: int) -> tuple[float, float]:
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def post(question: Question) -> object:
            messages = [{"role": message.role, "content": message.content} for message in question.messages]
            body = orjson.dumps({"model": MODEL, "messages": messages})
            async with session.post(f"{base_url}/chat/completions", data=body) as response:
                return orjson.loads(await response.read())

        await spend(200, concurrency, post)
        return await spend(calls, concurrency, post)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument(
        "--profile", action="store_true", help="print where ChatJudge spends its time, and nothing else"
    )
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    mock = subprocess.Popen([sys.executable, str(MOCK), "--port", str(port)], stdout=subprocess.PIPE)
    try:
        assert mock.stdout is not None
        mock.stdout.readline()
        preload()
        gc.freeze()
        base_url = f"http://127.0.0.1:{port}/v1"
        size = (options.calls, options.concurrency)
        runs: dict[str, Callable[[], Any]] = {"ChatJudge.ask": lambda: ours(base_url, *size, options.profile)}
        if not options.profile:
            runs["create, DefaultAioHttpClient"] = lambda: theirs(base_url, *size, aio=True)
            runs["create, default transport"] = lambda: theirs(base_url, *size, aio=False)
            runs["bare aiohttp, nothing checked"] = lambda: bare(base_url, *size)
        factory = __import__("uvloop").new_event_loop if options.loop == "uvloop" else None
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(1 if options.profile else options.rounds):
            for name, run in runs.items():
                with asyncio.Runner(loop_factory=factory) as runner:
                    spent[name].append(runner.run(run()))
        for name, rounds in spent.items():
            cpu_ms, wall_ms = min(rounds)
            print(f"{name:32} {cpu_ms:6.2f} ms CPU a call  {wall_ms:6.2f} ms wall  {1000 / cpu_ms:6.0f} calls/s a core")
    finally:
        mock.terminate()
        mock.wait()
        if mock.stdout is not None:
            mock.stdout.close()


if __name__ == "__main__":
    main()
