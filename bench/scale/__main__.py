"""`python -m bench.scale --runs 1000000 --store sqlite|postgresql`: each act in a process of its own, measured.

Run it from the project's root. Made-up runs are written once into the folder of `--keep` (a temporary one otherwise).
CPU and peak memory are the process's own; on PostgreSQL the server's are not in them, but its time is in the wall time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bench.scale import history
from bench.scale.inside import LAST, command
from tests.support import servers

ROOT = Path(__file__).resolve().parents[2]
TOML = "[sampling]\nrate = 0.05\n[scoring]\nrubrics = []\n"
SPOTCHECK = (sys.executable, "-m", "worker")
MB = 1_000_000


class Took(NamedTuple):
    """One child process."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    said: bytes

    @property
    def json(self) -> dict[str, Any]:
        """What it printed."""
        found: dict[str, Any] = orjson.loads(self.said)
        return found


class Bench:
    """A project's folder, and what was measured in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        folder.mkdir()
        (folder / "spotcheck.toml").write_text(TOML)
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPOTCHECK", "OPENAI"))
        }
        self.environ |= {"PYTHONPATH": str(ROOT), "SPOTCHECK_DATABASE_URL": url}
        # compiled once, as in an installation; never into the project's folders
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environ["PYTHONPYCACHEPREFIX"] = str(folder.parent / "compiled")

    def run(self, arguments: Sequence[str]) -> Took:
        """Run a process to its end and measure it.

        Raises:
            RuntimeError: It failed.
        """
        since = time.perf_counter()
        process = subprocess.Popen(
            arguments, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - since
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
        return Took(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, said)

    def spotcheck(self, *arguments: object) -> Took:
        """Run a command."""
        return self.run((*SPOTCHECK, *map(str, arguments)))

    def inside(self, act: str) -> Took:
        """Run an act of `bench.scale.inside`."""
        return self.run(command(act))


class Table:
    """Lines of the answer, printed as they come."""

    def __init__(self, title: str) -> None:
        print(f"\n## {title}\n\n| | wall s | CPU s | peak MB | |\n|---|--:|--:|--:|---|", flush=True)

    def add(self, what: str, took: Took | None, note: str = "") -> None:
        """One line."""
        figures = "| | | " if took is None else f"{took.wall_s:.1f} | {took.cpu_s:.1f} | {took.peak_mb:.0f}"
        print(f"| {what} | {figures} | {note} |", flush=True)


def main() -> None:
    """Measure one store at one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--keep", type=Path, help="a folder for the made-up runs, which are the same every time")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spotcheck-scale-")))
        source = (asked.keep or folder) / f"runs-{asked.runs}.jsonl.gz"
        source.parent.mkdir(parents=True, exist_ok=True)
        history.write(source, asked.runs)
        if asked.store == "sqlite":
            urls = (f"sqlite:///{folder}/limit/spotcheck.db", f"sqlite:///{folder}/project/spotcheck.db")
        else:
            fresh = stack.enter_context(servers.postgres())
            urls = (fresh(), fresh())
        measure(folder, source, asked.runs, urls, f"{asked.runs:,} runs, {asked.store}")


def measure(folder: Path, source: Path, count: int, urls: tuple[str, str], title: str) -> None:
    """All acts, in the order of a project's life."""
    table = Table(title)
    bench = Bench(folder / "project", urls[1])
    _intake(Bench(folder / "limit", urls[0]), bench, source, count, table)
    start = bench.spotcheck("settings", "--json")
    table.add("start of a command (settings)", start)
    first = history.FIRST
    took = bench.spotcheck("nightly", "--date", first, "--wait", "--json")
    drawn = took.json["sampled"]
    table.add("first night: draw, score, summarise, compare", took, f"{drawn:,} drawn")
    took = bench.spotcheck("sample", "--since", first, "--until", LAST, "--json")
    drawn = sum(stratum["sampled"] for stratum in took.json["strata"])
    table.add("draw of all nights, jobs queued", took, f"{drawn:,} drawn")
    bench.inside("analyse")
    scan = bench.inside("scan").json["s"]
    table.add("the bare index scan beside it", None, f"{scan:.2f} s")
    took = bench.inside("score")
    told = took.json
    table.add("heuristics of all nights", took, f"{told['jobs']:,} jobs, {told['jobs'] / told['s']:,.0f} a second")
    took = bench.inside("finish")
    table.add("summarise and compare all nights", took, f"{took.json['s']:.1f} s of it")
    bench.inside("analyse")
    took = bench.spotcheck("nightly", "--date", LAST, "--wait", "--json")
    table.add("a night that is done, once more", took)
    for arguments in (["status"], ["trends"], ["drift"], ["runs"], ["alerts"]):
        table.add(f"spotcheck {arguments[0]}", _median(bench, arguments))
    some = orjson.loads(bench.spotcheck("runs", "--json").said)["runs"][0]["run_id"]
    table.add("spotcheck explain", _median(bench, ["explain", some]))
    _milliseconds("every minute, nothing new to do", bench.inside("minute").json)
    _milliseconds("a question's own work, second time", bench.inside("questions").json)
    print("\nread in full:", orjson.dumps(bench.inside("plans").json, option=orjson.OPT_INDENT_2).decode())
    print(f"\ndatabase {bench.inside('size').json['bytes'] / MB:,.0f} MB", flush=True)


def _intake(limit: Bench, bench: Bench, source: Path, count: int, table: Table) -> None:
    """The real door beside the bare limit, on the same file."""
    least = limit.run((sys.executable, "-m", "bench.scale.limit", str(source), limit.url))
    took = bench.spotcheck("ingest", source)
    table.add("bare limit of an intake", least, f"{count / least.wall_s:,.0f} runs/s")
    parts = f"{least.wall_s / took.wall_s:.0%} of it by wall, {least.cpu_s / took.cpu_s:.0%} by CPU"
    table.add("ingest", took, f"{count / took.wall_s:,.0f} runs/s, {parts}")
    again = bench.spotcheck("ingest", source)
    table.add("ingest of the same file", again, f"{count / again.wall_s:,.0f} runs/s, all known")


def _median(bench: Bench, arguments: Sequence[str]) -> Took:
    return sorted((bench.spotcheck(*arguments) for _ in range(3)), key=lambda one: one.wall_s)[1]


def _milliseconds(title: str, found: Mapping[str, Any]) -> None:
    print(f"\n| {title} | ms |\n|---|--:|")
    for name, value in found.items():
        print(f"| {name} | {value if isinstance(value, int) else round(value * 1000, 1)} |", flush=True)


if __name__ == "__main__":
    main()
