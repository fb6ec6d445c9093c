"""Operational figures of all ended runs: error and abort rates, tool failures, cost and steps.

They are sums of a night or an hour by task type, which the drift scan compares with their own past. Cost and steps have
no scale 0..1; they are kept as histograms and scored by their rank among the past's values (`ridits`).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import orjson

Measure = Literal["errors", "aborts", "completed", "tool", "cost", "steps"]
Histogram = Mapping[int, int]
"""Runs by bucket."""

_GROWTH = math.log(1.05)
"""Buckets are 5 % wide: much finer than any change that raises an alert."""
ZERO_BUCKET = -100_000
"""The bucket of the value 0, which has no logarithm."""
_BUCKETS = 2_000
OTHER_TOOLS = "(other tools)"
_TOOLS_A_TASK = 20
"""Most tools with a stream of their own in a task type: names come from outside, and each stream takes a share of the
false alarms."""


class RunFigures(NamedTuple):
    """The operational facts of one ended run."""

    task_type: str
    status: str
    steps: int
    cost_usd: float | None
    tools: str | None
    """JSON by tool name: calls, failed calls; None without tool calls."""


class OperationalFigure(NamedTuple):
    """One operational figure of one task type over a period."""

    task_type: str
    measure: Measure
    subject: str
    """The tool; empty for all others."""
    n: int
    """Runs: all ended, those with a known cost, those that used the tool."""
    s: float
    """Runs with the property (errored, aborted, completed); for tools the sum of failed shares; 0 for cost, steps."""
    ss: float
    """Sum of the squares of what `s` sums."""
    total: float
    """US dollars, steps, tool calls; 0 for the rates."""
    histogram: Histogram | None
    """Cost and steps: runs by bucket."""


def bucket(value: float) -> int:
    """The bucket of a cost or a step count: 5 % wide, one for 0.

    Example:
        >>> bucket(0.0) == ZERO_BUCKET, bucket(0.0100), bucket(0.0104), bucket(0.0110), bucket(3)
        (True, -95, -94, -93, 22)
    """
    if not value > 0:
        return ZERO_BUCKET
    return min(max(math.floor(math.log(value) / _GROWTH), -_BUCKETS), _BUCKETS)


def lower_bound(key: int) -> float:
    """The smallest value of a bucket.

    Example:
        >>> round(lower_bound(bucket(0.05)), 3), lower_bound(ZERO_BUCKET)
        (0.049, 0.0)
    """
    return 0.0 if key == ZERO_BUCKET else math.exp(key * _GROWTH)


def sum_figures(runs: Iterable[RunFigures]) -> list[OperationalFigure]:
    """Sum runs to one figure for each task type and measure; tools beyond the twenty most used are summed together.

    Args:
        runs: Ended runs, in any order; read once.

    Returns:
        Sorted by task type, measure and subject; empty without runs. A task type without a known cost or without
        tool calls has no such figure.

    Example:
        >>> figures = sum_figures([RunFigures("faq", "errored", 3, 0.02, '{"search":[2,1]}')])
        >>> [(figure.measure, figure.subject, figure.n, figure.s, figure.total) for figure in figures][:2]
        [('aborts', '', 1, 0.0, 0.0), ('completed', '', 1, 0.0, 0.0)]
    """
    tally = FigureSums()
    for run in runs:
        tally.add(run)
    return tally.figures()


class FigureSums:
    """`sum_figures` for runs that are added one by one, in bounded memory."""

    def __init__(self) -> None:
        """Start without runs."""
        self.runs = 0
        self._by_task: dict[str, _Sums] = defaultdict(_Sums)

    def add(self, run: RunFigures) -> None:
        """Add a run to the sums."""
        self.runs += 1
        self._by_task[run.task_type].add(run)

    def figures(self) -> list[OperationalFigure]:
        """The figures of the runs added so far, sorted as `sum_figures` does."""
        result = [figure for task_type, sums in self._by_task.items() for figure in sums.figures(task_type)]
        return sorted(result, key=lambda row: (row.task_type, row.measure, row.subject))


class _Sums:
    def __init__(self) -> None:
        self.runs = 0
        self.by_status: dict[str, int] = defaultdict(int)
        self.steps: dict[int, int] = defaultdict(int)
        self.cost: dict[int, int] = defaultdict(int)
        self.total_steps = 0
        self.total_usd = 0.0
        self.tools: dict[str, list[float]] = {}

    def add(self, run: RunFigures) -> None:
        self.runs += 1
        self.by_status[run.status] += 1
        self.steps[bucket(run.steps)] += 1
        self.total_steps += run.steps
        if run.cost_usd is not None:
            self.cost[bucket(run.cost_usd)] += 1
            self.total_usd += run.cost_usd
        if run.tools is not None:
            for name, (calls, failed) in orjson.loads(run.tools).items():
                sums = self.tools.setdefault(name, [0, 0.0, 0.0, 0])
                share = failed / calls
                sums[0] += 1
                sums[1] += share
                sums[2] += share * share
                sums[3] += calls

    def figures(self, task_type: str) -> list[OperationalFigure]:
        measures: tuple[tuple[Measure, str], ...] = (
            ("errors", "errored"),
            ("aborts", "aborted"),
            ("completed", "completed"),
        )
        result = []
        for measure, status in measures:
            count = float(self.by_status[status])
            result.append(OperationalFigure(task_type, measure, "", self.runs, count, count, 0.0, None))
        result.append(
            OperationalFigure(task_type, "steps", "", self.runs, 0.0, 0.0, float(self.total_steps), dict(self.steps))
        )
        if self.cost:
            priced = sum(self.cost.values())
            result.append(OperationalFigure(task_type, "cost", "", priced, 0.0, 0.0, self.total_usd, dict(self.cost)))
        for name, (n, s, ss, calls) in self._most_used().items():
            result.append(OperationalFigure(task_type, "tool", name, int(n), s, ss, float(calls), None))
        return result

    def _most_used(self) -> dict[str, list[float]]:
        ordered = sorted(self.tools, key=lambda name: (-self.tools[name][0], name))
        kept = {name: self.tools[name] for name in ordered[:_TOOLS_A_TASK] if name != OTHER_TOOLS}
        rest = [self.tools[name] for name in ordered if name not in kept]
        if rest:
            kept[OTHER_TOOLS] = [sum(column) for column in zip(*rest, strict=True)]
        return kept


def merge_histograms(histograms: Iterable[Histogram]) -> dict[int, int]:
    """The sum of several histograms; empty for none."""
    merged: dict[int, int] = defaultdict(int)
    for histogram in histograms:
        for key, count in histogram.items():
            merged[key] += count
    return dict(merged)


def ridits(reference: Histogram) -> dict[int, float]:
    """The rank of each bucket among the reference's runs, 0..1: the share below it and half of those in it.

    With these scores the reference's mean is 0.5, and the mean of another night is the probability that a run of it
    costs more than a run of the reference (ties count half), whatever the distribution.

    Args:
        reference: Runs by bucket; empty gives an empty table.

    Returns:
        By bucket of the reference, ascending.

    Example:
        >>> ridits({1: 2, 5: 2})
        {1: 0.25, 5: 0.75}

    Source: Bross 1958, How to use ridit analysis; the mean is the Mann-Whitney statistic.
    """
    total = sum(reference.values())
    ranks, below = {}, 0
    for key in sorted(reference):
        ranks[key] = (below + reference[key] / 2) / total
        below += reference[key]
    return ranks


def rank_sums(histogram: Histogram, ranks: Mapping[int, float]) -> tuple[float, float]:
    """Sum and sum of squares of a night's ranks.

    Args:
        histogram: The night's runs by bucket.
        ranks: As `ridits` returns; a bucket that is missing has the share below it as its rank.

    Returns:
        Both 0.0 without runs.

    Example:
        >>> rank_sums({1: 1, 3: 1, 9: 1}, ridits({1: 2, 5: 2}))
        (1.75, 1.3125)
    """
    s = ss = 0.0
    if not ranks:
        return s, ss
    for key, count in histogram.items():
        rank = ranks.get(key)
        if rank is None:
            rank = _share_below(key, ranks)
        s += count * rank
        ss += count * rank * rank
    return s, ss


def _share_below(key: int, ranks: Mapping[int, float]) -> float:
    """The share of the reference below a bucket that it lacks, computed from the ranks of its own buckets."""
    below = 0.0
    for other, rank in ranks.items():
        if other > key:
            break
        below = 2 * rank - below  # the rank lies midway between the shares below and up to its bucket
    return below


def count_from(histogram: Histogram, from_bucket: int) -> int:
    """The number of runs in this bucket and above."""
    return sum(count for key, count in histogram.items() if key >= from_bucket)


def tail_bucket(reference: Histogram, share: float) -> int | None:
    """The lowest bucket such that at most a share of the reference's runs lies in it and above.

    Args:
        reference: Runs by bucket.
        share: 0..1, for example 0.005 for the part above the 99.5th percentile.

    Returns:
        The bucket, always above the reference's median; None without runs.

    Example:
        >>> tail_bucket({1: 990, 2: 6, 3: 4}, 0.005), tail_bucket({}, 0.005)
        (3, None)
    """
    total = sum(reference.values())
    if not total:
        return None
    above = 0
    for key in sorted(reference, reverse=True):
        if above + reference[key] > share * total:
            return key + 1
        above += reference[key]
    return min(reference)
