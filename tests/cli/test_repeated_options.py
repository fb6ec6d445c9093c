"""An option that takes one value and is given twice is refused in one line: the last must not win unseen."""

import pytest

from tests.support.matrix import Parameter, command_line, tree
from tests.support.matrix_values import values_of
from tests.support.shell import Shell
from worker.cli.process.health import quickly

SINGLE = [
    each
    for command, parameters in tree().items()
    if command
    for each in parameters
    if each.spellings and not each.is_flag and not each.is_multiple
]


@pytest.mark.parametrize("parameter", SINGLE, ids=lambda one: f"{one.command} {one.shown}")
def test_an_option_that_takes_one_value_is_not_given_twice(shell: Shell, parameter: Parameter) -> None:
    parameters = [each for each in tree()[parameter.command] if each.is_required or each == parameter]
    given = {each.name: values_of(each)[0] for each in parameters}
    words = command_line(parameters, given) + parameter.words(values_of(parameter)[-1], number=1)
    line = shell.refused(*words)
    assert line == (
        f"spotcheck: {parameter.shown} is given 2 times and takes one value; see spotcheck {parameter.command} --help"
    )
    assert list(shell.folder.iterdir()) == []


def test_the_short_way_to_health_leaves_it_to_the_long_one() -> None:
    assert quickly(["health", "--minutes", "5", "--minutes", "6"]) is None


def test_an_option_that_takes_several_is_given_several_times(empty: Shell) -> None:
    said = empty("health", "--lane", "judge", "--lane", "beat", "--json")
    assert [lane["lane"] for lane in said.json["lanes"]] == ["judge", "beat"]
