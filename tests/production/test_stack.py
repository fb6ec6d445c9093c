"""The processes of docker-compose.yml, started by hand from its own commands and environment, without an engine.

What differs from the engine: `postgres` and `redis` are servers from wheels, the working folder stands for /app, and a
rehearsal's clock makes the night come now.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from tests.support.compose import stack, substituted
from tests.support.processes import environment, until
from tests.support.project import document
from worker.clock import Clock
from worker.demo.judge.server import MODEL, JudgeServer
from worker.store.engine import Store
from worker.store.queue import workers

pytestmark = pytest.mark.slow
RUNS = 30
NIGHT = date(2026, 11, 20)
START = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
"""Half an hour before the night is due; at this speed half a minute, and the day lasts long enough for any machine."""
SPEED = 60.0
TOML = """\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present", "completed"]
lease_s = 5
[schedule]
at = "02:00"
"""


class Engine:
    """Starts what the compose file says, in a folder that stands for the image's /app."""

    def __init__(self, folder: Path, database: str, broker: str, given: dict[str, str], clock: Clock) -> None:
        self.folder, self.database = folder, database
        password = urlsplit(database).password or "x"
        self.services = substituted(stack(), {"POSTGRES_PASSWORD": password, **given})["services"]
        self._here = {
            f"postgresql://spotcheck:{password}@postgres:5432/spotcheck": database,
            "redis://redis:6379/0": broker,
        }
        self._clock = {"SPOTCHECK_CLOCK": str(clock)}

    def environ(self, service: str) -> dict[str, str]:
        """The service's own environment, with addresses that lead somewhere here; nothing of ours."""
        given = {name: self._here.get(value, value) for name, value in self.services[service]["environment"].items()}
        assert set(self._here) <= set(self.services[service]["environment"].values())
        beside = environment("", {})
        kept = {name: value for name, value in beside.items() if not name.startswith(("SPOTCHECK_", "OPENAI_"))}
        return kept | given | self._clock

    def command(self, service: str, *arguments: str) -> list[str]:
        asked: dict[str, Any] = self.services[service]
        words: list[str] = [*asked.get("entrypoint", []), *(arguments or asked["command"])]
        program, *rest = words
        assert program == "spotcheck"
        return [sys.executable, "-m", "worker", *rest]

    def run(self, service: str, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """To the end, as `docker compose run` does."""
        command, environ = self.command(service, *arguments), self.environ(service)
        return subprocess.run(command, cwd=self.folder, env=environ, input=stdin, capture_output=True, check=False)

    @contextmanager
    def up(self, service: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Until told to stop by the file's own signal."""
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(service),
                cwd=self.folder,
                env=self.environ(service),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
            if process.poll() is None:
                process.send_signal(signal.Signals[self.services[service]["stop_signal"]])
                assert process.wait(60) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def health(self, service: str) -> tuple[int, str]:
        """The service's own health check."""
        kind, *command = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(
            self.command(service, *command),
            cwd=self.folder,
            env=self.environ(service),
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout.decode().strip()

    def logs(self) -> str:
        return "\n".join(f"{path.name}\n{path.read_text('utf-8')[-2000:]}" for path in self.folder.glob("*.log"))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            until(condition, what, 120)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def until_healthy(self, service: str) -> None:
        self.until(lambda: self.health(service)[0] == 0, f"{service} is healthy")

    def status(self) -> Any:
        return orjson.loads(self.run("cli", "status", "--json").stdout)


@pytest.fixture
def engine(tmp_path: Path, judge: JudgeServer, postgres_url: Callable[[], str], redis_url: Callable[[], str]) -> Engine:
    (tmp_path / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    given = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
    clock = Clock(START, datetime.now(UTC), SPEED)
    return Engine(tmp_path, postgres_url(), redis_url(), given, clock)


def test_the_stack_tells_the_story_and_its_health_checks_tell_the_truth(engine: Engine, judge: JudgeServer) -> None:
    assert engine.health("judge")[0] == 1  # nothing is there yet
    assert engine.run("migrate").returncode == 0
    assert engine.run("migrate").returncode == 0
    lines = b"".join(orjson.dumps(document(f"case-{number}", NIGHT)) + b"\n" for number in range(RUNS))
    taken = engine.run("cli", "ingest", "-", stdin=lines)
    assert (taken.returncode, taken.stdout) == (0, b"30 accepted, 0 revised, 0 known already, 0 rejected\n"), taken
    with ExitStack() as ends:
        doomed = ends.enter_context(engine.up("judge"))
        ends.enter_context(engine.up("control"))
        ends.enter_context(engine.up("beat"))
        for service in ("judge", "control", "beat"):
            engine.until_healthy(service)
        engine.until(lambda: engine.status()["totals"]["scored"] == 3 * RUNS, "beat's night is drawn and scored")
        told = engine.status()
        assert told["reconciles"]
        assert (told["totals"]["ended"], told["totals"]["pending"]) == (3 * RUNS, 0)
        assert judge.requests.count == RUNS

        os.killpg(doomed.pid, signal.SIGKILL)
        doomed.wait()
        engine.until(lambda: engine.health("judge")[0] == 1, "the death is noticed")
        assert "no live worker was seen" in engine.health("judge")[1]
        for service in ("control", "beat"):
            assert engine.health(service)[0] == 0
        with engine.up("judge"):
            engine.until(lambda: engine.health("judge")[0] == 0, "it is well again")
    store = Store(engine.database)
    with store.read() as connection:
        assert workers.live_workers(connection, store.now(connection)) == []  # the living were stopped in order
    store.close()
    for service in ("judge", "control", "beat"):
        assert "REHEARSAL" in (engine.folder / f"{service}.log").read_text(encoding="utf-8")
    assert "Traceback" not in engine.logs()
