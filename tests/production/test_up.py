"""`spotcheck up` as a real process: it scores and ticks at once, stops in order, and goes on after a kill."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select

from tests.support.judge import HeldJudge
from tests.support.processes import ProcessShell, environment, until
from tests.support.project import document, ingest
from worker.demo.judge.server import Answer, JudgeServer
from worker.pipeline.draw import draw_night
from worker.project.project import Project
from worker.settings import Settings
from worker.store import meta
from worker.store.health import LAST_TICK, TURN
from worker.store.queue import workers
from worker.store.tables import JobRow, core

pytestmark = pytest.mark.slow
RUNS = 40
IN_HAND = 6
"""Jobs that a worker holds with four calls under way: two are ready for the next turns."""
TOML = """\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present", "completed"]
lease_s = 5
[schedule]
at = "00:00"  # yesterday is due at any time of this day
[judge]
concurrency = 4
"""
job = core(JobRow)


class House:
    """A project of forty runs of yesterday, a judge that holds its answers back, and `spotcheck up`."""

    def __init__(self, folder: Path, judge: HeldJudge, url: str, urls: Mapping[str, str]) -> None:
        (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
        self.judge, self.environ = judge, environment(url, urls)
        self.shell = ProcessShell(folder, self.environ)
        self.log = folder / "up.log"
        here = {"SPOTCHECK_DATABASE_URL": f"sqlite:///{folder / 'spotcheck.db'}"} | self.environ
        self.project = Project(Settings.read(here, TOML)).open()
        self.night = self.project.nights.last_over(datetime.now(UTC))
        ingest(self.project, (document(f"case-{number}", self.night) for number in range(RUNS)))

    @contextmanager
    def up(self, *arguments: str, streams: Any = None, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
        command = [sys.executable, "-m", "worker", "up", *arguments]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.shell.folder,
                env={**self.environ, **environ},
                stdin=streams or subprocess.DEVNULL,
                stdout=streams or log,
                stderr=streams or log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def jobs(self, lane: str) -> dict[str, int]:
        counted = select(job.c.state, func.count()).where(job.c.lane == lane).group_by(job.c.state)
        with self.project.store.read() as connection:
            return {row[0]: row[1] for row in connection.execute(counted)}

    def fact(self, key: str) -> str | None:
        with self.project.store.read() as connection:
            return meta.get_meta(connection, key)

    def alive(self) -> list[int]:
        with self.project.store.read() as connection:
            return [row["pid"] for row in workers.live_workers(connection, self.project.store.now(connection))]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            until(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()[-3000:]}") from None

    def until_stopping_was_said(self, times: int) -> None:
        self.until(lambda: self.said().count("stopping") >= times, "it says so")

    def until_judging(self) -> None:
        self.until(lambda: self.judge.waiting == 4, "four calls are in flight")


@pytest.fixture
def judge() -> HeldJudge:
    return HeldJudge()


@pytest.fixture
def house(tmp_path: Path, judge: HeldJudge) -> Iterator[House]:
    with JudgeServer(judge) as server:
        made = House(tmp_path, judge, server.base_url, {})
        yield made
        judge.open.set()
        made.project.store.close()


def test_a_judge_that_takes_its_time_holds_neither_tick_nor_heuristics_back(house: House) -> None:
    # a minute of this clock is a second: ticks come every second
    begun = datetime.now(UTC)
    clock = f"{begun.isoformat()}@{begun.isoformat()} x60"
    with house.up(SPOTCHECK_CLOCK=clock):
        house.until_judging()
        house.until(lambda: house.jobs("heuristic") == {"scored": 2 * RUNS}, "heuristics are scored")
        seen = set()

        def have_six_come() -> bool:
            seen.add(house.fact(LAST_TICK))
            return len(seen) >= 6

        house.until(have_six_come, "ticks come")
        assert house.judge.waiting == 4
        assert house.jobs("judge") == {"leased": IN_HAND, "queued": RUNS - IN_HAND}
        house.judge.open.set()
        house.until(lambda: house.jobs("judge") == {"scored": RUNS}, "the judge's jobs are scored")
    assert "REHEARSAL" in house.said()


@pytest.mark.parametrize(("sign", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_stop_gives_back_what_is_in_hand(house: House, sign: signal.Signals, times: int) -> None:
    with house.up() as process:
        house.until_judging()
        for number in range(times):
            process.send_signal(sign)
            house.until_stopping_was_said(number + 1)
        assert process.wait(30) == 0  # though the judge would never answer
    assert house.jobs("judge") == {"queued": RUNS}
    assert house.alive() == []
    assert "stopped; nothing is left in hand" in house.said()
    assert "Traceback" not in house.said()


def test_another_shell_wakes_it(house: House) -> None:
    house.judge.open.set()
    with house.up("--loglevel", "debug") as process:
        house.until(lambda: house.jobs("judge") == {"scored": RUNS}, "the night is scored")
        before = house.project.nights.last_over(datetime.now(UTC)) - timedelta(days=1)
        ingest(house.project, (document(f"older-{number}", before) for number in range(RUNS)))
        draw_night(house.project, before, datetime.now(UTC))
        with house.shell.start("score", "--json") as score:
            score.communicate(timeout=60)
        house.until(lambda: f"'origin': 'gen{score.pid}@" in house.said(), "its message is taken")
        house.until(lambda: house.jobs("judge") == {"scored": 2 * RUNS}, "the other night is scored")
        process.terminate()
        assert process.wait(30) == 0


def test_killed_and_started_again_it_goes_on(house: House) -> None:
    with house.up() as process:
        house.until_judging()
        house.until(lambda: house.jobs("heuristic") == {"scored": 2 * RUNS}, "heuristics are scored")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert house.jobs("judge") == {"leased": IN_HAND, "queued": RUNS - IN_HAND}
    house.judge.open.set()
    with house.up() as process:
        house.until(lambda: house.jobs("judge") == {"scored": RUNS}, "the rest is scored")
        process.terminate()
        assert process.wait(30) == 0
    totals = house.shell.timed("status", "status", "--json")
    assert totals["reconciles"]
    assert (totals["totals"]["scored"], totals["totals"]["pending"]) == (3 * RUNS, 0)


def test_a_judge_that_is_down_is_told_and_health_says_degraded(tmp_path: Path) -> None:
    with JudgeServer(lambda request, headers: Answer(503)) as server:
        house = House(tmp_path, HeldJudge(), server.base_url, {})
        with house.up("--concurrency", "16"):
            house.until(lambda: "503" in (house.fact(f"{TURN}judge") or ""), "the trouble is noted")
            health = subprocess.run(
                [sys.executable, "-m", "worker", "health", "--json"],
                cwd=tmp_path, env=house.environ, capture_output=True, check=False,
            )  # fmt: skip
            assert health.returncode == 0
            lanes = {lane["lane"]: lane["state"] for lane in orjson.loads(health.stdout)["lanes"]}
            assert lanes == {"judge": "degraded", "heuristics": "healthy", "control": "healthy", "beat": "healthy"}
        house.project.store.close()


def test_on_a_terminal_the_status_is_live_and_ctrl_c_leaves_it_clean(house: House) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    shown = bytearray()
    with house.up(streams=theirs, TERM="xterm", COLUMNS="120") as process:
        os.close(theirs)
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()

        def screen() -> str:
            return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))

        until(lambda: f"{RUNS - IN_HAND} due, {IN_HAND} in hand" in screen(), "the queue is shown")
        until(lambda: f"{2 * RUNS} scored, {RUNS} open" in screen(), "what was scored is shown")
        assert f"{house.night} drawn last; {house.night + timedelta(days=1)} is due" in screen()
        assert "0 findings, 0 alerts now" in screen()
        house.judge.open.set()
        until(lambda: f"{3 * RUNS} scored, 0 open" in screen(), "the end is shown")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        reader.join(10)
    os.close(ours)
    assert b"\x1b[?25h" in shown[shown.rindex(b"\x1b[?25l") :]  # the cursor is back
    assert "Traceback" not in screen()
    assert screen().rstrip().endswith("stopped; nothing is left in hand")


def _read(stream: int, into: bytearray) -> None:
    with suppress(OSError):  # the other end was closed
        while data := os.read(stream, 65_536):
            into += data


def test_quiet_says_only_that_it_runs_and_that_it_stops(house: House) -> None:
    house.judge.open.set()
    with house.up("--quiet") as process:
        house.until(lambda: house.jobs("judge") == {"scored": RUNS}, "the night is scored")
        process.terminate()
        assert process.wait(30) == 0
    lines = house.said().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("store sqlite:///spotcheck.db · broker filesystem://")
    assert lines[1:] == ["stopping: giving back what is in hand", "stopped; nothing is left in hand"]


def test_it_runs_on_the_servers_too(
    tmp_path: Path, judge: HeldJudge, postgres_url: Callable[[], str], redis_url: Callable[[], str]
) -> None:
    urls = {"SPOTCHECK_DATABASE_URL": postgres_url(), "SPOTCHECK_BROKER_URL": redis_url()}
    with JudgeServer(judge) as server:
        house = House(tmp_path, judge, server.base_url, urls)
        with house.up() as process:
            house.until_judging()
            house.until(lambda: house.jobs("heuristic") == {"scored": 2 * RUNS}, "heuristics are scored")
            process.terminate()
            assert process.wait(30) == 0
        assert house.jobs("judge") == {"queued": RUNS}
        house.project.store.close()


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    shell = ProcessShell(tmp_path, environment("http://127.0.0.1:1/v1", {}))
    (tmp_path / "spotcheck.toml").write_text('[scoring]\nrubrics = ["nonsuch"]\n', encoding="utf-8")
    with shell.start("up", stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.decode().count("\n") == 1
    assert "nonsuch" in said.decode()
