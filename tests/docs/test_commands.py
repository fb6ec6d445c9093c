"""Everything has a help text with worked examples, and the README knows every command and setting."""

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import commands
from worker.cli.commands.init import TOML
from worker.records import Run
from worker.scorers.registry import BUILT_IN
from worker.settings import VARIABLES, Settings
from worker.settings.addresses import Addresses
from worker.settings.section import Section, field_texts
from worker.settings.sections_alerts import StoreSection
from worker.settings.sections_sampling import TaskTypeRules

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings(section: type[Section] = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str | None]]:
    """Every setting by its full name, with its description."""
    texts = field_texts(section)
    for name, field in section.model_fields.items():
        kind = field.annotation
        yield ".".join((*path, name)), texts.get(name)
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from settings(kind, (*path, name))


@pytest.mark.parametrize("name", commands())
def test_every_help_text_ends_with_worked_examples_of_its_own_command(name: str) -> None:
    command = commands()[name]
    _, _, examples = command.help.partition("Examples: ")
    assert examples, f"spotcheck {name} --help has no examples"
    assert "\n\n" not in examples.strip(), "the examples are the end"
    told = [part.strip() for part in " ".join(examples.split()).split(" · ")]
    assert all(f"spotcheck {name}" in part for part in told)


@pytest.mark.parametrize("name", commands())
def test_every_example_and_option_is_understood(name: str) -> None:
    command = commands()[name]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    _, _, examples = command.help.partition("Examples: ")
    assert set(re.findall(r"(?<=\s)--?[a-zA-Z][a-z-]*", examples)) <= options
    nameless = [parameter.name for parameter in command.params if parameter.param_type_name == "option"]
    assert all(parameter.help for parameter in command.params if parameter.name in nameless)


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, description in settings() if not description] == []


@pytest.mark.parametrize("record", [Run])
def test_every_field_that_decides_something_says_what_it_means(record: type[Run]) -> None:
    (made,) = ast.parse(inspect.getsource(record)).body
    assert isinstance(made, ast.ClassDef)
    said = {
        field.target.id
        for field, words in itertools.pairwise(made.body)
        if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr) and isinstance(field.target, ast.Name)
    }
    assert {"run_id", "task_type", "ended_at", "tags", "cost_usd", "content"} <= said


def test_the_readme_names_every_command() -> None:
    rows = [line for line in README.splitlines() if line.startswith("|")]
    table = "\n".join(rows)
    missing = [
        name
        for name in commands()
        if f"spotcheck {name}" not in README
        and not any(f"`spotcheck {name.split()[0]} " in row and f"`{name.split()[-1]}`" in row for row in rows)
    ]
    assert missing == [], f"README.md names no `spotcheck …` for these\n{table}"


def test_the_readme_names_every_variable() -> None:
    variables = re.findall(r"Env: ([A-Z_]+)", " ".join(description or "" for _, description in settings()))
    variables = [name for name in variables if name in VARIABLES and VARIABLES[name].sink in (None, "webhook")]
    assert len(variables) == 13, "a destination's own is described by `spotcheck settings` alone"
    assert [name for name in variables if name not in README] == []


def test_the_readme_names_every_heuristic_and_exit_code() -> None:
    assert [name for name in BUILT_IN if f"`{name}`" not in README] == []
    for code in ("0 fine", "2 usage", "3 input", "4 judge", "5 store", "6 export", "10 drift"):
        assert code in README


def test_the_commented_policy_or_the_readme_names_every_key() -> None:
    told = README + TOML
    not_yet = {f"task_type.{name}" for name in TaskTypeRules.model_fields}  # with the OTLP intake
    not_yet |= {f"store.{name}" for name in StoreSection.model_fields} | {"store", "task_type"}  # with prune
    in_environment = {*Addresses.model_fields, "settle_s", "clock"}
    wanted = [name for name, _ in settings() if name not in in_environment | not_yet]
    assert [name for name in wanted if not re.search(rf"\b{name.rpartition('.')[2]}\b", told)] == []


def test_the_commented_policy_is_valid_with_and_without_its_comments() -> None:
    assert Settings.read({}, TOML) == Settings()
    uncommented = "\n".join(re.sub(r"^# ?(?=[\[a-z_]+.*[\]=])", "", line) for line in TOML.splitlines())
    read = Settings.read({}, uncommented)
    assert read.sampling.task_types
    assert read.judge.prices
    assert read.judge.budget_usd_per_day is not None
