"""Many seeds of `spotcheck demo`: is each planted change found, is the traffic shift silent, do counts reconcile?

    python -m bench.demo --seeds 10            # seeds 1 to 10
    python -m bench.demo --seeds 20 --first 11

Each seed is a process of its own that does what the command does, up to a fixed last night, so that a table can be made
again. `nights` are those with changed runs that had been looked at when a change was found: 1 is the first night.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from worker.demo.command import replay_into
from worker.demo.history import COST_RISE, MIX_SHIFT, QUALITY_DROP, TOOL_FAILURE, History

LAST = date(2026, 11, 22)
"""A Sunday, so that the demo's weeks are the calendar's."""
FOUND = (QUALITY_DROP, TOOL_FAILURE, COST_RISE)
HEADS = ("seed", "runs", "drawn", *FOUND, f"alarms on the {MIX_SHIFT}", "mix explains", "false alarms", "reconciles")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default: 1)")
    parser.add_argument("--last", type=date.fromisoformat, default=LAST, help=f"newest night (default: {LAST})")
    parser.add_argument("--one", type=int, help="only this seed, its whole answer as JSON")
    options = parser.parse_args()
    if options.one is not None:
        sys.stdout.write(orjson.dumps(one(options.one, options.last), default=str).decode())
        return
    answers = []
    print("| " + " | ".join((*HEADS, "seconds", "CPU s")) + " |")
    print("|" + "--:|" * (len(HEADS) + 2))
    for seed in range(options.first, options.first + options.seeds):
        answers.append(asked(seed, options.last))
        print("| " + " | ".join(row(seed, answers[-1])) + " |", flush=True)
    print()
    print("\n".join(summary(answers)))


def one(seed: int, last: date) -> dict[str, Any]:
    """One seed in this process."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        answer = replay_into(Path(folder), History(seed, last))
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer |= {"seconds": time.monotonic() - began, "cpu_s": used.ru_utime + used.ru_stime}
    return answer


def asked(seed: int, last: date) -> dict[str, Any]:
    """One seed in a process of its own."""
    command = [sys.executable, "-m", "bench.demo", "--one", str(seed), "--last", str(last)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def row(seed: int, answer: dict[str, Any]) -> Iterator[str]:
    """A line of the table."""
    yield from (str(seed), f"{answer['runs']:,}", f"{answer['sampled']:,}")
    planted = {each["what"]: each for each in answer["planted"]}
    for what in FOUND:
        each = planted[what]
        yield f"{each['task_type']}: " + (f"{each['nights']}" if each["found"] else "**not found**")
    mix = answer["mix"]
    yield f"{mix['task_type']}: {mix['alarms'] or 'none'}"
    yield "?" if mix["moved"] is None else f"{100 * mix['explained']:+.0f} of {100 * mix['moved']:+.0f}"
    wrong = [each for each in answer["found"] if each["what"] == "false alarm"]
    told = ", ".join(f"{each['scorer']} {each['task_type'] or 'overall'} {each['night']}" for each in wrong)
    yield f"{len(wrong)} {told}".strip() if wrong else "0"
    yield "yes" if answer["reconciles"] else "**no**"
    yield f"{answer['seconds']:.0f}"
    yield f"{answer['cpu_s']:.0f}"


def summary(answers: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The table in a few lines."""
    for what in FOUND:
        nights = sorted(
            each["nights"] or 999 for answer in answers for each in answer["planted"] if each["what"] == what
        )
        found = sum(1 for each in nights if each < 999)
        yield f"{what}: found in {found} of {len(answers)}, median night {nights[len(nights) // 2]}, worst {nights[-1]}"
    alarms = sum(answer["mix"]["alarms"] for answer in answers)
    clean = sum(1 for answer in answers if not answer["false_alarms"])
    yield f"{MIX_SHIFT}: {alarms} quality alarms · no false alarm in {clean} of {len(answers)}"
    yield f"counts reconcile in {sum(1 for answer in answers if answer['reconciles'])} of {len(answers)}"


if __name__ == "__main__":
    main()
