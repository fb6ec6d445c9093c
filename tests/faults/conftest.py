"""A project with a few runs, and a world that is short of rights or of room, for root and for everybody else."""

import shutil
from pathlib import Path

import pytest

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from tests.support.stocked_project import RUNS, night_of


@pytest.fixture(scope="session")
def stocked_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a project with a dozen runs of one night, and that night."""
    shell = Shell(tmp_path_factory.mktemp("stocked"))
    (shell.folder / "runs.jsonl").write_bytes(lines(*(a_document(f"r-{number}") for number in range(RUNS))))
    said = shell("ingest", "runs.jsonl")
    assert said.code == 0, said
    return shell.folder, night_of(shell)


@pytest.fixture
def stocked(shell: Shell, stocked_once: tuple[Path, str]) -> tuple[Shell, str]:
    """A project with a dozen runs of one night, a copy for each test, and that night."""
    folder, night = stocked_once
    shutil.copytree(folder, shell.folder, dirs_exist_ok=True)
    return shell, night
