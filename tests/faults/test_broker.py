"""A broker that is down at the start, goes away in the middle, or loses everything: work is stored and gets done.

Brokers that refuse or never answer a command stand in tests/cli/test_one_line_errors.py.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.processes import start
from tests.support.restricted_files import mode
from tests.support.servers import RestartableRedis
from tests.support.shell import Said, Shell
from tests.support.stocked_project import RUNS, night_of, totals
from worker.demo.judge.server import MODEL, Answer, JudgeServer, simulated_verdict

TOML = """\
[sampling]
rate = 1
[scoring]
heuristics = ["completed"]
lease_s = 5
[judge]
concurrency = 2
"""


@pytest.fixture
def redis(tmp_path: Path, redis_url: object) -> Iterator[RestartableRedis]:
    """A server of this test's own; skipped where there is none."""
    server = RestartableRedis(tmp_path)
    server.start()
    yield server
    server.kill()


class Gate:
    """A judge that answers when the gate is open, and tells how often it was asked."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.asked = 0

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked += 1
        while not self.open.is_set():
            await asyncio.sleep(0.02)  # held until the test lets it answer
        return simulated_verdict(request, lambda prompt: 1.0)


def in_a_process(shell: Shell, *arguments: str) -> Said:
    """A command as its own process: Celery keeps the first broker that it was shown."""
    running = start(shell.folder, *arguments, environ=shell.environ)
    out, err = running.communicate(timeout=60)
    return Said(running.returncode, out.decode(), err.decode())


@contextmanager
def a_worker(shell: Shell) -> Iterator["subprocess.Popen[bytes]"]:
    with (shell.folder / "worker.log").open("ab") as log:
        running = start(
            shell.folder, "worker", "-B", environ=shell.environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def until(condition: Callable[[], object], running: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert running.poll() is None, log.read_text()[-9_000:]
        assert time.monotonic() < ends, log.read_text()[-9_000:]
        time.sleep(0.1)  # looked at again


def test_redis_that_is_killed_in_the_middle_and_back_again_costs_no_job(
    stocked: tuple[Shell, str], redis: RestartableRedis
) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text(TOML)
    log = shell.folder / "worker.log"
    gate = Gate()
    with JudgeServer(gate) as judge:
        shell.environ |= {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        shell.environ["SPOTCHECK_BROKER_URL"] = redis.url
        with a_worker(shell) as running:
            assert in_a_process(shell, "nightly", "--date", night).code == 0
            # the heuristic's jobs need a message of their own, which would be lost with the broker
            until(lambda: gate.asked >= 2 and totals(shell)["pending"] == RUNS, running, log)
            redis.kill()
            said = in_a_process(shell, "nightly", "--date", night)
            assert said.code == 0, said
            assert f"broker {redis.url} is not reachable" in said.err
            assert "the work is stored, and nothing is lost" in said.err
            assert said.err.count("\n") == 1, said.err
            gate.open.set()
            until(lambda: totals(shell)["pending"] == 0, running, log)
            shell("ingest", "-", stdin=lines(*(a_document(f"late-{number}") for number in range(3))))
            redis.start()
            said = in_a_process(shell, "score")
            assert (said.code, said.err) == (0, "")
            until(lambda: totals(shell)["scored"] == 2 * (RUNS + 3), running, log)
    assert totals(shell)["pending"] == 0


def test_a_broker_folder_that_is_deleted_under_a_worker_is_made_again(stocked: tuple[Shell, str]) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text(TOML)
    log = shell.folder / "worker.log"
    gate = Gate()
    with JudgeServer(gate) as judge:
        shell.environ |= {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        with a_worker(shell) as running:
            assert in_a_process(shell, "nightly", "--date", night).code == 0
            until(lambda: gate.asked >= 2, running, log)
            deleted = (shell.folder / "spotcheck.broker").rename(shell.folder / "deleted")
            shutil.rmtree(deleted)  # not in place: the worker makes the folder anew while it is being emptied
            gate.open.set()
            shell("ingest", "-", stdin=lines(*(a_document(f"late-{number}") for number in range(3))))
            said = in_a_process(shell, "score")
            assert said.code == 0, said
            until(lambda: totals(shell)["scored"] == 2 * (RUNS + 3), running, log)
    assert totals(shell)["pending"] == 0


def test_a_broker_folder_that_may_not_be_written_is_one_line_and_the_work_is_stored(shell: Shell) -> None:
    (shell.folder / "runs.jsonl").write_bytes(lines(a_document("r-1")))
    assert shell("ingest", "runs.jsonl").code == 0
    (shell.folder / "spotcheck.toml").write_text("[scoring]\nrubrics = []\n")
    night = night_of(shell)
    closed = shell.folder / "closed"
    closed.mkdir()
    with mode(closed, 0o555):
        inner = f"filesystem://{closed}/broker"
        said_inner = shell.refused("nightly", "--date", night, SPOTCHECK_BROKER_URL=inner)
        assert "broker cannot be made: Permission denied" in said_inner
    (closed / "queue").mkdir()
    (closed / "control").mkdir()
    with mode(closed / "queue", 0o555), mode(closed / "control", 0o555):
        said = shell("nightly", "--date", night, SPOTCHECK_BROKER_URL=f"filesystem://{closed}")
    assert said.code == 0, said
    assert said.err.count("\n") == 1, said.err
    assert "is not reachable" in said.err
    assert "Traceback" not in said.err
    assert shell("score", "--wait").code == 0
    assert totals(shell)["pending"] == 0
