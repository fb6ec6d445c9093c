"""When a night that comes back without a score is a setting's fault, and what is said then."""

import pytest

from worker.core.judging.unread import ADVICE, ENOUGH, unread_advice


@pytest.mark.parametrize("reason", ADVICE)
def test_from_the_first_dozen_on_it_is_said_what_to_change(reason: str) -> None:
    told = unread_advice("tone", 0, {reason: ENOUGH})
    assert told is not None
    assert f"tone: all 12 runs so far are unscored({reason})" in told


@pytest.mark.parametrize(
    ("scored", "unscored"),
    [
        (0, {}),
        (0, {"parse": ENOUGH - 1}),
        (1, {"parse": 500}),
        (0, {"parse": 500, "refusal": 1}),
        (0, {"missing:run.steps": 500}),
    ],
)
def test_what_may_be_chance_or_a_runs_own_is_not_told(scored: int, unscored: dict[str, int]) -> None:
    assert unread_advice("tone", scored, unscored) is None
