"""A made-up support agent's runs: eight weeks, three task types, one silent drop of quality."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

WEEKS = 8
TASKS = {"refund": (40, 0.90), "faq": (70, 0.95), "research": (25, 0.82)}
"""Runs on a weekday, and how often they are good."""
PLANTED_TASK, PLANTED_WEEK, PLANTED_DROP = "refund", 5, 0.25
"""Which task type gets worse, from the start of which week (counted from 0), by how much."""
_WEEKEND = 0.4


class Planted(NamedTuple):
    """A change that the history holds."""

    what: str
    task_type: str
    night: date


class History(NamedTuple):
    """The made-up runs, and which of them are good."""

    runs: list[dict[str, Any]]
    is_good: dict[str, bool]
    """By the case number that each run's texts name."""
    planted: list[Planted]


def make(seed: int, last: date) -> History:
    """Eight weeks of runs that end with a given night. The same seed makes the same history.

    Args:
        seed: Any number.
        last: The newest night.
    """
    rng = random.Random(seed)  # noqa: S311 made-up data
    first = last - timedelta(days=7 * WEEKS - 1)
    runs, is_good = [], {}
    for offset in range(7 * WEEKS):
        night = first + timedelta(days=offset)
        for run, good in _night(rng, night, offset // 7):
            runs.append(run)
            is_good[run["run_id"]] = good
    planted = Planted("quality drop", PLANTED_TASK, first + timedelta(weeks=PLANTED_WEEK))
    return History(runs, is_good, [planted])


def _night(rng: random.Random, night: date, week: int) -> Iterator[tuple[dict[str, Any], bool]]:
    for task_type, (weekday_runs, quality) in TASKS.items():
        volume = weekday_runs * (_WEEKEND if night.weekday() >= 5 else 1.0)
        drop = PLANTED_DROP if task_type == PLANTED_TASK and week >= PLANTED_WEEK else 0.0
        for _ in range(max(1, round(rng.gauss(volume, volume**0.5)))):
            good = rng.random() < quality - drop
            yield _run(rng, night, task_type, good, "2.4.0" if week >= PLANTED_WEEK else "2.3.9"), good


def _run(rng: random.Random, night: date, task_type: str, good: bool, version: str) -> dict[str, Any]:
    case = f"case-{rng.getrandbits(40):010x}"
    ended = datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(seconds=rng.randrange(86_400))
    seconds = rng.lognormvariate(2.2, 0.5)
    amount = rng.randrange(500, 20_000) / 100
    asked, tool, arguments, result, answered = _texts(task_type, case, amount, good)
    status = "completed" if rng.random() > 0.03 else rng.choice(["errored", "aborted"])
    steps: list[dict[str, Any]] = [
        {"kind": "model", "name": "planner", "result": f"I will call {tool}."},
        {"kind": "tool", "name": tool, "arguments": arguments, "result": result},
    ]
    if status == "errored":
        steps[1]["error"] = "upstream timeout"
    return {
        "run_id": case,
        "source": "demo",
        "agent": "support-bot",
        "agent_version": version,
        "task_type": task_type,
        "status": status,
        "input": asked,
        "output": answered if status == "completed" else None,
        "steps": steps,
        "started_at": (ended - timedelta(seconds=seconds)).isoformat(),
        "ended_at": ended.isoformat(),
        "cost_usd": round(rng.lognormvariate(-4.0, 0.4), 6),
        "input_tokens": rng.randrange(800, 6_000),
        "output_tokens": rng.randrange(80, 600),
    }


def _texts(task_type: str, case: str, amount: float, good: bool) -> tuple[str, str, dict[str, Any], str, str]:
    if task_type == "refund":
        asked = f"Order {case}: the lamp came broken, please refund ${amount:.2f} to my card."
        done = f"Refund of ${amount:.2f} for {case} issued; it arrives in 3 to 5 days."
        answer = done if good else f"Your refund for {case} is being looked into. Is there anything else?"
        return asked, "issue_refund", {"order": case, "amount_usd": amount}, done, answer
    if task_type == "faq":
        asked = f"({case}) How long can I return an unopened item?"
        found = "Returns policy: unopened items may be returned within 30 days with the receipt."
        answer = "Within 30 days, with the receipt." if good else "You can return items any time you like."
        return asked, "search_help", {"query": "return unopened item"}, found, answer
    asked = f"({case}) Which of our three suppliers was cheapest last quarter, and by how much?"
    found = f"Supplier A ${amount + 120:.2f}, supplier B ${amount + 41:.2f}, supplier C ${amount:.2f}."
    answer = f"Supplier C at ${amount:.2f}, $41.00 below B." if good else "Supplier A is usually the cheapest."
    return asked, "query_ledger", {"quarter": "last", "case": case}, found, answer
