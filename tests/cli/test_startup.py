"""What a command does not import, since imports are most of what a short command costs. No time is measured here:
`bench/startup.py` does that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from worker.cli import app as door
from worker.cli.registry import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {"aiohttp", "alembic", "celery", "genai_prices", "matplotlib", "numpy", "openai"}
SCORERS = {"jinja2", "jsonschema", "yaml"}
"""What the scorers in force bring with them; `status` counts by scorer."""
STORE = {"pydantic", "sqlalchemy", "sqlmodel"}
OTHER_DATABASE = {"sqlalchemy.dialects.postgresql"}
"""What a project on SQLite has no use for."""
_LOADED = """
import json, sys
sys.argv[0] = "spotcheck"
from worker.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.stderr.write(json.dumps(sorted(sys.modules)))
"""


def loaded(folder: Path, *arguments: str, **environ: str) -> set[str]:
    """The packages that a command has imported by its end."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def taken(empty: Shell) -> Shell:
    """A project that holds one run."""
    assert empty("ingest", "-", stdin=lines(a_document("r-1"))).code == 0
    return empty


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_neither_the_store_nor_settings_nor_any_command(tmp_path: Path, arguments: tuple[str]) -> None:
    modules = loaded(tmp_path, *arguments)
    assert not modules & (HEAVY | SCORERS | STORE)
    assert not {name for name in modules if name.startswith(("worker.cli.commands.", "worker.cli.process."))}


@pytest.mark.parametrize("command", ["runs", "trends", "drift", "alerts", "show r-1"])
def test_a_reading_command_imports_no_judge_no_queue_and_no_numbers_library(taken: Shell, command: str) -> None:
    assert not loaded(taken.folder, *command.split()) & (HEAVY | SCORERS | OTHER_DATABASE)


@pytest.mark.parametrize("command", ["runs", "trends", "status"])
def test_what_is_not_live_is_shown_without_rich(taken: Shell, command: str) -> None:
    assert "rich.console" not in loaded(taken.folder, command)


def test_listing_runs_makes_the_tables_of_runs_only(taken: Shell) -> None:
    tables = {name for name in loaded(taken.folder, "runs") if name.startswith("worker.store.tables.")}
    assert tables == {f"worker.store.tables.{name}" for name in ("types", "run")}


def test_status_imports_the_scorers_and_no_more(taken: Shell) -> None:
    assert not loaded(taken.folder, "status") & (HEAVY | OTHER_DATABASE)


def test_completing_a_name_imports_no_command(tmp_path: Path) -> None:
    group: Any = typer.main.get_command(door.app)
    context = group.make_context("spotcheck", [], resilient_parsing=True)
    before = set(sys.modules)
    found = {item.value: item.help for item in group.shell_complete(context, "r")}
    assert found == {name: COMMANDS[name].help for name in ("report", "runs", "rubric")}
    assert set(sys.modules) - before <= set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says(name: str) -> None:
    """The list in `--help` is written from a table; here it is held to the commands themselves."""
    group: Any = typer.main.get_command(door.app)
    command = group.commands[name]
    assert command.name == name
    assert command.get_short_help_str(200) == COMMANDS[name].help
    assert not command.hidden
