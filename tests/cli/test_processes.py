"""What only a real process shows: broken pipes, closed streams, Ctrl-C once and twice, two at a time, full disks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.processes import start
from tests.support.scored_project import TOML, ScoredProject
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, Answer, JudgeServer, simulated_verdict


def test_a_reader_that_leaves_early_is_no_error(world: ScoredProject) -> None:
    running = start(world.shell.folder, "runs", "--json", "--limit", "100000")
    assert running.stdout is not None
    assert running.stdout.read(1) == b"{"
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait() == 0


def test_a_full_disk_under_the_output_is_one_line(world: ScoredProject) -> None:
    with Path("/dev/full").open("wb") as full:
        running = start(world.shell.folder, "trends", "--format", "csv", stdout=full)
        _, said = running.communicate()
    assert said.decode() == "spotcheck: the disk is full; free some space, then repeat the command: nothing is lost\n"
    assert running.returncode == 6


def test_closed_streams_do_not_lead_into_the_database(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_bytes(lines(a_document("r-1")))
    closed = ["sh", "-c", f"exec '{sys.executable}' -m worker ingest runs.jsonl <&- >&- 2>&-"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run(closed, cwd=tmp_path, env=environ, check=False).returncode == 0
    assert [run["run_id"] for run in Shell(tmp_path)("runs", "--json").json["runs"]] == ["r-1"]


class Slow:
    """A judge that answers after a while, and whom a test can wait for."""

    def __init__(self) -> None:
        self.seconds = 0.4
        self.asked = 0

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked += 1
        return simulated_verdict(request, lambda prompt: 1.0)._replace(delay_s=self.seconds)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def judged(tmp_path: Path, slow: Slow) -> Iterator[tuple[Shell, str]]:
    """A project with forty runs in one night, and a slow judge."""
    with JudgeServer(slow) as judge:
        environ = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        shell = Shell(tmp_path, {**environ, "SPOTCHECK_JUDGE_CONCURRENCY": "2"})
        (tmp_path / "spotcheck.toml").write_text(
            TOML.replace("0.5", "1.0").replace("[scoring]", "[scoring]\nlease_s = 5")
        )
        shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}") for number in range(40))))
        yield shell, shell("runs", "--json").json["runs"][0]["night"]


def left(shell: Shell) -> int:
    return int(shell("status", "--json").json["totals"]["pending"])


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_gives_back_what_is_in_hand_and_the_next_command_ends_it(
    judged: tuple[Shell, str], slow: Slow, times: int
) -> None:
    shell, night = judged
    running = start(shell.folder, "nightly", "--date", night, "--wait", environ=shell.environ)
    try:
        while slow.asked < 4 and running.poll() is None:
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(timeout=0.05)
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        first = running.stderr.readline().decode()
        assert first == "stopping: giving back what is in hand (Ctrl-C again leaves at once; nothing is lost)\n"
        if times == 2:
            running.send_signal(signal.SIGINT)
        _, rest = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    last = rest.decode().splitlines()[-1]
    assert last.startswith("interrupted; what was stored stands" if times == 2 else f"{left(shell)} jobs left")
    assert b"Traceback" not in rest
    slow.seconds = 0.0
    done = shell("score", "--wait")
    assert done.code == 0, done
    totals = shell("status", "--json").json["totals"]
    told = {term: totals[term] for term in ("ended", "scored", "unscored", "pending")}
    assert told == {"ended": 120, "scored": 80, "unscored": 40, "pending": 0}  # no run has a tool call


def test_ctrl_c_while_runs_come_in_keeps_what_was_stored(tmp_path: Path) -> None:
    running = start(tmp_path, "ingest", "-", stdin=PIPE)
    assert running.stdin is not None
    assert running.stderr is not None
    running.stdin.write(lines("no run", *(a_document(f"r-{number}") for number in range(2_500))))
    running.stdin.flush()
    shell = Shell(tmp_path)
    assert b"stdin:1: not an object" in running.stderr.readline()
    while len(shell("runs", "--limit", "5000", "--json").json["runs"]) < 1_000:
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert said.decode() == "interrupted; what was stored stands, and repeating the command goes on from there\n"
    assert running.returncode == 130
    assert shell("ingest", "stdin.rejected.jsonl", "--json").json["rejected"] == 1, "the side file is whole"


def test_two_at_once_on_one_file_store_each_run_once(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_bytes(lines(*(a_document(f"r-{number}") for number in range(1_500))))
    both = [start(tmp_path, "ingest", "runs.jsonl") for _ in range(2)]  # both find no database, too
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0
        assert said.startswith(b"1,500 runs have no cost_usd")
        assert said.count(b"\n") == 1
    assert len(Shell(tmp_path)("runs", "--limit", "5000", "--json").json["runs"]) == 1_500
