"""What sets bad runs apart from good ones: Fisher's exact test of every fact known of them, corrected by Holm.

A task type is compared with all others; every other fact only within its task type, since a tool that only the hardest
task type uses would otherwise be blamed for the task. A fact that goes with bad runs is a place to look, not a cause.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_RUNS_WITH = 5
"""Runs with a fact, and without it, below which it is not tested: no result could be told from chance."""
_MOST_FACTS = 1_000
"""Facts tested at most, those of the most runs first: names come from outside, and each test costs power."""
_SAME = 1 + 1e-7
"""Tables as likely as the observed one up to rounding count as at least as extreme."""
_BY_STATUS = frozenset(("errored", "aborted", "incomplete"))
"""Flags that only repeat the status."""

Fact = tuple[str, str]
"""What kind of fact, and which: ("agent version", "2.4.0")."""


class RunTraits(NamedTuple):
    """One run with what is known of it without its texts."""

    is_bad: bool
    task_type: str
    agent: str = ""
    agent_version: str = ""
    status: str = ""
    flags: tuple[str, ...] = ()
    tools: Mapping[str, bool] = {}
    """By name: whether a call failed."""
    input_tokens: int | None = None


class Contrast(NamedTuple):
    """A fact that goes with bad runs."""

    kind: str
    """task type · agent · agent version · tool · tool failed · flag · status · input."""
    name: str
    task_type: str | None
    """Where it was looked at; None for all task types together."""
    bad_with: int
    n_with: int
    bad_without: int
    n_without: int
    p: float
    """Two-sided, corrected for all facts looked at."""

    @property
    def share_with(self) -> float:
        """Bad among the runs that have the fact, 0..1."""
        return self.bad_with / self.n_with

    @property
    def share_without(self) -> float:
        """Bad among the others of the same place, 0..1."""
        return self.bad_without / self.n_without


class Contrasts(NamedTuple):
    """All that was looked at."""

    found: tuple[Contrast, ...]
    """Facts with more bad runs than elsewhere, the surest first; corrected p below the level."""
    looked_at: int
    """Facts tested."""
    runs: int
    bad: int
    nearest: Contrast | None
    """The surest of those that were not sure enough; None when there is none."""


NO_CONTRASTS = Contrasts((), 0, 0, 0, None)


def contrasts(
    runs: Iterable[RunTraits], *, level: float = 0.05, most: int = 8, ignore: Sequence[str] = ()
) -> Contrasts:
    """Look for facts that separate bad runs from good ones.

    Args:
        runs: Scored runs, in any order; read once.
        level: Chance of one false fact or more in the whole answer, 0..1.
        most: Facts told at most.
        ignore: Kinds that are not looked at: those that define what is bad here.

    Returns:
        What was found; nothing where there are no runs, or all are good or all bad.

    Example:
        >>> new = [RunTraits(number < 12, "refund", agent_version="2.4") for number in range(40)]
        >>> old = [RunTraits(number < 2, "refund", agent_version="2.3") for number in range(40)]
        >>> found = contrasts(new + old).found
        >>> [(one.kind, one.name, one.share_with, one.share_without, round(one.p, 4)) for one in found]
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
    judged.sort(key=lambda one: (one.p, one.share_without - one.share_with, one.kind == "flag", one.kind, one.name))
    found = tuple(_once(one for one in judged if one.p < level))
    rest = [one for one in judged if one.p >= level]
    return Contrasts(found[:most], len(tables), len(rows), bad, rest[0] if rest else None)


def _once(judged: Iterable[Contrast]) -> Iterable[Contrast]:
    """Facts that split the runs of a place alike are one to the reader: "tool failed" and the flag that says so."""
    told = set()
    for one in judged:
        split = (one.task_type, one.bad_with, one.n_with)
        if split not in told:
            told.add(split)
            yield one


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

    Source: Fisher 1935; two-sided by the sum of small probabilities, as R and scipy do it.
    """
    with_it, bad, total = a + b, a + c, a + b + c + d
    if not 0 < with_it < total or not 0 < bad < total:
        return 1.0
    least, most = max(0, with_it + bad - total), min(with_it, bad)
    k = np.arange(least, most + 1)
    log = _log_factorials(total)
    logs = -(log[k] + log[with_it - k] + log[bad - k] + log[total - with_it - bad + k])
    likely = np.exp(logs - logs.max())
    return float(min(1.0, likely[likely <= likely[a - least] * _SAME].sum() / likely.sum()))


def holm(ps: Sequence[float]) -> list[float]:
    """P values corrected so that the chance of one false one or more keeps within any level they are compared with.

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


def _log_factorials(most: int) -> NDArray[np.float64]:
    """The logarithms of 0!, 1!, … most!."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 1, dtype=np.float64)))))


_Table = tuple[str | None, Fact, int, int, int, int]


def _tables(rows: Sequence[RunTraits], ignore: frozenset[str]) -> Iterable[_Table]:
    """One table a fact that enough runs have and enough lack; of two that split the runs alike only one."""
    places: dict[str | None, list[RunTraits]] = defaultdict(list)
    for row in rows:
        places[row.task_type].append(row)
    everywhere: list[tuple[Fact, RunTraits]] = [(("task type", row.task_type), row) for row in rows]
    found = list(_counted(None, everywhere, rows)) if "task type" not in ignore else []
    for place, own in sorted(places.items(), key=lambda item: str(item[0])):
        facts = [(fact, row) for row in own for fact in _facts(row) if fact[0] not in ignore]
        found += _counted(place, facts, own)
        if "input" not in ignore:
            found += _long_inputs(place, own)
    found.sort(key=lambda table: -min(table[2] + table[3], table[4] + table[5]))
    return found[:_MOST_FACTS]


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
    seen = set()
    for fact, (a, b) in counts.items():
        c, d = bad - a, n - bad - b
        split = (fact[0], frozenset(((a, b), (c, d))))
        if a + b >= MIN_RUNS_WITH and c + d >= MIN_RUNS_WITH and fact[1] and split not in seen:
            # the two versions of an agent split the runs alike: told is the one with more bad runs
            other = next((name for name in counts if name[0] == fact[0] and name != fact), None)
            if other is not None and counts[other] == [c, d] and c * (a + b) > a * (c + d):
                fact, a, b, c, d = other, c, d, a, b
            seen.add(split)
            yield place, fact, a, b, c, d


def _long_inputs(place: str | None, rows: Sequence[RunTraits]) -> Iterable[_Table]:
    """Runs that read more than the usual, against those that read less; either side may have the bad ones."""
    known = [row for row in rows if row.input_tokens is not None]
    if len(known) < 2 * MIN_RUNS_WITH:
        return
    middle = median(row.input_tokens or 0 for row in known)
    sides = [[row for row in known if ((row.input_tokens or 0) > middle) is is_long] for is_long in (True, False)]
    (a, b), (c, d) = ((sum(row.is_bad for row in side), sum(not row.is_bad for row in side)) for side in sides)
    if a + b < MIN_RUNS_WITH or c + d < MIN_RUNS_WITH:
        return
    if a * (c + d) >= c * (a + b):
        yield place, ("input", f"more than {math.floor(middle):,} tokens read"), a, b, c, d
    else:
        yield place, ("input", f"at most {math.floor(middle):,} tokens read"), c, d, a, b
