"""A project with a dozen runs of one night, and what its commands say about it."""

from tests.support.shell import Shell

RUNS = 12


def night_of(shell: Shell) -> str:
    return str(shell("runs", "--json", "--limit", "1").json["runs"][0]["night"])


def ids(shell: Shell) -> list[str]:
    """The ids of all runs that are stored, with repetitions if there were any."""
    return sorted(run["run_id"] for run in shell("runs", "--json", "--limit", "100000").json["runs"])


def totals(shell: Shell) -> dict[str, int]:
    """The counts over all scorers; they must reconcile."""
    said = shell("status", "--json")
    assert said.json["reconciles"], said
    counted: dict[str, int] = said.json["totals"]
    return counted
