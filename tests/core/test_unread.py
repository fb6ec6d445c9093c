"""When a night that comes back without a score is a setting's fault, and what is said then."""

import pytest

from worker.core.judging.unread import ADVICE, ENOUGH, unread


@pytest.mark.parametrize("reason", ADVICE)
def test_from_the_first_dozen_on_it_is_said_what_to_change(reason: str) -> None:
    told = unread("tone", 0, {reason: ENOUGH})
    assert told is not None
    show = "spotcheck show RUN --judgment tone --raw shows one"
    assert told.line == f"tone: all 12 runs so far are unscored({reason}), {ADVICE[reason]}; {show}"
    named = told._replace(example="r-7", said="at $.done: 1 is no verdict")
    assert named.line.endswith("spotcheck show r-7 --judgment tone --raw shows one (at $.done: 1 is no verdict)")


def test_a_few_that_ended_for_another_reason_hide_it_not() -> None:
    told = unread("tone", 0, {"refusal": 1, "parse": 500, "truncated": 20})
    assert told is not None
    start = f"tone: all 521 runs so far have no score, 500 of them are unscored(parse), {ADVICE['parse']}; "
    assert told.line.startswith(start)


@pytest.mark.parametrize(
    ("scored", "unscored"),
    [
        (0, {}),
        (0, {"parse": ENOUGH - 1}),
        (0, {"parse": ENOUGH - 1, "refusal": 1}),
        (1, {"parse": 500}),
        (0, {"parse": 500, "refusal": 500}),
        (0, {"missing:run.steps": 500}),
    ],
)
def test_what_may_be_chance_or_a_runs_own_is_not_told(scored: int, unscored: dict[str, int]) -> None:
    assert unread("tone", scored, unscored) is None
