"""CPU of short commands: `python -m bench.startup [--project DIR] [--times N]`.

User and system seconds of whole processes, medians of N (7), beside `python -c "import sqlalchemy"` in the same loop,
since a loaded core makes all of them dearer together. Byte code is cached, as in an installation. Without --project, a
made-up one: six weeks of 20 runs a night, scored by two heuristics, on SQLite.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

NIGHTS, RUNS = 42, 20
TOML = '[sampling]\nrate = 0.5\n[scoring]\nheuristics = ["answer_present", "tool_success"]\nrubrics = []\n'
SPOTCHECK = (sys.executable, "-m", "worker")
BASELINES: Mapping[str, Sequence[str]] = {
    "python -c pass": (sys.executable, "-c", "pass"),
    'python -c "import sqlalchemy"': (sys.executable, "-c", "import sqlalchemy"),
}
COMMANDS = (
    *("--help", "runs --help", "settings", "runs", "runs --json", "trends", "trends --json", "status", "status --json"),
    *("drift", "alerts", "show refund-3-1", "explain refund-3-1", "rubric list", "report"),
)


def cpu_s(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> float:
    """User and system seconds of one process."""
    child = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (command, child.returncode)
    return usage.ru_utime + usage.ru_stime


def make_project(folder: Path, environ: Mapping[str, str]) -> None:
    """Six weeks of two task types."""
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    documents = (
        {
            "run_id": f"{task_type}-{night}-{number}",
            "task_type": task_type,
            "status": "completed",
            "agent": "bot",
            "cost_usd": 0.01,
            "ended_at": (today - timedelta(days=NIGHTS - night, minutes=number)).isoformat(),
            "input": "Please refund order 4711.",
            "output": "I have refunded $41.50 for order 4711.",
            "steps": [{"kind": "tool", "name": "look_up", "arguments": {"order": number}, "result": "ok"}],
        }
        for night in range(NIGHTS)
        for task_type in ("refund", "faq")
        for number in range(RUNS // 2)
    )
    (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    (folder / "runs.jsonl").write_text("".join(f"{json.dumps(run)}\n" for run in documents), encoding="utf-8")
    first, last = ((today - timedelta(days=days)).date().isoformat() for days in (NIGHTS, 1))
    for command in ("ingest runs.jsonl", f"nightly --since {first} --until {last} --wait"):
        subprocess.run([*SPOTCHECK, *command.split()], cwd=folder, env=environ, check=True, capture_output=True)


def measure(folder: Path, environ: Mapping[str, str], times: int) -> dict[str, float]:
    """The median of each command, in turn, so that a busy minute meets all of them alike."""
    commands = dict(BASELINES) | {f"spotcheck {given}": (*SPOTCHECK, *given.split()) for given in COMMANDS}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(times + 1):
        for name, command in commands.items():
            seconds = cpu_s(command, folder, environ)
            if turn:  # the first one writes byte code
                taken[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--project", type=Path, help="a folder with spotcheck.toml and spotcheck.db; refund-3-1 is in it"
    )
    parser.add_argument("--times", type=int, default=7)
    asked = parser.parse_args()
    unwanted = ("PYTHONDONTWRITEBYTECODE", "SPOTCHECK_DATABASE_URL", "SPOTCHECK_JUDGE_MODEL", "OPENAI_API_KEY")
    environ = {name: value for name, value in os.environ.items() if name not in unwanted}
    environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as made:
        folder = asked.project or Path(made)
        if asked.project is None:
            make_project(folder, environ)
        found = measure(folder, environ, asked.times)
    print("| process | CPU s |\n|---|--:|")
    for name, seconds in found.items():
        print(f"| `{name}` | {seconds:.2f} |")


if __name__ == "__main__":
    main()
