"""A project that was scored once and is only read by tests."""

from typing import NamedTuple

from tests.support.shell import Shell

TOML = """\
[sampling]
rate = 0.5
[scoring]
heuristics = ["answer_present", "tool_success"]
[judge.prices."simulated-judge"]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
"""


class ScoredProject(NamedTuple):
    """A project that has been scored, and its newest night."""

    shell: Shell
    newest: str
    first: str
