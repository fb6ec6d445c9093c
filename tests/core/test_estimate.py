"""Weekly estimates and nightly series by hand-made cells: weights, collapsing, standardising, and the edges."""

import math
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, poisson

from worker.core.stats.intervals import interval, wilson
from worker.core.stats.mix import mix_explains, mix_shares
from worker.core.stats.nightly import nightly
from worker.core.stats.weekly import weekly
from worker.records import Cell, Estimate

MONDAY = date(2026, 11, 16)
NOTHING = Estimate(None, None, None, 0, 0.0)


def cell(
    day: int = 0, task: str = "t", flagged: bool = False, *, runs: int, n: int, s: float, agent: str = "a"
) -> Cell:
    """A cell of pass/fail scores."""
    return Cell(MONDAY + timedelta(days=day), task, flagged, agent, "1", runs, n, n, s, s)


@st.composite
def any_cell(draw: st.DrawFn) -> Cell:
    n = draw(st.integers(0, 6))
    values = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    return Cell(
        MONDAY + timedelta(days=draw(st.integers(0, 20))),
        draw(st.sampled_from("xyz")),
        draw(st.booleans()),
        draw(st.sampled_from("ab")),
        "1",
        n + draw(st.integers(0, 30)),
        n + draw(st.integers(0, 3)),
        n,
        math.fsum(values),
        math.fsum(value**2 for value in values),
    )


any_cells = st.lists(any_cell(), max_size=12)
any_shares = st.none() | st.dictionaries(st.sampled_from("xyzw"), st.floats(0, 1))


@pytest.mark.parametrize("n", [1, 5, 20, 400])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_is_the_textbook_interval(n: int, level: float) -> None:
    for passed in range(0, n + 1, max(1, n // 7)):
        expected = binomtest(passed, n).proportion_ci(level, method="wilson")
        assert wilson(passed / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_at_the_ends_of_information() -> None:
    assert wilson(0.3, 0) == (0.0, 1.0)
    assert wilson(0.3, math.inf) == (0.3, 0.3)


@given(st.floats(0, 1), st.floats(0, 1e9), st.floats(0.5, 0.999))
def test_intervals_contain_the_mean_and_stay_within_0_and_1(mean: float, n_eff: float, level: float) -> None:
    for low, high in (wilson(mean, n_eff, level), interval(mean, n_eff, level)):
        assert 0 <= low <= mean <= high <= 1


@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_the_interval_is_never_narrower_than_wilsons_and_mirrors(mean: float, n_eff: float) -> None:
    low, high = interval(mean, n_eff)
    assert low <= wilson(mean, n_eff)[0]
    assert high >= wilson(mean, n_eff)[1]
    assert interval(1 - mean, n_eff) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_a_rare_failure_is_bounded_as_a_count_is() -> None:
    """The limit is at most the Poisson limit at 5 % on one side, and close to it."""
    for failures in (1, 2, 3):
        _, high = interval(1 - failures / 1000, 1000)
        exact = next(rate for rate in np.arange(0, 9, 0.0005) if poisson.sf(failures - 1, rate) >= 0.05)
        assert exact - 0.02 <= (1 - high) * 1000 <= exact + 0.01
    assert interval(0.5, 100) == wilson(0.5, 100)


def test_nothing_gives_none() -> None:
    assert weekly([]) == NOTHING
    assert weekly([cell(runs=50, n=0, s=0)]) == NOTHING
    assert weekly([cell(runs=50, n=5, s=5)], shares={"other": 1.0}) == NOTHING
    assert weekly([cell(runs=50, n=5, s=5)], shares={}) == NOTHING
    assert weekly([cell(runs=50, n=5, s=5)], keep=lambda part: part.agent == "b") == NOTHING


def test_one_stratum_is_the_plain_mean_with_its_finite_population() -> None:
    scarce = weekly([cell(runs=10**6, n=20, s=18)])
    assert scarce.mean == pytest.approx(0.9)
    assert scarce.n == 20
    assert 18 < scarce.n_eff < 20
    assert weekly([cell(runs=40, n=20, s=18)]).n_eff == pytest.approx(2 * scarce.n_eff, rel=1e-3)
    assert weekly([cell(runs=10**6, n=20, s=20)]).n_eff == pytest.approx(20, rel=1e-3)


def test_every_night_and_flag_counts_by_its_runs() -> None:
    week = [
        cell(0, runs=100, n=4, s=4),
        cell(1, runs=300, n=100, s=50),
        cell(0, flagged=True, runs=20, n=10, s=2),
        cell(1, flagged=True, runs=80, n=8, s=4),
    ]
    expected = (100 * 1.0 + 300 * 0.5 + 20 * 0.2 + 80 * 0.5) / 500
    assert weekly(week).mean == pytest.approx(expected)
    assert weekly(week[::-1]) == pytest.approx(weekly(week))


def test_the_pooled_week_of_methods() -> None:
    """60 weekday runs at .90 and 6 weekend runs at .50, the weekend scored whole: .885, not the pooled .784."""
    weekdays = [cell(day, runs=60, n=3, s=2.7) for day in range(5)]
    weekend = [cell(day, runs=6, n=6, s=3) for day in (5, 6)]
    expected = (300 * 0.9 + 12 * 0.5) / 312
    assert weekly(weekdays + weekend).mean == pytest.approx(expected)
    assert expected == pytest.approx(0.885, abs=0.001)


def test_cells_of_several_agents_share_the_weight_of_their_stratum() -> None:
    shared = [cell(runs=70, n=3, s=3, agent="a"), cell(runs=30, n=7, s=0, agent="b")]
    assert weekly(shared).mean == pytest.approx(0.3)  # each of the ten stands for ten runs


def test_a_night_without_scores_is_stood_for_by_the_other_nights_of_its_stratum() -> None:
    week = [
        cell(0, runs=100, n=10, s=9),
        cell(0, flagged=True, runs=10, n=5, s=1),
        cell(1, runs=100, n=10, s=9),
        cell(1, flagged=True, runs=30, n=0, s=0),
    ]
    assert weekly(week).mean == pytest.approx((200 * 0.9 + 40 * 0.2) / 240)


def test_a_flag_without_scores_is_stood_for_by_its_task_type() -> None:
    week = [
        cell(runs=100, n=10, s=9),
        cell(flagged=True, runs=50, n=0, s=0),
        cell(task="u", runs=150, n=10, s=5),
    ]
    assert weekly(week).mean == pytest.approx((150 * 0.9 + 150 * 0.5) / 300)


def test_a_task_type_without_scores_is_left_out() -> None:
    week = [cell(runs=100, n=10, s=9), cell(task="u", runs=900, n=0, s=0)]
    assert weekly(week) == weekly(week[:1])


def test_shares_fix_the_mix() -> None:
    week = [cell(task="t", runs=100, n=50, s=45), cell(task="u", runs=900, n=50, s=25)]
    assert weekly(week, shares={"t": 0.75, "u": 0.25}).mean == pytest.approx(0.75 * 0.9 + 0.25 * 0.5)
    assert weekly(week, shares={"t": 3.0, "u": 1.0}).mean == pytest.approx(0.8)
    assert weekly(week, shares={"t": 0.5, "gone": 0.5}) == weekly(week[:1])
    assert weekly(week, shares=mix_shares(week)) == pytest.approx(weekly(week))


def test_one_agent_counts_by_its_own_runs_and_its_whole_strata_weights() -> None:
    week = [
        cell(0, runs=60, n=6, s=6, agent="a"),
        cell(0, runs=40, n=4, s=0, agent="b"),
        cell(0, flagged=True, runs=10, n=5, s=1, agent="a"),
        cell(0, flagged=True, runs=10, n=5, s=5, agent="b"),
    ]
    estimate = weekly(week, keep=lambda part: part.agent == "a")
    assert estimate.mean == pytest.approx((60 * 1.0 + 10 * 0.2) / 70)
    assert estimate.n == 11


def test_an_agents_nights_keep_the_weights_of_their_strata() -> None:
    """Two scored runs on a night sampled at 1 in 10 weigh ten times one on a night scored whole."""
    week = [
        cell(0, runs=50, n=1, s=1, agent="a"),
        cell(0, runs=50, n=9, s=0, agent="b"),
        cell(1, runs=10, n=10, s=0, agent="a"),
    ]
    assert weekly(week, keep=lambda part: part.agent == "a").mean == pytest.approx(10 / 20)


def test_a_census_is_narrow_but_has_a_width() -> None:
    whole = weekly([cell(runs=30, n=30, s=24)])
    assert whole.mean == pytest.approx(0.8)
    assert (whole.low or 0) < 0.8 < (whole.high or 0)
    assert (whole.high or 0) - (whole.low or 0) < 0.04
    perfect = weekly([cell(runs=30, n=30, s=30)])
    assert perfect.mean == perfect.high == 1.0
    assert 0.99 < (perfect.low or 0) < 1.0


def test_a_stratum_whose_few_scored_runs_all_passed_keeps_its_width() -> None:
    """94 % of the week rest on 36 passes: m(1 − m) over the estimated variance would claim thousands of runs."""
    week = [cell(runs=1000, n=36, s=36), cell(flagged=True, runs=60, n=30, s=20)]
    estimate = weekly(week)
    assert estimate.n_eff < 45
    assert (estimate.low or 1) < 0.92


def test_graded_scores_are_more_precise_than_passes() -> None:
    graded = Cell(MONDAY, "t", False, "a", "1", 10**6, 50, 50, 40.0, 32.5)  # variance .01
    assert weekly([graded]).n_eff > 5 * weekly([cell(runs=10**6, n=50, s=40)]).n_eff


def test_dispersion_widens_and_never_narrows() -> None:
    week = [cell(runs=1000, n=40, s=30)]
    plain, clustered = weekly(week), weekly(week, dispersion=2.0)
    assert clustered.n_eff == pytest.approx(plain.n_eff / 2)
    assert (clustered.low or 0) < (plain.low or 0)
    assert weekly(week, dispersion=0.3) == plain


def test_a_higher_level_is_wider() -> None:
    week = [cell(runs=1000, n=40, s=30), cell(flagged=True, runs=100, n=10, s=3)]
    assert (weekly(week, level=0.99).low or 1) < (weekly(week, level=0.8).low or 0)


def test_more_scored_than_known_runs_does_not_break() -> None:
    assert weekly([cell(runs=3, n=5, s=5)]).mean == 1.0


def test_two_runs_of_very_unequal_weight_do_not_blow_up_the_width() -> None:
    week = [cell(0, runs=1000, n=1, s=1), cell(1, runs=2, n=2, s=0)]
    assert weekly(week).n_eff > 0.5


@given(any_cells, any_shares, st.sampled_from([None, "a"]), st.floats(0.1, 5))
def test_weekly_holds_for_any_cells(
    cells: list[Cell], shares: dict[str, float] | None, agent: str | None, dispersion: float
) -> None:
    found = weekly(
        cells, shares=shares, dispersion=dispersion, keep=None if agent is None else lambda part: part.agent == agent
    )
    if found.mean is None or found.low is None or found.high is None:
        assert found == NOTHING
        return
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert 0 < found.n_eff < math.inf
    assert 0 < found.n <= sum(cell.scored for cell in cells)


def test_no_cells_give_an_empty_series() -> None:
    nights, n, s, ss = nightly([])
    assert nights == ()
    assert n.size == s.size == ss.size == 0


def test_asked_nights_without_scores_are_zero() -> None:
    series = nightly([cell(1, runs=10, n=0, s=0)], nights=[MONDAY, MONDAY + timedelta(days=2)])
    assert len(series.nights) == 3
    assert not series.n.any()
    assert not series.s.any()


def test_the_calendar_has_no_gaps() -> None:
    series = nightly([cell(0, runs=10, n=5, s=4), cell(3, runs=10, n=5, s=4)])
    assert series.nights == tuple(MONDAY + timedelta(days=day) for day in range(4))
    assert series.n.tolist() == pytest.approx([5, 0, 0, 5])
    assert series.s.tolist() == pytest.approx([4, 0, 0, 4])


def test_equal_weights_give_the_plain_sums() -> None:
    graded = Cell(MONDAY, "t", False, "a", "1", 100, 12, 10, 7.5, 6.0)
    series = nightly([graded])
    assert [series.n[0], series.s[0], series.ss[0]] == pytest.approx([10, 7.5, 6.0])


def test_unequal_weights_give_kish_and_the_weighted_mean() -> None:
    series = nightly([cell(runs=90, n=9, s=9), cell(flagged=True, runs=10, n=10, s=5)])
    assert series.n[0] == pytest.approx((9 * 10 + 10 * 1) ** 2 / (9 * 10**2 + 10 * 1**2))
    assert series.s[0] / series.n[0] == pytest.approx(0.95)


def test_a_rate_changes_the_size_but_not_the_mean() -> None:
    usual = [cell(0, runs=90, n=9, s=9), cell(0, flagged=True, runs=10, n=2, s=1)]
    raised = [cell(1, runs=90, n=9, s=9), cell(1, flagged=True, runs=10, n=8, s=4)]
    series = nightly(usual + raised)
    assert series.s / series.n == pytest.approx([0.95, 0.95])


def test_a_night_whose_flagged_runs_were_all_cut_does_not_look_better() -> None:
    week = [
        part for day in range(6) for part in (cell(day, runs=80, n=8, s=8), cell(day, "t", True, runs=20, n=4, s=1))
    ]
    cut = [cell(6, runs=80, n=8, s=8), cell(6, "t", True, runs=20, n=0, s=0)]
    series = nightly(week + cut)
    assert series.s / series.n == pytest.approx([0.85] * 7)
    assert series.n[6] == pytest.approx(8)


def test_a_first_night_without_flagged_scores_takes_the_nights_after() -> None:
    first = [cell(0, runs=80, n=8, s=8), cell(0, "t", True, runs=20, n=0, s=0)]
    then = [cell(1, runs=80, n=8, s=8), cell(1, "t", True, runs=20, n=4, s=1)]
    series = nightly(first + then)
    assert series.s / series.n == pytest.approx([0.85, 0.85])


def test_the_mean_that_stands_in_follows_the_recent_past() -> None:
    long_ago = [cell(day, "t", True, runs=20, n=4, s=4) for day in range(100)]
    lately = [cell(day, "t", True, runs=20, n=4, s=0) for day in range(100, 200)]
    tonight = [cell(200, runs=20, n=4, s=4), cell(200, "t", True, runs=20, n=0, s=0)]
    series = nightly(long_ago + lately + tonight)
    assert series.s[200] / series.n[200] == pytest.approx(0.5, abs=0.02)


def test_later_nights_do_not_rewrite_earlier_ones() -> None:
    rng = np.random.default_rng(1)
    cells = [
        cell(day, "t", flagged, runs=20, n=n, s=int(rng.integers(0, n + 1)))
        for day in range(30)
        for flagged in (False, True)
        for n in [4 if day == 0 else int(rng.integers(0, 4))]
    ]
    whole, half = nightly(cells), nightly([cell for cell in cells if cell.night < MONDAY + timedelta(days=15)])
    assert whole.n[:15].tolist() == half.n.tolist()
    assert whole.s[:15].tolist() == half.s.tolist()


def test_a_quiet_night_sampled_up_to_the_floor_does_not_outweigh_its_traffic() -> None:
    weekdays = [cell(day, runs=100, n=5, s=5) for day in range(5)]
    weekend = [cell(day, runs=5, n=5, s=0) for day in (5, 6)]
    series = nightly(weekdays + weekend)
    assert series.n.tolist() == pytest.approx([5] * 5 + [1.5 * 0.05 * 5] * 2)
    assert series.s[5:].tolist() == [0, 0]


def test_a_task_type_that_rests_at_the_weekend_does_not_move_the_standardised_series() -> None:
    week = [
        part
        for day in range(7)
        for part in (
            cell(day, "easy", runs=100, n=10, s=9),
            *([cell(day, "hard", runs=100, n=10, s=5)] if day < 5 else []),
        )
    ]
    fixed = nightly(week, shares={"easy": 0.5, "hard": 0.5})
    assert fixed.s / fixed.n == pytest.approx([0.7] * 7)
    raw = nightly(week)
    assert (raw.s / raw.n)[5:] == pytest.approx([0.9, 0.9])


def test_task_types_absent_from_the_shares_are_left_out() -> None:
    week = [cell(0, "t", runs=100, n=10, s=9), cell(0, "new", runs=100, n=10, s=0)]
    series = nightly(week, shares={"t": 1.0})
    assert [series.n[0], series.s[0]] == pytest.approx([10, 9])
    assert nightly(week, shares={"other": 1.0}).n.tolist() == [0]


@given(any_cells, any_shares)
def test_nightly_holds_for_any_cells(cells: list[Cell], shares: dict[str, float] | None) -> None:
    nights, n, s, ss = nightly(cells, shares=shares)
    assert len(nights) == n.size == s.size == ss.size
    assert np.isfinite([n, s, ss]).all()
    assert (n >= 0).all()
    assert (s <= n).all()
    assert (ss <= s + 1e-9).all()
    scored = {cell.night: 0 for cell in cells}
    for cell in cells:
        scored[cell.night] += cell.scored
    assert all(size <= scored.get(night, 0) + 1e-9 for night, size in zip(nights, n, strict=True))


def test_mix_shares_sum_to_one_over_the_nights_asked_for() -> None:
    cells = [cell(0, "t", runs=30, n=1, s=1), cell(0, "u", runs=10, n=0, s=0), cell(1, "u", runs=60, n=0, s=0)]
    assert mix_shares(cells) == {"t": 0.3, "u": 0.7}
    assert mix_shares(cells, [MONDAY]) == {"t": 0.75, "u": 0.25}
    assert mix_shares([]) == {}


def test_mix_explains_what_vanishes_when_the_mix_is_fixed() -> None:
    found = mix_explains(0.9, 0.8, 0.9, 0.88)
    assert found is not None
    assert found == pytest.approx((-0.1, -0.08))
    assert mix_explains(None, 0.8, 0.9, 0.9) is None
