"""A real worker in trouble: what it logs, what /metrics says, and that neither tells a secret or a run's text."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import servers
from tests.support.processes import ProcessShell, environment, until
from tests.support.project import document
from worker.demo.judge.server import Answer, JudgeServer, refused, simulated_verdict
from worker.project.project import Project
from worker.settings import Settings

pytestmark = pytest.mark.slow
RUNS = 30
KEY, SAID_BY_THE_RUN = "sk-proj-s3cretkey0123456789", "Ann Other of Elm Street"
HOSTILE_TYPE = 'refund"} 1\nspotcheck_store_up 0\n\x1b[2J'
TOML = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = ["answer_present"]\nlease_s = 5\n[judge]\nconcurrency = 4\n'


class Judge:
    """Refuses, fails, or judges; whatever it says, it echoes what it was sent."""

    def __init__(self) -> None:
        self.mode = "401"

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked = request["messages"][-1]["content"]
        assert SAID_BY_THE_RUN in asked
        if self.mode == "401":
            return refused(401, f"Incorrect API key provided: {headers['authorization']}; {asked}")
        if self.mode == "500":
            return refused(500, f"cannot read {SAID_BY_THE_RUN}: {asked} with {headers['authorization']}")
        return simulated_verdict(request, lambda prompt: 1.0)


class House:
    """A folder with hostile runs of yesterday, drawn by whoever ticks first."""

    def __init__(self, folder: Path, url: str, form: str) -> None:
        (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
        now = datetime.now(UTC)
        noon = now.replace(hour=12, minute=0)  # yesterday is due from the first tick on, whatever the hour of the test
        self.port = servers.free_port()
        self.environ = environment(url, {"OPENAI_API_KEY": KEY, "SPOTCHECK_LOG": form})
        # a minute of this clock is a second: beats come every second
        self.environ["SPOTCHECK_CLOCK"] = f"{noon.isoformat()}@{now.isoformat()} x60"
        self.environ["SPOTCHECK_METRICS"] = f"127.0.0.1:{self.port}"
        self.folder, self.log = folder, folder / "worker.log"
        self.project = Project(Settings.read({"SPOTCHECK_DATABASE_URL": f"sqlite:///{folder}/spotcheck.db"}, TOML))
        night = self.project.nights.last_over(noon)
        over = {"input": f"I am {SAID_BY_THE_RUN}. \x1b[2J", "task_type": HOSTILE_TYPE}
        lines = [json.dumps(document(f"case-{number}", night, **over)) for number in range(RUNS)]
        (folder / "runs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        self.shell = ProcessShell(folder, self.environ)
        self.shell.timed("ingest", "ingest", "runs.jsonl", "--json")

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", *arguments],
                cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until_said(self, words: str) -> None:
        try:
            until(lambda: words in self.said(), words)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()[-3000:]}") from None

    def scrape(self) -> str:
        said: bytes = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30).read()
        return said.decode()

    def status(self) -> Any:
        return self.shell.timed("status", "status", "--json")


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def url(judge: Judge) -> Iterator[str]:
    with JudgeServer(judge) as server:
        yield server.base_url
        assert not server.requests.failures


@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        pytest.param("json", ("worker", "-c", "2", "--beat"), id="worker"),
        pytest.param("text", ("up",), id="up"),
        pytest.param("json", ("up",), id="up in JSON", marks=pytest.mark.long),
    ],
)
def test_trouble_is_told_once_at_each_end_and_nothing_that_must_not_be(
    tmp_path: Path, judge: Judge, url: str, form: str, arguments: tuple[str, ...]
) -> None:
    house = House(tmp_path, url, form)
    with house.running(*arguments) as process:
        house.until_said("refuses the key")
        told = house.status()["judge"]["models"][0]
        assert "check OPENAI_API_KEY" in told["trouble"]
        assert 'spotcheck_judge_paused{model="simulated-judge"} 1' in fresh(house)
        judge.mode = "500"
        house.until_said("answers 500")
        judge.mode = "well"
        house.until_said("answers again")
        until(lambda: house.status()["totals"]["scored"] == 2 * RUNS, "all is scored")
        text = fresh(house)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    said = house.said()
    for secret in (KEY, KEY[8:], SAID_BY_THE_RUN, "Elm Street", "\x1b"):
        assert secret not in said
        assert secret not in text
    paused = [line for line in said.splitlines() if "paused, it is tried again" in line]
    assert ["refuses the key" in line for line in paused] == [True, False], f"once for each kind of trouble: {paused}"
    assert said.count("answers again") == 1
    if form == "json":
        assert_is_json(said)
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.value for sample in found["spotcheck_store_up"].samples] == [1.0]
    (answered,) = (
        sample.value for sample in found["spotcheck_judge_calls"].samples if sample.labels["outcome"] == "answered"
    )
    assert answered == RUNS
    house.project.store.close()


def test_a_port_that_is_taken_is_one_line_and_the_work_goes_on(tmp_path: Path, judge: Judge, url: str) -> None:
    judge.mode = "well"
    house = House(tmp_path, url, "text")
    with socket.create_server(("127.0.0.1", house.port)), house.running("up"):
        house.until_said("cannot be served (Address already in use)")
        until(lambda: house.status()["totals"]["scored"] == 2 * RUNS, "all is scored")
    assert house.said().count("cannot be served") == 1
    house.project.store.close()


def test_beat_and_a_worker_without_the_control_queue_log_json_and_serve_no_metrics(tmp_path: Path, url: str) -> None:
    house = House(tmp_path, url, "json")
    with house.running("worker", "-Q", "judge", "-c", "1") as worker, house.running("beat") as beat:
        house.until_said("ready.")
        house.until_said("beat: Starting")
        for process in (worker, beat):
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    lines = [json.loads(line) for line in house.said().splitlines()]
    assert not [line for line in lines if "metrics" in line["message"]]
    assert "worker: Warm shutdown (MainProcess)" in [line["message"] for line in lines]
    house.project.store.close()


def fresh(house: House) -> str:
    """A text that was made after now."""
    time.sleep(5.1)  # it is read at most every five seconds
    return house.scrape()


def assert_is_json(said: str) -> None:
    lines = [json.loads(line) for line in said.splitlines()]
    assert lines
    assert all(set(line) >= {"time", "level", "logger", "process", "message"} for line in lines)
    done = [line for line in lines if line.get("settled")]
    assert {line["lane"] for line in done} == {"judge", "heuristic"}
    assert sum(line["settled"] for line in done) == 2 * RUNS
    (over,) = (line for line in lines if "answers again" in line["message"])
    assert over["seconds"] > 0
    assert over["lane"] == "judge"
