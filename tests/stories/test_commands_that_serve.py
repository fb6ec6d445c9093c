"""What the command matrix runs in a way of its own: commands that serve for ever, the demo, the root's options.

`OWN_WAY` in `tests/support/matrix_values.py` names the test of each; the options and their values come from the tree.
"""

import signal
from pathlib import Path

import orjson
import pytest

from tests.support.documents import a_document, lines
from tests.support.matrix import Parameter, tree
from tests.support.matrix_values import OWN_WAY, values_of
from tests.support.processes import start, until
from tests.support.shell import Shell
from worker.store import health

TREE = tree()
STOPPED = (0, 143)
"""In order, or as told by the signal."""


def every_option(command: str, place: int = 0) -> list[str]:
    """A command line with every option of a command, each with its first value, or a later one where there is one."""
    words = command.split()
    for each in TREE[command]:
        words += _words(each, place)
    return words


def _words(parameter: Parameter, place: int) -> list[str]:
    values = values_of(parameter)
    return parameter.words(values[min(place, len(values) - 1)], place)


@pytest.fixture
def served(shell: Shell, database_url: str) -> Shell:
    """A project with a run, on each store."""
    shell.environ |= {
        "SPOTCHECK_DATABASE_URL": database_url,
        "SPOTCHECK_BROKER_URL": f"filesystem://{shell.folder / 'broker'}",
    }
    assert shell("ingest", "-", stdin=lines(a_document("r-1"))).code == 0
    return shell


@pytest.mark.parametrize("command", [name for name, test in OWN_WAY.items() if "told_to_stop" in test])
@pytest.mark.parametrize("place", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_serves_until_it_is_told_to_stop(served: Shell, command: str, place: int) -> None:
    log = served.folder / "log"
    with log.open("wb") as stream:
        words = every_option(command, place)
        running = start(served.folder, *words, environ=served.environ, stdout=stream, stderr=stream)
        try:
            until(lambda: _serves(served, command, log) or running.poll() is not None, f"{command} serves")
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) in STOPPED, log.read_text()
        finally:
            running.kill()
            running.wait()
    assert "Traceback" not in log.read_text("utf-8")


def _serves(served: Shell, command: str, log: Path) -> bool:
    """Whether a worker is seen in the store, or beat has said that it begins."""
    if command == "beat":
        return "sending ticks" in log.read_text("utf-8")
    return bool(health.read(served.environ["SPOTCHECK_DATABASE_URL"], []).workers)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_status_watches_until_it_is_interrupted(served: Shell, as_json: bool) -> None:
    own = [each for each in TREE["status"] if f"status.{each.name}" in OWN_WAY]
    words = [word for each in own for word in _words(each, 0)] + ["--json"] * as_json
    running = start(served.folder, "status", *words, environ=served.environ)
    assert running.stdout is not None
    try:
        seen = [running.stdout.readline() for _ in range(2 if as_json else 20)]
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0
    assert said == b""
    if as_json:
        assert all(orjson.loads(line)["reconciles"] for line in seen)


@pytest.mark.parametrize(
    "is_whole",
    [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
    ids=["refused", "whole"],
)
def test_the_demo_in_a_folder_of_its_own(shell: Shell, is_whole: bool) -> None:
    if not is_whole:
        (shell.folder / "made").mkdir()
        (shell.folder / "made" / "mine.txt").write_text("mine")
        assert "made" in shell.refused(*every_option("demo"))
        return
    running = start(shell.folder, *every_option("demo"))
    said, _ = running.communicate(timeout=900)
    assert running.returncode == 0
    answer = orjson.loads(said)
    assert answer["reconciles"]
    assert Path(shell.folder, answer["report"]).exists()


def test_the_roots_own_options(shell: Shell) -> None:
    typers_own = {"--install-completion", "--show-completion"}
    assert {word for each in TREE[""] for word in each.spellings} == {"--version", "--traceback", *typers_own}
    assert shell("--version").out.startswith("spotcheck ")
    assert shell("runs").err.count("\n") == 1
    shown = shell("runs", "--traceback")
    assert shown.code == 5
    assert "Traceback" in shown.err


@pytest.mark.parametrize("command", TREE)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(shell: Shell, command: str, option: str) -> None:
    said = shell(*command.split(), option)
    assert (said.code, said.err) == (0, "")
    assert f"Usage: spotcheck {command}".strip() in said.out
    assert list(shell.folder.iterdir()) == []
