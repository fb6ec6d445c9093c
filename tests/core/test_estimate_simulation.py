"""Simulated weeks and months with a known truth: the intervals cover it, and nothing but quality moves the series."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from worker.core.sampling import threshold
from worker.core.stats.intervals import interval
from worker.core.stats.mix import mix_shares
from worker.core.stats.nightly import Floats, nightly
from worker.core.stats.weekly import weekly
from worker.records import Cell, Estimate

MONDAY = date(2026, 11, 16)


class Kind(NamedTuple):
    """The traffic of one task type and flag, and how it is sampled."""

    task_type: str
    flagged: bool
    weekday_runs: float
    weekend_runs: float
    weekday_quality: float
    weekend_quality: float
    rate: float
    weekend_rate: float
    graded: bool = False
    floor: int = 3


class Night(NamedTuple):
    """One simulated night: the cells, and every run's value."""

    cells: list[Cell]
    values: dict[tuple[str, bool], Floats]
    """All runs of the population by stratum."""
    seen: dict[tuple[str, bool], Floats]
    """The scored runs' values."""


MIXED = (
    Kind("support", False, 300, 60, 0.92, 0.80, 0.05, 0.05),
    Kind("support", True, 40, 10, 0.55, 0.40, 0.25, 0.25),
    Kind("refund", False, 60, 6, 0.90, 0.50, 0.10, 0.10),
    Kind("refund", True, 6, 2, 0.40, 0.30, 0.25, 0.25),
    Kind("research", False, 25, 4, 0.80, 0.75, 0.05, 0.30, graded=True),
    Kind("research", True, 5, 1, 0.50, 0.45, 0.25, 0.50, graded=True),
    Kind("extract", False, 150, 150, 0.97, 0.97, 0.05, 0.02),
    Kind("extract", True, 10, 10, 0.70, 0.70, 0.25, 0.10),
)


def simulate_night(rng: np.random.Generator, night: date, kinds: Sequence[Kind], budget: float | None = None) -> Night:
    """Draw and score one night; a budget cuts in the order u = key / threshold, at the first run that does not fit."""
    weekend = night.weekday() >= 5
    values, keys, limits = {}, {}, {}
    for kind in kinds:
        place = kind.task_type, kind.flagged
        size = rng.poisson(kind.weekend_runs if weekend else kind.weekday_runs)
        quality = kind.weekend_quality if weekend else kind.weekday_quality
        if kind.graded:
            values[place] = rng.beta(6 * quality, 6 * (1 - quality), size)
        else:
            values[place] = (rng.random(size) < quality).astype(float)
        keys[place] = rng.random(size)
        rate = kind.weekend_rate if weekend else kind.rate
        limits[place] = threshold(np.sort(keys[place])[: kind.floor + 1].tolist(), size, rate, kind.floor).value
    urgency = {place: keys[place] / limits[place] for place in keys}
    cut = _budget_cut(rng, np.concatenate([u[u < 1] for u in urgency.values()]), budget)
    cells, seen = [], {}
    for place, u in urgency.items():
        scores = values[place][u < cut]
        seen[place] = scores
        sampled = int((u < 1).sum())
        sums = float(scores.sum()), float((scores**2).sum())
        if u.size:
            cells.append(Cell(night, *place, "bot", "1", int(u.size), sampled, int(scores.size), *sums))
    return Night(cells, values, seen)


def _budget_cut(rng: np.random.Generator, urgency: Floats, budget: float | None) -> float:
    """The u from which on nothing is scored."""
    if budget is None or not urgency.size:
        return 1.0
    ordered = np.sort(urgency)
    spent = np.cumsum(rng.lognormal(0.0, 0.5, ordered.size))
    over = np.flatnonzero(spent > budget)
    return float(ordered[over[0]]) if over.size else 1.0


class Result(NamedTuple):
    """One week's estimate of a stream beside the truth."""

    estimate: Estimate
    truth: float

    @property
    def covered(self) -> bool:
        low, high = self.estimate.low, self.estimate.high
        return low is not None and high is not None and low <= self.truth <= high

    @property
    def error(self) -> float:
        return (self.estimate.mean or 0.0) - self.truth


def simulate_week(rng: np.random.Generator, kinds: Sequence[Kind], budget: float | None) -> list[Night]:
    """Seven nights; the budget of a weekend night is half."""
    days = [MONDAY + timedelta(days=day) for day in range(7)]
    return [
        simulate_night(rng, day, kinds, None if budget is None else budget / (1 + (day.weekday() >= 5))) for day in days
    ]


def pooled(cells: Sequence[Cell]) -> Estimate:
    """What not to do: the scores of the week in one heap."""
    n, s = sum(cell.scored for cell in cells), sum(cell.s for cell in cells)
    return Estimate(s / n, *interval(s / n, n), n, n)


def simulate_weeks(
    seed: int, kinds: Sequence[Kind], budgets: Sequence[float | None], weeks: int
) -> dict[str, list[Result]]:
    """Results by task type, of the overall line, of the standardised line, and of the naive heap."""
    rng = np.random.default_rng(seed)
    shares = {"support": 0.4, "refund": 0.3, "research": 0.2, "extract": 0.1}
    results: dict[str, list[Result]] = {name: [] for name in (*shares, "overall", "standardised", "pooled")}
    for number in range(weeks):
        nights = simulate_week(rng, kinds, budgets[number % len(budgets)])
        cells = [cell for night in nights for cell in night.cells]
        true = {
            task: np.concatenate([runs for night in nights for key, runs in night.values.items() if key[0] == task])
            for task in shares
        }
        for task, values in true.items():
            results[task].append(Result(weekly([cell for cell in cells if cell.task_type == task]), values.mean()))
        overall = float(np.concatenate(list(true.values())).mean())
        results["overall"].append(Result(weekly(cells), overall))
        fixed = sum(shares[task] * values.mean() for task, values in true.items())
        results["standardised"].append(Result(weekly(cells, shares=shares), float(fixed)))
        results["pooled"].append(Result(pooled(cells), overall))
    return results


@pytest.fixture(scope="module")
def full_weeks() -> dict[str, list[Result]]:
    return simulate_weeks(1, MIXED, [None], 420)


@pytest.fixture(scope="module")
def cut_weeks() -> dict[str, list[Result]]:
    """Budgets of about two thirds, a half and a third of what was drawn on a weekday."""
    return simulate_weeks(2, MIXED, [40.0, 30.0, 20.0], 420)


def _is_of(agent: str, cell: Cell) -> bool:
    return cell.agent == agent


def coverage(results: Sequence[Result], least: int = 20) -> float:
    return float(np.mean([result.covered for result in results if result.estimate.n >= least]))


def bias_in_errors(results: Sequence[Result]) -> float:
    """The mean error in its own standard errors."""
    errors = np.array([result.error for result in results])
    return float(errors.mean() / (errors.std() / np.sqrt(errors.size)))


STREAMS = ("support", "refund", "research", "extract", "overall", "standardised")


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("weeks", ["full_weeks", "cut_weeks"])
def test_weekly_intervals_cover_the_truth(weeks: str, stream: str, request: pytest.FixtureRequest) -> None:
    results = request.getfixturevalue(weeks)[stream]
    assert sum(result.estimate.n >= 20 for result in results) >= 200
    assert coverage(results) >= 0.93


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("weeks", ["full_weeks", "cut_weeks"])
def test_weekly_means_are_unbiased(weeks: str, stream: str, request: pytest.FixtureRequest) -> None:
    results = request.getfixturevalue(weeks)[stream]
    assert abs(bias_in_errors(results)) < 3
    assert abs(np.mean([result.error for result in results])) < 0.008
    if stream in {"overall", "standardised", "support"}:
        assert abs(np.mean([result.error for result in results])) < 0.005


@pytest.mark.parametrize("weeks", ["full_weeks", "cut_weeks"])
def test_a_week_pooled_in_one_heap_fails_the_same_checks(weeks: str, request: pytest.FixtureRequest) -> None:
    results = request.getfixturevalue(weeks)["pooled"]
    assert coverage(results) < 0.5
    assert bias_in_errors(results) < -10


@pytest.mark.parametrize("weeks", ["full_weeks", "cut_weeks"])
def test_intervals_are_not_bought_with_width(weeks: str, request: pytest.FixtureRequest) -> None:
    for stream in ("overall", "standardised", "support"):
        results = request.getfixturevalue(weeks)[stream]
        halves = [(result.estimate.high or 0) - (result.estimate.low or 0) for result in results]
        errors = [result.error for result in results]
        assert np.mean(halves) / 2 < 1.96 * np.std(errors) * 1.25


def test_few_scored_runs_still_cover() -> None:
    results = simulate_weeks(3, MIXED, [12.0], 300)
    for stream in ("support", "refund", "research", "extract", "overall"):
        assert coverage(results[stream], least=1) >= 0.93


def test_many_task_types_of_a_few_runs_each_cover_together() -> None:
    kinds = [
        Kind(f"t{number}", flagged, 3 if flagged else 20, 1 if flagged else 4, quality, quality, 0.03, 0.03, floor=1)
        for number in range(12)
        for flagged, quality in ((False, 0.95), (True, 0.6))
    ]
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(300):
        nights = simulate_week(rng, kinds, None)
        truth = float(np.concatenate([runs for night in nights for runs in night.values.values()]).mean())
        covered.append(Result(weekly([cell for night in nights for cell in night.cells]), truth).covered)
    assert np.mean(covered) >= 0.90  # 24 strata of about seven: nominal .95, measured .93


def test_weekday_and_weekend_rates_are_not_pooled() -> None:
    """METHODS §2: 60 weekday runs at .90 and 6 weekend runs at .50, the weekend scored whole."""
    kinds = (Kind("refund", False, 60, 6, 0.90, 0.50, 0.05, 1.0, floor=1),)
    rng = np.random.default_rng(5)
    ours, heap = [], []
    for _ in range(600):
        nights = simulate_week(rng, kinds, None)
        cells = [cell for night in nights for cell in night.cells]
        truth = float(np.concatenate([runs for night in nights for runs in night.values.values()]).mean())
        ours.append(Result(weekly(cells), truth))
        heap.append(Result(pooled(cells), truth))
    assert abs(bias_in_errors(ours)) < 3
    assert coverage(ours, least=1) >= 0.93
    assert np.mean([result.error for result in heap]) < -0.08
    assert coverage(heap, least=1) < 0.9


def test_one_agent_of_a_shared_stratum_is_estimated_without_bias() -> None:
    rng = np.random.default_rng(6)
    results: dict[str, list[Result]] = {"good": [], "bad": []}
    for _ in range(400):
        cells: list[Cell] = []
        values: dict[str, list[Floats]] = {"good": [], "bad": []}
        for day in range(7):
            rates = ((False, 0.05 if day < 3 else 0.4), (True, 0.25))
            for flagged, rate in rates:
                size = rng.poisson(15 if flagged else 150 if day < 5 else 15)
                owner = np.where(rng.random(size) < 0.3, "good", "bad")
                quality = (0.5 if flagged else 0.9) + np.where(owner == "good", 0.06, -0.06)
                passed = (rng.random(size) < quality).astype(float)
                keys = rng.random(size)
                drawn = keys < threshold(np.sort(keys)[:4].tolist(), size, rate, 3).value
                for agent, theirs in values.items():
                    mine = owner == agent
                    theirs.append(passed[mine])
                    n, s = int((mine & drawn).sum()), float(passed[mine & drawn].sum())
                    night = MONDAY + timedelta(days=day)
                    cells.append(Cell(night, "support", flagged, agent, "1", int(mine.sum()), n, n, s, s))
        for agent, theirs in values.items():
            estimate = weekly(cells, keep=partial(_is_of, agent))
            results[agent].append(Result(estimate, float(np.concatenate(theirs).mean())))
    for agent in results:
        assert abs(bias_in_errors(results[agent])) < 3
        assert coverage(results[agent]) >= 0.93


@pytest.mark.parametrize(("n", "least"), [(5, 0.90), (8, 0.90), (10, 0.90), (20, 0.92), (50, 0.92), (200, 0.92)])
def test_worst_coverage_of_a_simple_random_sample(n: int, least: float) -> None:
    """METHODS §2, on a fine grid: plain Wilson dips to .85 at n = 5 between the grid points usually looked at."""
    estimates = [weekly([Cell(MONDAY, "t", False, "", "", 10**7, n, n, float(k), float(k))]) for k in range(n + 1)]
    rates = np.arange(0.02, 0.9801, 0.002)
    inside = np.array([[(e.low or 0) <= rate <= (e.high or 0) for e in estimates] for rate in rates])
    chances = binom.pmf(np.arange(n + 1)[None, :], n, rates[:, None])
    assert (chances * inside).sum(axis=1).min() >= least


def months(
    seed: int, kinds: Callable[[int], Sequence[Kind]], budget: Mapping[int, float], reps: int
) -> NDArray[np.float64]:
    """Weekly means of a series minus its first four weeks, (rep, 3, week).

    The series: ours, ours without the unscored strata (so that nothing stands in for them), and raw sums.
    """
    rng = np.random.default_rng(seed)
    days = [MONDAY + timedelta(days=day) for day in range(63)]
    shifts = []
    for _ in range(reps):
        cells: list[Cell] = []
        for index, day in enumerate(days):
            week = index // 7 + 1
            limit = budget.get(week)
            share = 1 if day.weekday() < 5 else 3
            cells += simulate_night(rng, day, kinds(week), None if limit is None else limit / share).cells
        ours = nightly(cells, nights=days)
        seen = nightly([cell for cell in cells if cell.scored], nights=days)
        raw_n, raw_s = np.zeros(63), np.zeros(63)
        for cell in cells:
            raw_n[(cell.night - MONDAY).days] += cell.scored
            raw_s[(cell.night - MONDAY).days] += cell.s
        shifts.append([_shift(ours.n, ours.s), _shift(seen.n, seen.s), _shift(raw_n, raw_s)])
    return np.array(shifts)


def _shift(n: Floats, s: Floats) -> Floats:
    by_week = s.reshape(-1, 7).sum(axis=1) / np.maximum(n.reshape(-1, 7).sum(axis=1), 1e-9)
    shift: Floats = by_week - s[:28].sum() / n[:28].sum()
    return shift


def in_noise(shifts: Floats) -> NDArray[np.float64]:
    """Mean shifts in their own standard errors."""
    errors: Floats = shifts.mean(axis=0) / (shifts.std(axis=0) / np.sqrt(len(shifts)))
    return errors


def one_task(rate: float, flagged_rate: float, floor: int, weekend_drop: float = 0.0, size: float = 1) -> list[Kind]:
    quality, flagged_quality = 0.9 - weekend_drop, 0.4 - weekend_drop
    return [
        Kind("support", False, 120 * size, 12 * size, 0.9, quality, rate, rate, floor=floor),
        Kind("support", True, 16 * size, 4 * size, 0.4, flagged_quality, flagged_rate, flagged_rate, floor=floor),
    ]


@pytest.mark.parametrize("floor", [3, 0])
def test_nothing_but_quality_moves_the_nightly_series(floor: int) -> None:
    """The flagged rate doubles in week 6, a budget cuts week 7 to about a third, weekends are quiet."""
    shifts = months(8, lambda week: one_task(0.05, 0.5 if week == 6 else 0.25, floor), budget={7: 5.0}, reps=100)
    ours, raw = shifts[:, 0, 4:], shifts[:, 2, 4:]
    assert np.abs(in_noise(ours)).max() < 3.5
    assert np.abs(ours.mean(axis=0)).max() < 0.03
    assert raw.mean(axis=0)[1] < -0.05  # the doubled flagged rate, in raw sums


def test_nights_that_lack_a_stratum_do_not_move_the_series() -> None:
    """Few runs, low rates and no floor: most nights lack the scores of one stratum or the other."""
    shifts = months(
        12, lambda week: one_task(0.06, 0.5 if week == 6 else 0.25, 0, size=0.25), budget={7: 1.5}, reps=250
    )
    ours, seen = shifts[:, 0, 4:], shifts[:, 1, 4:]
    assert np.abs(in_noise(ours)).max() < 3.5
    assert np.abs(ours.mean(axis=0)).max() < 0.03
    assert in_noise(seen).min() < -4  # without the means that stand in, the same nights look worse
    assert seen.mean(axis=0).min() < -0.05


def test_a_tenth_of_the_rate_does_not_give_the_weekends_more_say() -> None:
    shifts = months(
        9, lambda week: one_task(0.5 if week < 6 else 0.05, 0.5 if week < 6 else 0.25, 3, 0.1), budget={}, reps=80
    )
    ours, raw = shifts[:, 0, 5:].mean(axis=1), shifts[:, 2, 5:].mean(axis=1)
    assert abs(ours.mean()) < 0.015
    assert raw.mean() < -0.05


def test_a_drop_of_quality_is_seen_in_full() -> None:
    def kinds(week: int) -> list[Kind]:
        drop = 0.1 if week >= 6 else 0.0
        return [
            kind._replace(weekday_quality=kind.weekday_quality - drop, weekend_quality=kind.weekend_quality - drop)
            for kind in one_task(0.05, 0.25, 3)
        ]

    ours = months(10, kinds, budget={7: 8.0}, reps=60)[:, 0]
    assert -0.12 < ours[:, 5:].mean() < -0.08


def test_only_other_traffic_does_not_move_the_standardised_series() -> None:
    rng = np.random.default_rng(11)
    days = [MONDAY + timedelta(days=day) for day in range(56)]
    shifts = []
    for _ in range(40):
        cells: list[Cell] = []
        for index, day in enumerate(days):
            easy, hard = (100, 40) if index < 42 else (30, 120)
            kinds = [
                Kind("easy", False, easy, easy / 8, 0.95, 0.95, 0.1, 0.1),
                Kind("easy", True, easy / 10, 1, 0.6, 0.6, 0.25, 0.25),
                Kind("hard", False, hard, 0, 0.6, 0.6, 0.1, 0.1),
                Kind("hard", True, hard / 10, 0, 0.3, 0.3, 0.25, 0.25),
            ]
            cells += simulate_night(rng, day, kinds).cells
        shares = mix_shares(cells, set(days[:28]))
        pair = []
        for series in (nightly(cells, nights=days, shares=shares), nightly(cells, nights=days)):
            late, early = (series.s[part].sum() / series.n[part].sum() for part in (slice(42, 56), slice(28)))
            pair.append(late - early)
        shifts.append(pair)
    fixed, raw = np.array(shifts).T
    assert abs(fixed.mean()) < 3.5 * fixed.std() / np.sqrt(fixed.size)
    assert raw.mean() < -0.12
