"""Terminals, pipes and surroundings that are missing, closed, tiny or foreign: no traceback, the right exit code."""

import io
import os
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.processes import start
from tests.support.restricted_files import mode
from tests.support.shell import Shell
from tests.support.stocked_project import ids

COMMANDS = [
    ["trends"],
    ["trends", "--by", "agent_version"],
    ["drift"],
    ["runs"],
    ["show", "r-1"],
    ["explain", "r-1"],
    ["status"],
    ["settings"],
    ["rubric", "list"],
    ["rubric", "lint"],
    ["rubric", "preview", "task_completion", "--run", "r-1"],
    ["sample", "--dry-run"],
    ["db", "check"],
]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A project with a scored night."""
    shell = Shell(tmp_path_factory.mktemp("scored"))
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\n")
    shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}", output="→ é 🙂") for number in range(12))))
    night = shell("runs", "--json").json["runs"][0]["night"]
    assert shell("nightly", "--date", night, "--wait").code == 0
    return shell


@pytest.mark.parametrize("columns", ["1", "20"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_terminal_of_few_columns_shows_what_it_can(scored: Shell, command: list[str], columns: str) -> None:
    said = scored(*command, COLUMNS=columns, LINES="2")
    assert said.code == 0, said
    assert said.out.strip()


class Ascii(io.TextIOWrapper):
    """What stdout is under an old locale: it refuses everything beyond ASCII, until it is told not to."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)

    @property
    def said(self) -> bytes:
        buffer: Any = self.buffer
        return bytes(buffer.getvalue())


def test_an_ascii_terminal_gets_question_marks_and_never_an_error(
    scored: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.cli import app as door

    monkeypatch.chdir(scored.folder)
    for command in COMMANDS:
        out, err = Ascii(), Ascii()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            door._open_streams()
            with pytest.raises(SystemExit) as ended:
                door.app(command)
        assert ended.value.code == 0, (command, err.said)
        assert out.said.isascii()
        assert out.said


def test_a_process_with_neither_home_nor_terminal_nor_locale_works(scored: Shell) -> None:
    """One real process for all that is missing at once, with an encoding that Python does not mend by itself."""
    bare = {"PYTHONPATH": str(Path(__file__).parents[2]), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    code = "import os, sys; os.environ.clear(); from worker.cli import main; sys.argv[1:] = ['show', 'r-1']; main()"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], cwd=scored.folder, env=bare, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"? ? ?" in done.stdout
    assert done.stderr == b""


def test_a_reader_that_leaves_a_table_early_is_no_error(scored: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -1` has done by the time the second line comes
    with open(writing, "wb") as nobody:  # noqa: PTH123 a file descriptor
        running = start(scored.folder, "trends", stdout=nobody)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (0, b"")


def test_stdin_that_is_closed_or_empty_is_no_run(shell: Shell) -> None:
    assert shell("ingest", "-", stdin=b"").out == "nothing to take: the input is empty\n"
    running = start(shell.folder, "ingest", "-", stdin=DEVNULL, stdout=PIPE)
    said, err = running.communicate(timeout=60)
    assert (running.returncode, said, err) == (0, b"nothing to take: the input is empty\n", b"")


def test_a_current_folder_that_may_not_be_written_is_told_by_what_would_write(shell: Shell, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "runs.jsonl").write_bytes(lines(a_document("good"), {"bad": 1}))
    (tmp_path / "good.jsonl").write_bytes(lines(a_document("good")))
    inside = Shell(here, {"SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path}/x.db"})
    with mode(here, 0o555):
        assert inside("ingest", "../good.jsonl").code == 0
        line = inside.refused("score", code=5, SPOTCHECK_DATABASE_URL="sqlite:///spotcheck.db")
        assert "unable to open database file; check the path and its rights" in line
        said = inside("ingest", "../runs.jsonl")
        assert said.code == 2
        assert "runs.jsonl.rejected.jsonl cannot be written" in said.err
        assert "spotcheck.toml cannot be written" in inside.refused("init") or "cannot be written" in inside.refused(
            "init"
        )
        (night,) = {run["night"] for run in inside("runs", "--json").json["runs"]}
        assert inside("nightly", "--date", night, "--wait").code == 0
        line = inside.refused("trends", "--format", "png")
        assert line == "spotcheck: --output trends.png cannot be written: Permission denied"
    assert ids(inside) == ["good"]


def test_a_current_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd '{gone}' && rmdir '{gone}' && exec '{sys.executable}' -m worker status"
    import subprocess

    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, check=False)
    assert done.returncode in (2, 5), done.stderr
    assert done.stderr.count(b"\n") == 1, done.stderr
    assert b"Traceback" not in done.stderr
