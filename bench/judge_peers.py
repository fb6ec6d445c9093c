"""Libraries that ask a judge, over the prompts of `bench.judge_engine --peers`, each in a process of its own.

The peers are no dependency of ours. They live in a virtual environment that is named by `--peer-venv`:

    python3 -m venv PEERS
    PEERS/bin/pip install autoevals arize-phoenix-evals "openai[aiohttp]"

Each runs with the settings that make it fastest here: everything in one event loop, as many calls under way as we have
and no rate of its own; once with the openai client's default transport, as its manual has it, and once with aiohttp
under that client, as only somebody does who has measured it.

- `create`: `AsyncOpenAI(max_retries=0).chat.completions.create`, our schema, default transport. Nothing is retried.
- `autoevals`: `LLMClassifier` with its defaults and an `AsyncOpenAI` client of two retries, as is that client's
  default; it waits and tries a 429 up to a hundred times by itself.
- `phoenix`: `create_classifier` and `async_evaluate_dataframe(concurrency=…, exit_on_error=False)`; retries by its own
  default (10). `initial_per_second_request_rate` is lifted to a million: its default lets five calls a second through.

This file imports nothing but the standard library and, where it runs as a program, the one library that it measures.
"""

import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PEERS = ("autoevals", "autoevals+aiohttp", "phoenix", "phoenix+aiohttp")
WARM = 20
"""Questions before the clock starts: what a library imports at its first call is start-up."""
_NO_LIMIT = 1e6

Judge = Callable[[list[list[str]]], Awaitable[None]]


class Peer(NamedTuple):
    """What one library did."""

    name: str
    per_second: float
    """Items that ended, with a verdict or an error."""
    cpu_ms: float
    """Of the process, an item."""
    start_s: float
    """From the start of Python to the first answers, which the clock leaves out: mostly imports."""
    seconds: float
    done: int
    is_cut: bool
    """Whether it was stopped before the end."""
    errors: dict[str, int]
    """Items without a verdict, by exception."""
    requests: int
    peak_mb: float
    version: str


def measure(name: str, python: str, asked: dict[str, Any], requests: Callable[[], int]) -> Peer:
    """Run one library in a process of its own.

    Args:
        name: `create` or one of PEERS.
        python: Of the environment that has it.
        asked: `url`, `model`, `calls`, `timeout_s`, `most_s` and `items`, each a system and a user message; for
            `create` also `schema` and `max_tokens`; `faults` are set at the endpoint when the clock starts.
        requests: Counts what the endpoint got since the clock started.

    Raises:
        RuntimeError: It broke.
    """
    command = [python, str(Path(__file__).resolve()), name]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "PYTHONPATH"))}
    most_s = asked["most_s"] + 120
    done = subprocess.run(
        command, input=json.dumps(asked).encode(), capture_output=True, env=environ, timeout=most_s, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Peer(name=name, requests=requests(), **told)


def medians(rounds: Sequence[Peer]) -> Peer:
    """The middle of several rounds, each figure by itself."""
    middle = {field: statistics.median(getattr(one, field) for one in rounds) for field in ("per_second", "cpu_ms")}
    return rounds[-1]._replace(**middle)


class _Count:
    """What came back so far."""

    def __init__(self) -> None:
        self.scored = 0
        self.errors: Counter[str] = Counter()

    def counting(self, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **named: Any) -> Any:
            try:
                answer = await ask(*args, **named)
            except Exception as error:  # whatever a library lets through is an item without a verdict
                self.errors[type(error).__name__] += 1
                raise
            self.scored += 1
            return answer

        return counted


def create(asked: dict[str, Any], count: _Count) -> Judge:
    """The client's own verb in a loop."""
    openai = importlib.import_module("openai")
    client = openai.AsyncOpenAI(base_url=asked["url"], api_key="x", max_retries=0, timeout=asked["timeout_s"])
    schema = {"name": "verdict", "strict": True, "schema": asked["schema"]}

    async def ask(system: str, user: str) -> None:
        answer = await client.chat.completions.create(
            model=asked["model"],
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            response_format={"type": "json_schema", "json_schema": schema},
            max_tokens=asked["max_tokens"],
        )
        json.loads(answer.choices[0].message.content)

    return _one_by_one(count.counting(ask), asked["calls"])


def autoevals(asked: dict[str, Any], count: _Count) -> Judge:
    """Autoevals' classifier."""
    llm, oai = importlib.import_module("autoevals.llm"), importlib.import_module("autoevals.oai")
    openai = importlib.import_module("openai")
    classifier = llm.LLMClassifier(
        name="verdict",
        prompt_template="{{system}}\n\n{{output}}",
        choice_scores={"pass": 1, "fail": 0},
        model=asked["model"],
        client=oai.LLMClient(openai=openai.AsyncOpenAI(**_client(asked)), is_async=True),
    )

    async def ask(system: str, user: str) -> None:
        score = await classifier.eval_async(output=user, system=system)
        assert score.score in (0, 1)

    return _one_by_one(count.counting(ask), asked["calls"])


def phoenix(asked: dict[str, Any], count: _Count) -> Judge:
    """Phoenix' classifier over a data frame."""
    os.environ["TQDM_DISABLE"] = "1"
    evals, pandas = importlib.import_module("phoenix.evals"), importlib.import_module("pandas")
    options = {"client": "openai", "initial_per_second_request_rate": _NO_LIMIT}
    key = {"api_key": "x"}  # for the client of its other half too
    llm = evals.LLM(provider="openai", model=asked["model"], **options, **key, async_client_kwargs=_client(asked))
    template = [{"role": "system", "content": "{system}"}, {"role": "user", "content": "{user}"}]
    classifier = evals.create_classifier("verdict", template, llm, choices={"pass": 1, "fail": 0})

    ask = classifier.async_evaluate

    async def asked_of(*args: Any, **named: Any) -> Any:  # the frame tells nothing before its end
        answer = await ask(*args, **named)
        count.scored += 1
        return answer

    classifier.async_evaluate = asked_of

    async def judge(items: list[list[str]]) -> None:
        frame = pandas.DataFrame(items, columns=["system", "user"])
        found = await evals.async_evaluate_dataframe(
            frame, [classifier], concurrency=asked["calls"], hide_tqdm_bar=True, exit_on_error=False
        )
        for told in found["verdict_execution_details"]:
            details = json.loads(told) if isinstance(told, str) else told
            if "COMPLETED" not in details["status"]:
                count.errors[str(details["exceptions"][-1]).partition("(")[0][:40]] += 1

    return judge


def _client(asked: dict[str, Any]) -> dict[str, Any]:
    """What an `AsyncOpenAI` is made of."""
    made = {"base_url": asked["url"], "api_key": "x", "timeout": asked["timeout_s"]}
    if asked["aiohttp"]:
        made["http_client"] = importlib.import_module("openai").DefaultAioHttpClient()
    return made


def _one_by_one(ask: Callable[..., Awaitable[Any]], calls: int) -> Judge:
    """So many loops over the same items."""

    async def judge(items: list[list[str]]) -> None:
        waiting = iter(items)

        async def some() -> None:
            for system, user in waiting:
                try:
                    await ask(system, user)
                except Exception:  # noqa: BLE001 it was counted
                    continue

        await asyncio.gather(*(some() for _ in range(calls)))

    return judge


async def _clocked(judge: Judge, count: _Count, asked: dict[str, Any]) -> dict[str, Any]:
    items: list[list[str]] = asked["items"]
    await judge(items[:WARM])
    _set(asked["url"].removesuffix("/v1"), asked["faults"])
    count.scored, count.errors = 0, Counter()
    start_s = time.clock_gettime(time.CLOCK_BOOTTIME) - _born_s()
    cpu, wall = time.process_time(), time.perf_counter()
    work = asyncio.ensure_future(judge(items))
    await asyncio.wait({work}, timeout=asked["most_s"])  # not `wait_for`: some take being cancelled for one more error
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    if work.done():
        work.result()
    done = count.scored + sum(count.errors.values())
    return {
        "per_second": done / seconds,
        "cpu_ms": 1000 * used / max(1, done),
        "start_s": start_s,
        "seconds": seconds,
        "done": done,
        "is_cut": not work.done(),
        "errors": dict(count.errors),
        "peak_mb": _peak_mb(),
    }


def _set(url: str, faults: dict[str, float]) -> None:
    """Have the endpoint do so from now on, and count from zero."""
    for path, body in (("/config", faults), ("/reset", {})):
        request = urllib.request.Request(url + path, data=json.dumps(body).encode(), method="POST")
        urllib.request.urlopen(request).read()


def _born_s() -> float:
    """When this process started, in seconds since the machine did."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def main() -> None:
    """Measure the library that is named, over what comes in; the last line that is printed tells."""
    name, asked, count = sys.argv[1], json.load(sys.stdin), _Count()
    name, _, transport = name.partition("+")
    asked["aiohttp"] = transport == "aiohttp"
    judge = {"create": create, "autoevals": autoevals, "phoenix": phoenix}[name](asked, count)
    told = asyncio.new_event_loop().run_until_complete(_clocked(judge, count, asked))
    version = importlib.import_module("importlib.metadata").version
    package = {"create": "openai", "autoevals": "autoevals", "phoenix": "arize-phoenix-evals"}[name]
    print(json.dumps({**told, "version": f"{package} {version(package)}"}), flush=True)
    os._exit(0)  # what was cut off would go on, and some leave connections and threads and say so at length


if __name__ == "__main__":
    main()
