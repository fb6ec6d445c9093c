"""How far a budget's cut moves a mean: nothing to the first order, and a known bit to the second.

A job starts while the money left covers the most that it can cost, so the run whose cost ends the money is among those
scored, and it is a dear one more often than a cheap one. Where dear runs are worse, the mean of n scored runs is off by
cov(cost, score) / (mean cost x n). Leaving that run out would be unbiased (Haldane 1945, inverse sampling), but a night
with five scored runs would lose a fifth of what was paid for; the bit stays.
"""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

RUNS = 200


class Means(NamedTuple):
    """Of many cut nights: the mean score's distance from the truth, and its standard error."""

    bias: float
    error: float
    without_last: float
    """The same, leaving out the last run that was scored."""
    expected: float


def cut_nights(costs: NDArray[np.float64], scores: NDArray[np.float64], scored: int, nights: int) -> Means:
    """A budget for about so many runs, in random order."""
    rng = np.random.default_rng(1)
    most = costs.max()
    budget = scored * costs.mean() + most / 2
    means, rests, counts = [], [], []
    for _ in range(nights):
        order = rng.permutation(RUNS)
        spent = np.cumsum(costs[order])
        count = int(np.searchsorted(spent, budget - most, side="right")) + 1
        seen = scores[order][:count]
        means.append(seen.mean())
        rests.append(seen[: max(1, count - 1)].mean())
        counts.append(count)
    truth = scores.mean()
    expected = np.cov(scores, costs, bias=True)[0, 1] / (costs.mean() * np.mean(counts))
    return Means(np.mean(means) - truth, np.std(means) / np.sqrt(nights), np.mean(rests) - truth, expected)


@pytest.mark.parametrize("scored", [20, 40, 80])
def test_the_mean_of_a_cut_night_is_off_by_the_covariance_of_cost_and_score_over_the_runs_scored(scored: int) -> None:
    rng = np.random.default_rng(2)
    scores = (rng.random(RUNS) < 0.7).astype(float)
    costs = np.where(scores == 1, rng.lognormal(-0.3, 0.4, RUNS), rng.lognormal(0.7, 0.4, RUNS))  # 2.7 times as dear
    means = cut_nights(costs, scores, scored, 12_000)
    assert means.expected < -0.2 / scored
    assert means.bias == pytest.approx(means.expected, abs=4 * means.error)
    assert means.without_last == pytest.approx(0, abs=4 * means.error)


def test_where_costs_say_nothing_of_scores_a_cut_moves_nothing() -> None:
    rng = np.random.default_rng(3)
    scores, costs = (rng.random(RUNS) < 0.7).astype(float), rng.lognormal(0, 0.5, RUNS)
    costs -= scores * np.cov(scores, costs, bias=True)[0, 1] / scores.var()
    means = cut_nights(costs + 1, scores, 20, 12_000)
    assert means.bias == pytest.approx(0, abs=4 * means.error)
