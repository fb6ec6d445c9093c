"""A project with a few runs, and a world that is short of rights or of room, for root and for everybody else."""

import pytest

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from tests.support.stocked_project import RUNS, night_of


@pytest.fixture
def stocked(shell: Shell) -> tuple[Shell, str]:
    """A project with a dozen runs of one night, and that night."""
    (shell.folder / "runs.jsonl").write_bytes(lines(*(a_document(f"r-{number}") for number in range(RUNS))))
    said = shell("ingest", "runs.jsonl")
    assert said.code == 0, said
    return shell, night_of(shell)
