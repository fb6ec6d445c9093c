"""Before two weeks are learned nothing is tested, and no command says that nothing was found as if it had looked."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell

TOML = '[sampling]\nrate = 1.0\n[scoring]\nrubrics = []\nheuristics = ["answer_present"]\n'


def take_in(shell: Shell, nights: int, a_night: int = 4) -> tuple[str, str]:
    """A project with so many equal nights; the first and the last."""
    today = datetime.now(UTC)
    (shell.folder / "spotcheck.toml").write_text(TOML)
    documents = [
        a_document(f"r-{back}-{number}", ended_at=(today - timedelta(days=back)).isoformat())
        for back in range(1, nights + 1)
        for number in range(a_night)
    ]
    assert shell("ingest", "-", stdin=lines(*documents)).code == 0
    first, last = ((today - timedelta(days=back)).date().isoformat() for back in (nights, 1))
    return first, last


def live(shell: Shell, nights: int, a_night: int = 4) -> str:
    """The same, all scored; the last line of the command that did it."""
    first, last = take_in(shell, nights, a_night)
    return shell("nightly", "--since", first, "--until", last, "--wait").out.splitlines()[-2]


@pytest.mark.parametrize(
    ("nights", "said"),
    [
        (1, "nothing tested yet: 1 of 14 nights is learned"),
        (7, "nothing tested yet: 7 of 14 nights are learned"),
        (14, "nothing tested yet: 14 of 14 nights are learned"),
        (15, "no drift found"),
    ],
)
def test_the_scan_says_how_many_nights_it_has_learned(shell: Shell, nights: int, said: str) -> None:
    assert live(shell, nights) == said
    assert shell("drift").out == f"{said} (project budget: 2 false alarms a year)\n"
    rest = "" if said == "no drift found" else f"; {said}"
    assert shell("alerts").out == f"nothing needs you now{rest}\n"


def test_figures_of_too_few_runs_are_not_tested_and_that_is_said(shell: Shell) -> None:
    live(shell, 16, a_night=3)
    assert shell("drift").out.startswith(
        "no drift found; error rates, cost and steps are not tested yet: no task type has 50 runs yet"
    )


def test_history_that_was_only_taken_in_is_no_past_of_the_scores(shell: Shell) -> None:
    take_in(shell, 20)
    assert shell("drift").out.startswith("nothing tested yet: 0 of 14 nights are learned")
    said = shell("nightly", "--wait").out.splitlines()[-2]
    assert said == "no drift found; quality is not tested yet: 1 of 14 nights is learned"


def test_where_something_was_tested_nothing_is_added(world: ScoredProject) -> None:
    assert "tested yet" not in world.shell("drift").out + world.shell("alerts").out
