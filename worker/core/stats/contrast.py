"""Facts that separate bad runs from good ones: Fisher's exact test of every known fact, corrected by Holm.

A task type is compared with all others, every other fact only within its task type: otherwise a tool that only the
hardest task type uses would seem to be the reason. An association is a place to look, not a cause.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_RUNS_WITH = 5
"""A fact is tested if at least so many runs have it and as many lack it; with fewer no result is significant."""
_MOST_FACTS = 1_000
"""The most facts tested, those of most runs first: names come from outside, and each test costs power."""
_SAME = 1 + 1e-7
"""Tables as likely as the observed one up to rounding count as at least as extreme."""
_BY_STATUS = frozenset(("errored", "aborted", "incomplete"))
"""Flags that only repeat the status."""

Fact = tuple[str, str]
"""Kind and name of a fact: ("agent version", "2.4.0")."""


class RunTraits(NamedTuple):
    """The facts of one run that are known without its texts."""

    is_bad: bool
    task_type: str
    agent: str = ""
    agent_version: str = ""
    status: str = ""
    flags: tuple[str, ...] = ()
    tools: Mapping[str, bool] = {}
    """By tool name: whether a call failed."""
    input_tokens: int | None = None


class Contrast(NamedTuple):
    """A fact that is associated with bad runs."""

    kind: str
    """task type · agent · agent version · tool · tool failed · flag · status · input."""
    name: str
    task_type: str | None
    """The task type it was tested in; None for all together."""
    bad_with: int
    n_with: int
    bad_without: int
    n_without: int
    p: float
    """Two-sided p value, corrected for all facts tested."""

    @property
    def share_with(self) -> float:
        """Bad share of the runs that have the fact, 0..1."""
        return self.bad_with / self.n_with

    @property
    def share_without(self) -> float:
        """Bad share of the other runs of the same task type, 0..1."""
        return self.bad_without / self.n_without


class Contrasts(NamedTuple):
    """The result of all tests."""

    found: tuple[Contrast, ...]
    """Facts with a higher bad share and a corrected p below the level, smallest p first."""
    looked_at: int
    """Facts tested."""
    runs: int
    bad: int
    nearest: Contrast | None
    """The fact with the smallest p at or above the level; None when there is none."""


NO_CONTRASTS = Contrasts((), 0, 0, 0, None)


def contrasts(
    runs: Iterable[RunTraits], *, level: float = 0.05, limit: int = 8, ignore: Sequence[str] = ()
) -> Contrasts:
    """Test all facts of runs for an association with bad runs.

    Args:
        runs: Scored runs, in any order; read once.
        level: Family-wise error rate: the chance of one or more false facts in the result, 0..1.
        limit: The most facts to return.
        ignore: Kinds of facts not tested: those that define what is bad here.

    Returns:
        The facts below the level; empty where there are no runs, or all are good or all bad.

    Example:
        >>> new = [RunTraits(number < 12, "refund", agent_version="2.4") for number in range(40)]
        >>> old = [RunTraits(number < 2, "refund", agent_version="2.3") for number in range(40)]
        >>> found = contrasts(new + old).found
        >>> [(fact.kind, fact.name, fact.share_with, fact.share_without, round(fact.p, 4)) for fact in found]
        [('agent version', '2.4', 0.3, 0.05, 0.0064)]
    """
    rows = list(runs)
    bad = sum(row.is_bad for row in rows)
    if not 0 < bad < len(rows):
        return Contrasts((), 0, len(rows), bad, None)
    tables = list(_tables(rows, frozenset(ignore)))
    corrected = holm([fisher_exact(*table[2:]) for table in tables])
    judged = [
        Contrast(kind, name, place, a, a + b, c, c + d, p)
        for ((place, (kind, name), a, b, c, d), p) in zip(tables, corrected, strict=True)
        if a * (c + d) > c * (a + b)
    ]
    judged.sort(
        key=lambda contrast: (
            contrast.p,
            contrast.share_without - contrast.share_with,
            contrast.kind == "flag",
            contrast.kind,
            contrast.name,
        )
    )
    significant = tuple(_distinct(contrast for contrast in judged if contrast.p < level))
    rest = [contrast for contrast in judged if contrast.p >= level]
    return Contrasts(significant[:limit], len(tables), len(rows), bad, rest[0] if rest else None)


def _distinct(judged: Iterable[Contrast]) -> Iterable[Contrast]:
    """Only the first of several facts that split the runs of a task type alike, such as "tool failed" and its flag."""
    splits = set()
    for contrast in judged:
        split = (contrast.task_type, contrast.bad_with, contrast.n_with)
        if split not in splits:
            splits.add(split)
            yield contrast


def fisher_exact(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p of a two-by-two table by Fisher's exact test.

    Args:
        a: Bad with the fact.
        b: Good with the fact.
        c: Bad without it.
        d: Good without it. All at least 0.

    Returns:
        The chance, with these margins and no association, of a table as unlikely as this one or more; 1.0 where a
        margin is 0.

    Example:
        >>> round(fisher_exact(3, 1, 1, 3), 4)
        0.4857

    Source: Fisher 1935; two-sided by the sum of the probabilities not above the observed one, as in R and scipy.
    """
    with_it, bad, total = a + b, a + c, a + b + c + d
    if not 0 < with_it < total or not 0 < bad < total:
        return 1.0
    lowest, highest = max(0, with_it + bad - total), min(with_it, bad)
    k = np.arange(lowest, highest + 1)
    log = _log_factorials(total)
    logs = -(log[k] + log[with_it - k] + log[bad - k] + log[total - with_it - bad + k])
    likely = np.exp(logs - logs.max())
    return float(min(1.0, likely[likely <= likely[a - lowest] * _SAME].sum() / likely.sum()))


def holm(ps: Sequence[float]) -> list[float]:
    """P values adjusted so that comparing them with a level keeps the family-wise error rate at that level.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm 1979.
    """
    corrected = [0.0] * len(ps)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        running = max(running, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = running
    return corrected


def _log_factorials(highest: int) -> NDArray[np.float64]:
    """The logarithms of 0!, 1!, … highest!."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, highest + 1, dtype=np.float64)))))


_Table = tuple[str | None, Fact, int, int, int, int]


def _tables(rows: Sequence[RunTraits], ignore: frozenset[str]) -> Iterable[_Table]:
    """A 2×2 table for each fact that enough runs have and enough lack; one of several that split the runs alike."""
    places: dict[str | None, list[RunTraits]] = defaultdict(list)
    for row in rows:
        places[row.task_type].append(row)
    everywhere: list[tuple[Fact, RunTraits]] = [(("task type", row.task_type), row) for row in rows]
    tables = list(_counted(None, everywhere, rows)) if "task type" not in ignore else []
    for place, task_rows in sorted(places.items(), key=lambda item: str(item[0])):
        facts = [(fact, row) for row in task_rows for fact in _facts(row) if fact[0] not in ignore]
        tables += _counted(place, facts, task_rows)
        if "input" not in ignore:
            tables += _long_inputs(place, task_rows)
    tables.sort(key=lambda table: -min(table[2] + table[3], table[4] + table[5]))
    return tables[:_MOST_FACTS]


def _facts(row: RunTraits) -> Iterable[Fact]:
    yield "agent", row.agent
    yield "agent version", row.agent_version
    yield "status", row.status
    for flag in row.flags:
        if flag not in _BY_STATUS:
            yield "flag", flag
    for tool, failed in row.tools.items():
        yield "tool", tool
        if failed:
            yield "tool failed", tool


def _counted(place: str | None, facts: Iterable[tuple[Fact, RunTraits]], rows: Sequence[RunTraits]) -> Iterable[_Table]:
    n, bad = len(rows), sum(row.is_bad for row in rows)
    counts: dict[Fact, list[int]] = defaultdict(lambda: [0, 0])
    for fact, row in facts:
        counts[fact][not row.is_bad] += 1
    splits = set()
    for fact, (a, b) in counts.items():
        c, d = bad - a, n - bad - b
        split = (fact[0], frozenset(((a, b), (c, d))))
        if a + b >= MIN_RUNS_WITH and c + d >= MIN_RUNS_WITH and fact[1] and split not in splits:
            # two versions of an agent split the runs alike: keep the one with the higher bad share
            other = next((name for name in counts if name[0] == fact[0] and name != fact), None)
            if other is not None and counts[other] == [c, d] and c * (a + b) > a * (c + d):
                fact, a, b, c, d = other, c, d, a, b
            splits.add(split)
            yield place, fact, a, b, c, d


def _long_inputs(place: str | None, rows: Sequence[RunTraits]) -> Iterable[_Table]:
    """Runs with more input tokens than the median against the others; the fact is the side with more bad runs."""
    with_input = [row for row in rows if row.input_tokens is not None]
    if len(with_input) < 2 * MIN_RUNS_WITH:
        return
    middle = median(row.input_tokens or 0 for row in with_input)
    sides = [[row for row in with_input if ((row.input_tokens or 0) > middle) is is_long] for is_long in (True, False)]
    (a, b), (c, d) = ((sum(row.is_bad for row in side), sum(not row.is_bad for row in side)) for side in sides)
    if a + b < MIN_RUNS_WITH or c + d < MIN_RUNS_WITH:
        return
    if a * (c + d) >= c * (a + b):
        yield place, ("input", f"more than {math.floor(middle):,} tokens read"), a, b, c, d
    else:
        yield place, ("input", f"at most {math.floor(middle):,} tokens read"), c, d, a, b
