"""The command tree as a matrix: every command with its parameters, and rows of arguments that pair all their values.

Rows come from the tree itself, so that a new command or option is in the matrix at once, and a test fails until
`matrix_values` has sample values for it.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

import typer.main

from tests.support.commands import commands
from worker.cli import app as door

Given = Mapping[str, str | bool]
"""A row: the values of the parameters that are given, by name; True for a flag."""


class Parameter(NamedTuple):
    """An option or an argument of a command."""

    command: str
    name: str
    """As the function calls it."""
    spellings: tuple[str, ...]
    """`--output`, `-o`; none of an argument."""
    is_flag: bool
    is_required: bool
    is_multiple: bool
    """Whether it may be given several times."""
    choices: tuple[str, ...]
    """Of a parameter that takes only these."""

    @property
    def shown(self) -> str:
        return self.spellings[0] if self.spellings else self.name.upper()

    def words(self, value: str | bool, number: int = 0) -> list[str]:
        """As it stands on a command line; the number chooses one of its spellings."""
        if not self.spellings:
            return [str(value)]
        spelled = self.spellings[number % len(self.spellings)]
        return [spelled] if value is True else [spelled, str(value)]


def tree() -> dict[str, list[Parameter]]:
    """Every command of the tree by its full name, with its parameters; the root's own under an empty name."""
    root = typer.main.get_command(door.app)
    return {"": _parameters("", root)} | {name: _parameters(name, command) for name, command in commands().items()}


def _parameters(name: str, command: Any) -> list[Parameter]:
    return [_parameter(name, each) for each in command.params]


def _parameter(command: str, given: Any) -> Parameter:
    is_option = given.param_type_name == "option"
    annotation = given.type_descriptor.annotation
    return Parameter(
        command,
        given.name,
        (*given.opts, *given.secondary_opts) if is_option else (),
        bool(getattr(given, "is_flag", False)),
        bool(given.required),
        bool(getattr(given, "multiple", False)) or given.nargs == -1,
        get_args(annotation) if get_origin(annotation) is Literal else (),
    )


def command_line(parameters: Sequence[Parameter], given: Given, number: int = 0) -> list[str]:
    """The words after `spotcheck` of a row of a command."""
    words = [*parameters[0].command.split()] if parameters else []
    for each in sorted(parameters, key=lambda one: not one.spellings):
        if each.name in given:
            words += each.words(given[each.name], number)
    return words


def pairs(
    parameters: Sequence[Parameter],
    values: Mapping[str, Sequence[str | bool]],
    is_refused: Callable[[Given], bool],
) -> Iterator[Given]:
    """Rows in which every two values of two parameters, and every value alone, stand together at least once.

    What is refused is a row of its own, with nothing beside it that is not needed for it: in a row with other values it
    would hide what those do.

    Args:
        parameters: Of one command.
        values: Of each parameter by name, what it is given.
        is_refused: Whether a row is one that the command refuses.
    """
    base = {each.name: values[each.name][0] for each in parameters if each.is_required}
    yield base
    todo = {
        ((one.name, first), (two.name, second))
        for one, two in itertools.combinations(parameters, 2)
        for first in values[one.name]
        for second in values[two.name]
    }
    alone = [(each.name, value) for each in parameters for value in values[each.name]]
    for single in alone:
        row = base | dict([single])
        yield row
        todo -= _covered(row)
    for pair in sorted(todo, key=repr):
        if pair not in todo:
            continue
        row = base | dict(pair)
        if not is_refused(row):
            for each in parameters:
                if each.name not in row:
                    row |= _best(each.name, values[each.name], row, todo, is_refused)
        todo -= _covered(row)
        if not is_refused(row) or not any(is_refused(base | dict([single])) for single in pair):
            yield row


def _best(
    name: str, values: Sequence[str | bool], row: Given, todo: set[Any], is_refused: Callable[[Given], bool]
) -> dict[str, str | bool]:
    """The value of a parameter that covers most of what is still to do; nothing where none covers any."""
    best: tuple[int, dict[str, str | bool]] = (0, {})
    for value in values:
        longer = {**row, name: value}
        gained = len(_covered(longer) & todo)
        if gained > best[0] and not is_refused(longer):
            best = (gained, {name: value})
    return best[1]


def _covered(row: Given) -> set[Any]:
    order = {name: place for place, name in enumerate(row)}
    found = set()
    for one, two in itertools.combinations(order, 2):
        first, second = (one, row[one]), (two, row[two])
        found |= {(first, second), (second, first)}
    return found
