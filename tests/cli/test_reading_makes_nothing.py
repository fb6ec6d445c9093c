"""A command that reads makes no database: an all-clear from the wrong folder would be a lie. It says what to do."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import commands
from tests.support.documents import a_document, lines
from tests.support.shell import Shell

READERS = (
    *("trends", "drift", "alerts", "report", "runs", "show r-1", "explain r-1", "status", "sample --dry-run"),
    *("rubric preview task_completion --run r-1", "drift --acknowledge 1", "alerts --fail-on-drift", "status --json"),
    "backfill --dry-run",
)
WRITERS = ("ingest -", "sample", "score", "nightly", "db upgrade", "rubric promote task_completion --unproved new")
PROCESSES = ("demo", "up", "worker", "beat")
WITHOUT = ("init", "settings", "rubric list", "rubric lint", "rubric show", "db check", "health", "schema run")
"""They need no database, or say how it is."""


def test_every_command_is_one_that_reads_or_writes_or_needs_no_database() -> None:
    told = {*READERS, *WRITERS, *PROCESSES, *WITHOUT}
    assert {name for name in commands() if not any(f"{each} ".startswith(f"{name} ") for each in told)} == set()


@pytest.mark.parametrize("command", READERS)
def test_a_read_where_no_database_is_says_so_and_makes_none(shell: Shell, command: str) -> None:
    assert shell.refused(*command.split(), code=5) == (
        "spotcheck: no database at ./spotcheck.db; ingest makes it (spotcheck ingest), or is this the wrong folder?"
    )
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize("command", READERS)
def test_a_read_of_an_empty_database_does_not_fill_it(shell: Shell, command: str) -> None:
    (shell.folder / "spotcheck.db").touch()
    assert "sqlite:///spotcheck.db is empty; ingest fills it" in shell.refused(*command.split(), code=5)
    assert shell("db", "check", "--json").json["state"] == "empty"


@pytest.mark.parametrize("command", WRITERS)
def test_a_command_that_puts_something_in_makes_it(shell: Shell, command: str) -> None:
    assert shell(*command.split(), stdin=lines(a_document("r-1"))).code == 0
    assert (shell.folder / "spotcheck.db").exists()
    for reader in ("trends", "drift", "alerts", "runs", "status"):
        assert shell(reader).code == 0


def test_what_needs_no_database_makes_none(shell: Shell) -> None:
    for command in ("settings", "rubric list", "db check", "health", "schema run"):
        shell(*command.split())
    assert list(shell.folder.iterdir()) == []
    assert shell("db", "check").out.startswith("sqlite:///spotcheck.db: empty ")
    assert shell("health").code == 1


def test_an_address_that_is_no_folders_default_is_named_whole(shell: Shell, tmp_path: Path) -> None:
    other = tmp_path / "else where.db"
    line = shell.refused("runs", code=5, SPOTCHECK_DATABASE_URL=f"sqlite:///{other}")
    assert line == (
        f"spotcheck: no database at {other}; ingest makes it (spotcheck ingest), or is this the wrong file?"
    )


def test_a_read_does_not_migrate_an_empty_postgresql(shell: Shell, empty_postgres_url: Callable[[], str]) -> None:
    url = empty_postgres_url()
    shell.environ["SPOTCHECK_DATABASE_URL"] = url
    line = shell.refused("alerts", code=5)
    assert "is empty; ingest fills it (spotcheck ingest), or is this the wrong database?" in line
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (0,)
    assert shell("ingest", "-", stdin=lines(a_document("r-1"))).code == 0
    assert shell("alerts").code == 0
