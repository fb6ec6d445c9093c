"""Runs that stop arriving are seen soon; weekends, holidays and rare work are no silence."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.drift.silence import Silence, silence

MONDAY = date(2026, 8, 31)
Days = Callable[[int], int]


def made(nights: int, runs: Days) -> dict[date, int]:
    return {MONDAY + timedelta(days=day): runs(day) for day in range(nights)}


def told_after(counts: dict[date, int], most: int = 40) -> int | None:
    """Silent nights until it is told; None where it is not within so many."""
    last = max(counts)
    for nights in range(1, most + 1):
        if silence(counts, last + timedelta(days=nights)):
            return nights
    return None


@pytest.mark.parametrize(
    ("runs", "nights"),
    [
        (lambda day: 120, 1),
        (lambda day: 120 if day % 7 < 5 else 40, 1),
        (lambda day: 20, 2),  # 20 + 20 runs that even the quietest nights would have brought
        (lambda day: 3, 3),  # three nights with 9 expected
        (lambda day: 1, 8),
        (lambda day: 1 if day % 3 == 0 else 0, 10),
        (lambda day: 60 if day % 7 < 5 else 0, 3),  # 55 nights end on a Sunday: Monday, Tuesday, Wednesday
        (lambda day: 1 if day in (0, 50) else 0, None),
    ],
)
def test_a_dead_exporter_is_told_as_soon_as_its_past_allows(runs: Days, nights: int | None) -> None:
    counts = made(56, runs)
    last = max(day for day, count in counts.items() if count)
    counts = {day: count for day, count in counts.items() if day <= last}
    before = (max(made(56, runs)) - last).days
    found = told_after(counts)
    assert found == (None if nights is None else nights + before if runs(55) == 0 and runs(4) == 60 else nights)


def test_what_is_told_names_the_first_night_and_what_was_usual() -> None:
    counts = made(56, lambda day: 100 + day % 7)
    assert silence(counts, MONDAY + timedelta(days=57)) == Silence(MONDAY + timedelta(days=56), 2, 100.0)


def test_a_weekend_that_was_never_seen_is_no_silence() -> None:
    """Begun on a Monday, exported on five days; the first weekend may be free."""
    counts = made(5, lambda day: 50)
    assert silence(counts, MONDAY + timedelta(days=5)) is None
    assert silence(counts, MONDAY + timedelta(days=6)) is None
    assert told_after(counts) == 5  # Monday, Tuesday and Wednesday after it


@pytest.mark.parametrize("nights", [0, 1, 2])
def test_of_two_nights_nothing_is_learned(nights: int) -> None:
    assert told_after(made(nights, lambda day: 500) or {MONDAY: 0}) is None


def constant_project(seed: int) -> dict[date, int]:
    """Half a year of one task type: a mean of its own, weekends and ten holidays, clustered counts."""
    chance = np.random.default_rng(seed)
    mean = float(np.exp(chance.uniform(np.log(0.3), np.log(800))))
    weekend = float(chance.choice([0.0, 0.1, 0.5, 1.0]))
    on_holidays = max(0.1, weekend) if weekend else 0.0
    holidays = set(chance.integers(14, 182, 8).tolist()) | {120, 121}
    counts = {}
    for day in range(182):
        share = weekend if day % 7 >= 5 else 1.0
        share = min(share, on_holidays) if day in holidays else share
        rate = mean * share * chance.gamma(8, 1 / 8)  # nights differ by a third beyond chance
        counts[MONDAY + timedelta(days=day)] = int(chance.poisson(rate))
    return counts


def test_forty_constant_projects_with_weekends_and_holidays_raise_nothing_or_nearly() -> None:
    """20 years of nights; what is told wrongly would be one alert a project, so it must be very rare."""
    wrong = {}
    for seed in range(40):
        counts = constant_project(seed)
        told = {found.since for night in counts if (found := silence(counts, night))}
        if told:
            wrong[seed] = told
    assert sum(map(len, wrong.values())) <= 1, wrong


@given(
    st.lists(st.integers(0, 300), min_size=0, max_size=80),
    st.integers(0, 30),
)
def test_a_silence_is_of_nights_without_runs_and_goes_on_until_runs_come(runs: list[int], silent: int) -> None:
    counts = {MONDAY + timedelta(days=day): count for day, count in enumerate([*runs, *[0] * silent])}
    night = MONDAY + timedelta(days=len(counts))
    found = silence(counts, night)
    if found is not None:
        assert all(counts.get(found.since + timedelta(days=day), 0) == 0 for day in range(found.nights))
        assert counts[found.since - timedelta(days=1)] > 0
        later = silence(counts, night + timedelta(days=1))
        assert later is not None
        assert later.since == found.since, "it does not end by itself"
        assert silence({**counts, night: 1}, night) is None
