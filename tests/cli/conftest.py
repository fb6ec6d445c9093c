"""A shell in one process, and a project with seven weeks behind it that the tests of the doors read."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from typer.testing import CliRunner

from worker.cli import app as door
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict

NIGHTS = 42
BROKEN_SINCE = 30
"""From this night on most refunds go wrong, so that there is something to find."""
TOML = """\
[sampling]
rate = 0.5
[scoring]
heuristics = ["answer_present", "tool_success"]
[judge.prices."simulated-judge"]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
"""


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


class Shell:
    """Runs commands in a folder with an environment of its own; a command that raises instead of exiting fails."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder, self.environ = folder, dict(environ or {})

    def __call__(self, *arguments: object, stdin: bytes | str = b"", **environ: str) -> Said:
        door._register()
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(
                door.app,
                [str(argument) for argument in arguments],
                input=stdin,
                env={**self.environ, **environ},
                catch_exceptions=False,
            )
        return Said(done.exit_code, done.stdout, done.stderr)

    def refused(self, *arguments: object, code: int = 2, **environ: str) -> str:
        """The one line on stderr of a command that must fail, with nothing on stdout."""
        said = self(*arguments, **environ)
        assert said.code == code, said
        assert said.out == ""
        assert said.err.count("\n") == 1, said.err
        assert "Traceback" not in said.err
        return said.err.strip()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def empty(shell: Shell) -> Shell:
    """A shell beside a database that holds nothing."""
    assert shell("db", "upgrade").code == 0
    return shell


def a_document(run_id: str, **over: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "task_type": "refund",
        "status": "completed",
        "ended_at": (datetime.now(UTC) - timedelta(days=2)).isoformat(),
        "input": "Please refund order 4711, the lamp came broken.",
        "output": "I have refunded $41.50 for order 4711.",
        **over,
    }


def lines(*documents: object) -> bytes:
    return b"".join(orjson.dumps(each) + b"\n" for each in documents)


def _history(today: datetime) -> Iterator[dict[str, Any]]:
    for night in range(NIGHTS):
        for task_type in ("refund", "faq"):
            for number in range(8):
                is_broken = task_type == "refund" and night >= BROKEN_SINCE and number < 6
                ended = today - timedelta(days=NIGHTS - night, minutes=number)
                failed = {"error": "refused"} if is_broken else {}
                yield a_document(
                    f"{task_type}-{night}-{number}",
                    task_type=task_type,
                    ended_at=ended.isoformat(),
                    started_at=(ended - timedelta(seconds=20 + number)).isoformat(),
                    agent="bot",
                    agent_version="2.0" if night >= BROKEN_SINCE else "1.0",
                    cost_usd=0.01,
                    output="" if is_broken else f"It is done: order {night}-{number}.",
                    steps=[
                        {"kind": "tool", "name": "look_up", "arguments": {"order": number}, "result": "ok", **failed}
                    ],
                )


class World(NamedTuple):
    """A project that has been scored, and its newest night."""

    shell: Shell
    newest: str
    first: str


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six weeks of two task types, scored by two heuristics and the simulated judge; refunds break in the fifth."""
    folder = tmp_path_factory.mktemp("world")
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    (folder / "runs.jsonl").write_bytes(lines(*_history(today)))
    first, newest = ((today - timedelta(days=days)).date().isoformat() for days in (NIGHTS, 1))
    with JudgeServer(lambda request, headers: simulated_verdict(request, _p_pass)) as judge:
        shell = Shell(folder, {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url})
        assert shell("ingest", "runs.jsonl").code == 0
        said = shell("nightly", "--since", first, "--until", newest, "--wait", "--json")
    assert said.code == 0, said
    assert said.json["open"] == 0
    return World(shell, newest, first)


def _p_pass(prompt: str) -> float:
    return 0.9 if "It is done" in prompt else 0.1
