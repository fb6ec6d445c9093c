"""Every command with every output format and option that it offers, on an empty, a small and a large project, on both
stores: made from the command tree, so that a new command or option cannot be left out.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import matrix_projects, stores
from tests.support.batch_server import BatchOffice
from tests.support.matrix import Given, Parameter, command_line, pairs, tree
from tests.support.matrix_checks import Row, differences, problems
from tests.support.matrix_projects import Template
from tests.support.matrix_values import COMMANDS, OWN_WAY, PROJECTS, READS, SAMPLES, WRITES, changes, codes, values_of
from tests.support.servers import Databases
from tests.support.shell import Said, Shell
from worker.demo.judge.server import JudgeServer, simulated_verdict

TREE = tree()
Templates = Callable[[str], Template]
_AT_RANDOM = 40
"""Rows of a command with any number of values."""


def matrix_parameters(command: str) -> list[Parameter]:
    """The parameters of a command that the matrix itself gives values to."""
    return [each for each in TREE[command] if f"{command}.{each.name}" not in OWN_WAY]


@pytest.mark.parametrize("command", [name for name in TREE if name])
def test_the_matrix_knows_every_command_and_option(command: str) -> None:
    table = "tests/support/matrix_values.py"
    is_known = command in COMMANDS or command in OWN_WAY
    assert is_known, f"spotcheck {command} is new: say in COMMANDS or OWN_WAY of {table} how it is run"
    missing = [each for each in TREE[command] if not values_of(each)]
    told = [f'spotcheck {command} {each.shown} is new: add "{command}.{each.name}" to SAMPLES' for each in missing]
    assert not told, f"{'; '.join(told)} of {table}"


def test_the_tables_name_nothing_that_is_gone() -> None:
    known = {each.name for parameters in TREE.values() for each in parameters}
    known |= {f"{command}.{each.name}" for command, parameters in TREE.items() for each in parameters}
    assert {*COMMANDS, *OWN_WAY, *SAMPLES} - {*TREE, *known} == set()
    there = Path(__file__).with_name("test_commands_that_serve.py").read_text("utf-8")
    assert [name for name in OWN_WAY.values() if f"def {name}(" not in there] == []


@pytest.fixture(scope="session")
def matrix_judge() -> Iterator[JudgeServer]:
    """A judge whose verdict depends on the run alone, and which ends every batch at the first look."""
    with JudgeServer(lambda request, headers: simulated_verdict(request, lambda prompt: 0.8)) as judge:
        office = BatchOffice(judge)

        def end_all(method: str, path: str) -> None:
            for name, batch in office.batches.items():
                if batch["status"] == "in_progress":
                    office.end(batch_id=name)

        office.instead = end_all
        yield judge


@pytest.fixture(scope="session")
def template(
    databases: Databases,
    postgres_ready: str,
    sqlite_ready: Path,
    matrix_judge: JudgeServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Templates:
    """Gives a project of a kind on both stores; each is made when it is first asked for."""
    made: dict[str, Template] = {}

    def give(name: str) -> Template:
        if name not in made:
            folder = tmp_path_factory.mktemp("matrix") / name
            made[name] = matrix_projects.make(name, folder, databases, (sqlite_ready, postgres_ready), matrix_judge)
        return made[name]

    return give


class Bench:
    """A project of the matrix on both stores; a row that changes it gets a copy that nobody had before."""

    def __init__(self, template: Template, folder: Path, databases: Databases, environ: Mapping[str, str]) -> None:
        self._template, self._folder, self._databases, self._environ = template, folder, databases, dict(environ)
        self.project = template.name
        self._urls: dict[str, str] = {}
        self._made = 0

    def run(self, arguments: list[str], *, is_changed: bool) -> dict[str, tuple[Said, Path]]:
        """What both stores say of a command line, each with the folder it was run in."""
        answers = {}
        self._made += 1
        for name in ("sqlite", "postgresql"):
            folder = matrix_projects.prepare(self._folder / f"{self._made}-{name}")
            url = self._url(name, folder if is_changed else self._folder, is_changed=is_changed)
            shell = Shell(folder, {**self._environ, "SPOTCHECK_DATABASE_URL": url})
            answers[name] = shell(*arguments, stdin=(folder / "good.jsonl").read_bytes()), folder
            if is_changed:
                self._drop(name, url)
        return answers

    def close(self) -> None:
        for name, url in self._urls.items():
            self._drop(name, url)

    def _url(self, name: str, folder: Path, *, is_changed: bool) -> str:
        if is_changed:
            return self._copy(name, folder)
        if name not in self._urls:
            self._urls[name] = self._copy(name, folder)
        return self._urls[name]

    def _copy(self, name: str, folder: Path) -> str:
        if name == "sqlite":
            return stores.sqlite_copy(self._template.sqlite, folder)
        return self._databases(self._template.postgresql)

    def _drop(self, name: str, url: str) -> None:
        if name == "postgresql":
            self._databases.drop(url)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name == "large" else ()) for name in PROJECTS])
def bench(
    request: pytest.FixtureRequest,
    template: Templates,
    tmp_path: Path,
    databases: Databases,
    matrix_judge: JudgeServer,
) -> Iterator[Bench]:
    """Each project in turn."""
    made = Bench(template(request.param), tmp_path, databases, matrix_projects.environment(matrix_judge))
    yield made
    made.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_value_and_pair_of_values(command: str, bench: Bench) -> None:
    """In pairs on the small project; on the others, and where each row needs a database of its own, alone.

    What writes to the large project is run plainly here; `test_every_other_pair_of_values` has the rest of it.
    """
    run_rows(command, bench, [row for row in _rows(command, bench.project) if not _is_rest(row, command, bench)])


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_every_other_pair_of_values(command: str, bench: Bench) -> None:
    run_rows(command, bench, [row for row in _rows(command, bench.project) if _is_rest(row, command, bench)])


@pytest.mark.long
@pytest.mark.parametrize("command", [name for name, does in COMMANDS.items() if does == READS])
def test_any_values_together(command: str, bench: Bench) -> None:
    rng = random.Random(f"{command} {bench.project}")
    parameters = matrix_parameters(command)
    made: list[Given] = []
    for _ in range(_AT_RANDOM):
        chosen = [one for one in parameters if one.is_required or rng.random() < 0.5]
        made.append({one.name: rng.choice(values_of(one)) for one in chosen})
    run_rows(command, bench, made)


def _rows(command: str, project: str) -> list[Given]:
    parameters = matrix_parameters(command)
    values = {each.name: values_of(each) for each in parameters}
    return list(pairs(parameters, values, lambda given: 2 in codes(command, given, project)))


def _is_rest(given: Given, command: str, bench: Bench) -> bool:
    beside = given.keys() - {each.name for each in matrix_parameters(command) if each.is_required}
    most = 0 if COMMANDS[command] == WRITES and bench.project == "large" else 1
    return (COMMANDS[command] == WRITES or bench.project != "small") and len(beside) > most


def run_rows(command: str, bench: Bench, rows: list[Given]) -> None:
    parameters = matrix_parameters(command)
    found: list[str] = []
    for number, given in enumerate(rows):
        arguments = command_line(parameters, given, number) or command.split()
        answers = bench.run(arguments, is_changed=changes(command, given))
        expected = codes(command, given, bench.project)
        for name, (said, folder) in answers.items():
            row = Row(name, command, given, arguments, said, folder)
            found += [f"{name} {' '.join(arguments)!r}: {each}" for each in problems(row, expected)]
        found += [f"{' '.join(arguments)!r}: {each}" for each in differences(*(said for said, _ in answers.values()))]
    assert not found, f"{len(found)} in {bench.project}:\n" + "\n".join(found)
