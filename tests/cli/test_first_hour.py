"""The first hour of a stranger: what the demo and `init` tell to type works, and history is not forgotten."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from worker.demo import summary
from worker.demo.folder import spotcheck_command

CLOCK = "2026-11-25T12:00Z@9000-01-01T00:00Z x5000"
TOML = '[sampling]\nrate = 1.0\n[scoring]\nrubrics = []\nheuristics = ["answer_present"]\n'
ROOT = Path(__file__).parents[2]


@pytest.fixture
def imported(tmp_path: Path) -> Shell:
    """Four nights of history that were only taken in; one of them has no runs."""
    (tmp_path / "spotcheck.toml").write_text(TOML)
    shell = Shell(tmp_path, {"SPOTCHECK_CLOCK": CLOCK})
    documents = [a_document(f"r-{day}", ended_at=f"2026-11-{day}T10:00:00Z") for day in (19, 21, 22, 24)]
    assert shell("ingest", "-", stdin=lines(*documents)).code == 0
    return shell


def test_nights_from_before_the_start_are_told_with_the_command_that_scores_them(imported: Shell) -> None:
    said = imported("nightly", "--wait")
    assert said.out.splitlines()[-1].startswith("1 night, 1 of 1 runs drawn")
    note = "3 earlier nights are not scored; spotcheck nightly --since 2026-11-19 --until 2026-11-22 --wait"
    assert said.err.splitlines()[1:] == [note]
    again = imported("nightly")
    assert again.err.splitlines()[1:] == [note], "until it is done, every time"
    command = note.partition("; spotcheck ")[2].split()
    done = imported(*command)
    assert "earlier" not in done.err
    assert imported("nightly", "--wait").err.count("\n") == 1
    assert imported("status", "--json").json["totals"]["before_start"] == 0


def test_a_night_that_is_named_is_no_reason_to_speak_of_others(imported: Shell) -> None:
    assert "earlier" not in imported("nightly", "--date", "2026-11-24", "--wait").err
    assert "3 earlier nights" in imported("nightly", "--wait").err


def test_the_steps_that_init_prints_score_imported_history(imported: Shell) -> None:
    shown = imported("init", "elsewhere").out
    steps = [re.split(r" {2,}", line.strip())[0] for line in shown.splitlines() if line.startswith("  spotcheck ")]
    given = [step.replace("DAY", "2026-11-19", 1).replace("DAY", "2026-11-24") for step in steps]
    (imported.folder / "RUNS.jsonl").write_bytes(lines(a_document("r-19", ended_at="2026-11-19T10:00:00Z")))
    for step in given:
        if step != "spotcheck up":
            assert imported(*step.split()[1:]).code == 0, step
    assert imported("status", "--json").json["totals"]["before_start"] == 0
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("strict", [[], ["--strict"]])
def test_input_of_which_nothing_was_taken_is_a_failure(shell: Shell, strict: list[str]) -> None:
    said = shell("ingest", "-", *strict, "--json", stdin=b"nope\n{}\n")
    assert (said.code, said.json["rejected"]) == (3, 2)


def test_input_of_which_something_was_taken_is_none(shell: Shell) -> None:
    mixed = lines(a_document("good"), "bad")
    assert shell("ingest", "-", stdin=mixed).code == 0
    assert shell("ingest", "-", stdin=mixed).code == 0, "a run that is known already was taken once"
    assert shell("ingest", "-", "--strict", stdin=mixed).code == 3
    assert shell("ingest", "-", stdin=b"").code == 0, "nothing is no mistake"
    assert "Exit 3 when every line" in " ".join(shell("ingest", "--help").out.split())


def test_beat_says_where_it_looks_and_shows_no_banner(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "worker", "beat"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    said = [running.stderr.readline(), running.stderr.readline()]
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    assert said[0].startswith("store sqlite:///spotcheck.db · broker filesystem://")
    assert "beat: Starting" in said[1]
    assert out == ""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment with a `spotcheck`, beside a demo's folder, and a PATH without either."""
    program = tmp_path / ".venv" / "bin" / "spotcheck"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho the right one: $1\n")
    program.chmod(0o755)
    (tmp_path / "spotcheck-demo").mkdir()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return program


def steps(started: str, python: str) -> list[str]:
    said: list[str] = []
    answer = {"folder": "spotcheck-demo", "planted": [], "example_run": "r-1"}
    summary.print_next_steps(answer, [], spotcheck_command(Path("spotcheck-demo"), started, python), said.append)
    return [line.strip() for line in said if line.startswith("    ")]


def test_the_demos_last_lines_work_where_spotcheck_is_not_on_the_path(installed: Path) -> None:
    for started in (".venv/bin/spotcheck", str(installed), f"{ROOT}/worker/__main__.py"):
        told = steps(started, str(installed.with_name("python")))
        assert told == ["../.venv/bin/spotcheck drift", "../.venv/bin/spotcheck explain r-1"]
        done = subprocess.run(told[0], shell=True, cwd="spotcheck-demo", capture_output=True, text=True, check=True)
        assert done.stdout == "the right one: drift\n"


def test_another_spotcheck_on_the_path_is_not_called(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "spotcheck"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    assert steps(".venv/bin/spotcheck", "python")[0] == "../.venv/bin/spotcheck drift"
    monkeypatch.setenv("PATH", f"{installed.parent}:{other.parent}:/usr/bin:/bin")
    assert steps(".venv/bin/spotcheck", "python")[0] == "spotcheck drift"


def test_where_there_is_no_program_the_interpreter_is_named(installed: Path) -> None:
    installed.unlink()
    python = installed.with_name("python")
    assert steps(f"{ROOT}/worker/__main__.py", str(python))[0] == "../.venv/bin/python -m worker drift"
