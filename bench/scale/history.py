"""Made-up runs of a made-up team, the same for the same seed, a line at a time and in the order of their time.

Eight task types over 56 nights, weekends quieter, four steps a run. Texts are words of syllables with the frequencies
of a language, so that they compress about as texts do.
"""

import gzip
import itertools
import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

FIRST = date(2026, 9, 28)
"""A Monday."""
NIGHTS = 56
_SENTENCES = 6_000
_VOCABULARY = 2_500
_SYLLABLES = [first + second for first in "bcdfghklmnprstvw" for second in ("a", "e", "i", "o", "u", "ar", "en", "is")]


class Kind(NamedTuple):
    """A task type as this team's traffic has it."""

    task_type: str
    share: float
    agent: str
    tools: tuple[str, ...]
    cost_usd: float
    """Median."""
    latency_s: float
    """Median."""


KINDS = (
    Kind("refund", 0.22, "support-bot", ("find_order", "issue_refund"), 0.021, 14.0),
    Kind("faq", 0.24, "support-bot", ("search_help",), 0.006, 5.0),
    Kind("billing", 0.14, "support-bot", ("find_invoice", "correct_invoice"), 0.018, 12.0),
    Kind("booking", 0.11, "travel-agent", ("search_trips", "hold_seat"), 0.034, 25.0),
    Kind("research", 0.09, "researcher", ("web_search", "read_page"), 0.140, 80.0),
    Kind("triage", 0.09, "ops-bot", ("query_logs", "open_ticket"), 0.027, 20.0),
    Kind("summary", 0.07, "ops-bot", ("read_page",), 0.015, 9.0),
    Kind("coding", 0.04, "coder", ("run_tests", "edit_file"), 0.210, 110.0),
)
_STATUSES, _STATUS_SHARES = ("completed", "errored", "aborted", "incomplete"), (0.93, 0.03, 0.025, 0.015)


def write(path: Path, count: int, *, seed: int = 1) -> None:
    """So many runs into a gzip file, if it is not there yet; a broken attempt leaves none."""
    if path.exists():
        return
    started = path.with_suffix(".part")
    with gzip.open(started, "wb", compresslevel=1) as file:
        file.writelines(orjson.dumps(run, option=orjson.OPT_APPEND_NEWLINE) for run in runs(count, seed=seed))
    started.rename(path)


def runs(count: int, *, seed: int = 1) -> Iterator[dict[str, Any]]:
    """So many runs; a smaller count is not the beginning of a larger one, it has the same nights with fewer runs."""
    chance = random.Random(seed)
    writer = _Writer(chance)
    shares = [kind.share for kind in KINDS]
    numbers = itertools.count()
    for night, size in _sizes(count):
        seconds = sorted(chance.triangular(0, 86_400, 50_000) for _ in range(size))
        version = f"2.{(night - FIRST).days // 20}.0"
        for second in seconds:
            kind = chance.choices(KINDS, shares)[0]
            ended_at = datetime.combine(night, time()) + timedelta(seconds=second)
            yield _run(writer, chance, kind, f"{next(numbers):07x}-{chance.getrandbits(48):012x}", version, ended_at)


def _sizes(count: int) -> list[tuple[date, int]]:
    """Runs a night: Saturdays and Sundays have half of a weekday's, and the last night takes what rounding left."""
    nights = [FIRST + timedelta(days=number) for number in range(NIGHTS)]
    weights = [0.5 if night.weekday() >= 5 else 1.0 for night in nights]
    sizes = [int(count * weight / sum(weights)) for weight in weights]
    sizes[-1] += count - sum(sizes)
    return list(zip(nights, sizes, strict=True))


def _run(
    writer: "_Writer", chance: random.Random, kind: Kind, run_id: str, version: str, ended_at: datetime
) -> dict[str, Any]:
    cost = round(kind.cost_usd * chance.lognormvariate(0, 0.5), 6)
    latency_s = kind.latency_s * chance.lognormvariate(0, 0.4)
    started_at = ended_at - timedelta(seconds=latency_s)
    status = chance.choices(_STATUSES, _STATUS_SHARES)[0]
    order = chance.randrange(100_000, 999_999)
    run = {
        "run_id": run_id,
        "task_type": kind.task_type,
        "agent": kind.agent,
        "agent_version": version,
        "status": status,
        "input": writer.text(300, order),
        "output": writer.text(800, order) if status == "completed" else None,
        "steps": _steps(writer, chance, kind, cost, order, started_at),
        "started_at": started_at.isoformat(timespec="milliseconds") + "Z",
        "ended_at": ended_at.isoformat(timespec="milliseconds") + "Z",
        "input_tokens": chance.randrange(800, 6_000),
        "output_tokens": chance.randrange(80, 700),
        "cost_usd": cost,
        "session_id": f"s-{chance.randrange(10**7)}",
        "user_id": f"u-{chance.randrange(10**5)}",
        "region": chance.choice(("eu", "us", "ap")),
    }
    if status == "errored":
        run["error"] = "TimeoutError: the tool did not answer"
    return run


def _steps(
    writer: "_Writer", chance: random.Random, kind: Kind, cost: float, order: int, at: datetime
) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for number in range(4):
        started_at = (at + timedelta(seconds=2 * number)).isoformat(timespec="milliseconds") + "Z"
        if number % 2:
            tool: dict[str, Any] = {"kind": "tool", "name": kind.tools[number // 2 % len(kind.tools)]}
            tool |= {"arguments": {"order": order, "try": number, "note": writer.text(40, order)}}
            tool |= {"result": writer.text(200, order), "started_at": started_at, "duration_ms": 120.5 * number}
            if chance.random() < 0.04:
                tool["error"] = "503 from the service behind it"
            steps.append(tool)
        else:
            model: dict[str, Any] = {"kind": "model", "name": "small-model", "model": "small-model-2026-08"}
            model |= {"result": writer.text(120, order), "started_at": started_at, "duration_ms": 900.0}
            model |= {"input_tokens": chance.randrange(400, 3_000), "output_tokens": chance.randrange(40, 300)}
            steps.append(model | {"cost_usd": round(cost / 2, 6)})
    return steps


class _Writer:
    """Sentences to pick from; each text is some of them and a number."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random
        words = ["".join(chance.choices(_SYLLABLES, k=chance.choice((1, 1, 2, 2, 3, 4)))) for _ in range(_VOCABULARY)]
        usual = [1 / (rank + 3) for rank in range(_VOCABULARY)]
        self._sentences = [
            " ".join(chance.choices(words, usual, k=chance.randrange(6, 16))).capitalize() + "."
            for _ in range(_SENTENCES)
        ]

    def text(self, chars: int, number: int) -> str:
        """About so many characters."""
        parts = [f"#{number}:"]
        missing = chars * (0.5 + self._random())
        while missing > 0:
            parts.append(self._sentences[int(self._random() * _SENTENCES)])
            missing -= len(parts[-1])
        return " ".join(parts)
