"""Promise 5 of the schedule: a week of nights with real processes, beat dead for three of them, two beats after.

The play is `bench/week.py`, which prints its figures: `python -m bench.week`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.week import NIGHTS, faults, rehearse

SPEED = 20_000
"""A day in four seconds. What is asserted holds at any speed, and on a machine of any."""


@pytest.mark.slow
@pytest.mark.parametrize("stack", [pytest.param("sqlite", marks=pytest.mark.long), "production"])
def test_every_night_of_a_week_is_drawn_once_whatever_becomes_of_beat(
    stack: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    urls: dict[str, str] = {}
    if stack == "production":
        fresh: dict[str, Callable[[], str]] = {
            name: request.getfixturevalue(name) for name in ("postgres_url", "redis_url")
        }
        urls = {"SPOTCHECK_DATABASE_URL": fresh["postgres_url"](), "SPOTCHECK_BROKER_URL": fresh["redis_url"]()}
    week = rehearse(stack, tmp_path, urls, SPEED)
    assert list(faults(week)) == []
    assert len({night.night for night in week.nights}) == NIGHTS
    assert week.ticks >= 2  # beat ticks; how often depends on the machine


def test_the_play_finds_fault_with_a_night_that_was_decided_twice_or_never(tmp_path: Path) -> None:
    from datetime import UTC, date, datetime, timedelta

    from bench.week import RUNS, Night, Week

    at = datetime(2026, 10, 20, 2, tzinfo=UTC)
    good = [
        Night(
            date(2026, 10, 18) + timedelta(days=n),
            at + timedelta(days=n),
            at + timedelta(days=n),
            4,
            4,
            RUNS,
            20,
            20,
            2 <= n < 5,
        )
        for n in range(NIGHTS)
    ]
    dead = [night.night for night in good[2:]]
    totals: dict[str, Any] = {"pending": 0, "ended": 2 * RUNS * NIGHTS, "scored": 40 * NIGHTS, "unscored": 0}
    week = Week("x", SPEED, good, dead, [], 9, {"scorers": [1], "reconciles": True, "totals": totals}, 1.0)
    assert list(faults(week)) == []

    def spoilt(**over: Any) -> Week:
        return week._replace(nights=[good[0], good[1]._replace(**over), *good[2:]])

    for one in (
        spoilt(decisions=8),
        spoilt(drawn_at=None),
        spoilt(drawn_at=at),
        spoilt(sampled=21),
        spoilt(population=RUNS - 1),
        week._replace(drawn_before_start=[date(2026, 10, 15)]),
        week._replace(undrawn_at_restart=dead[2:]),
        week._replace(status={"scorers": [1], "reconciles": False, "totals": totals}),
        week._replace(status={"scorers": [1], "reconciles": True, "totals": totals | {"pending": 1}}),
        week._replace(status={"scorers": [1], "reconciles": True, "totals": totals | {"scored": 1}}),
    ):
        assert list(faults(one)), one
