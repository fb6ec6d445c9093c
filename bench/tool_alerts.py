"""Histories in which nothing changes, of real runs whose tools fail in words: how many alerts on tools they raise.

    python -m bench.tool_alerts RUNS.jsonl.gz [--histories 40] [--nights 56] [--runs 150]

RUNS is a file of runs such as ../shared/data/runs.jsonl.gz. Each night of a history has runs drawn from it with
replacement, by fixed seeds, so that every rate is the same on every night; every alert is false. The errors that the
converters noted at steps are withheld: a failure is found in what the tool said, or not at all. Each history goes
through the product (intake, draw, watch) on a database of its own. The last lines repeat it with a tool that fails on
every second call from night 42 on, in its own words: how many of the histories see that, and after how many nights.
"""

import argparse
import gzip
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import orjson

from tests.support.projects import OpenProject
from tests.support.watched_team import MONDAY, project, send, sqlite
from worker.core.calendar import nights_between
from worker.pipeline.draw import draw_night
from worker.pipeline.operations.watch import watch
from worker.records import Drift

CHANGE = 42
"""The night from which the tool fails, where it does."""
SAID = '[{"type": "text", "text": "Error: 503 Service Unavailable, please try again later"}]'


class History(NamedTuple):
    """What one history raised."""

    findings: list[Drift]
    failed: int
    """Tool calls that the product counted as failed."""
    calls: int


def main() -> None:
    """Run both kinds, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--histories", type=int, default=40)
    parser.add_argument("--nights", type=int, default=56)
    parser.add_argument("--runs-a-night", type=int, default=150)
    options = parser.parse_args()
    with gzip.open(options.runs, "rb") as file:
        documents = [withheld(orjson.loads(line)) for line in file]
    for breaks in (False, True):
        histories = [
            history(seed, documents, options.nights, options.runs_a_night, breaks=breaks)
            for seed in range(1, options.histories + 1)
        ]
        raised = Counter(finding.stream.scorer for one in histories for finding in one.findings)
        of_tools = [[one for one in each.findings if one.kind == "tool"] for each in histories]
        share = sum(one.failed for one in histories) / sum(one.calls for one in histories)
        print(
            f"{'a tool fails from night 42' if breaks else 'nothing changes'}: {options.histories} histories of ",
            end="",
        )
        print(
            f"{options.nights} nights, {options.runs_a_night} runs a night; {share:.1%} of tool calls count as failed"
        )
        print(f"  findings: {dict(raised) or 'none'}; histories with one on a tool: {sum(map(bool, of_tools))}")
        if breaks:
            waits = [(min(one.found_night for one in found) - MONDAY).days - CHANGE for found in of_tools if found]
            print(f"  nights until the first on a tool: median {median(waits) if waits else 'none'}")


def withheld(document: dict[str, Any]) -> dict[str, Any]:
    """A run without the errors that its converter noted at steps, and without what is its ground truth."""
    steps = [{name: value for name, value in step.items() if name != "error"} for step in document["steps"] or ()]
    kept = ("run_id", "agent", "task_type", "status")
    return {name: document.get(name) for name in kept} | {"steps": steps}


def history(seed: int, documents: Sequence[dict[str, Any]], nights: int, runs: int, *, breaks: bool) -> History:
    """One history, night by night; what it raised."""
    chance = random.Random(seed)
    broken = Counter(step["name"] for one in documents for step in one["steps"] if step.get("kind") == "tool")
    tool = broken.most_common(2)[-1][0]
    found: list[Drift] = []
    open_project = OpenProject()
    with tempfile.TemporaryDirectory() as folder:
        opened = project(open_project, sqlite(Path(folder)))
        for offset, night in enumerate(nights_between(MONDAY, MONDAY + timedelta(days=nights - 1))):
            morning = datetime(night.year, night.month, night.day, 2, 5, tzinfo=UTC) + timedelta(days=1)
            if offset == 0:
                opened.nights.first_tick(morning)
            sent = [
                one | {"run_id": f"{offset}-{place}", "ended_at": (morning - timedelta(hours=12)).isoformat()}
                for place, one in enumerate(chance.choices(documents, k=runs))
            ]
            if breaks and offset >= CHANGE:
                sent = [failing(one, tool, chance) for one in sent]
            send(opened, sent, morning)
            draw_night(opened, night, morning)
            found += watch(opened, morning).found
        with opened.store.read() as connection:
            failed, calls = connection.exec_driver_sql("select sum(tool_errors), sum(tool_calls) from run").one()
        open_project.close()
    return History(found, failed, calls)


def failing(document: dict[str, Any], tool: str, chance: random.Random) -> dict[str, Any]:
    """The run with every second call of a tool told as failed, in the tool's words."""
    steps = [
        step | {"result": SAID} if step.get("name") == tool and chance.random() < 0.5 else step
        for step in document["steps"]
    ]
    return document | {"steps": steps}


if __name__ == "__main__":
    main()
