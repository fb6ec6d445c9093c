"""The counts of some nights, as a table and as JSON."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.cli.output import inline
from worker.cli.table import TextTable
from worker.cli.views import columns, status_engine
from worker.cli.views.status_engine import ScreenPart
from worker.project.project import Project
from worker.queries.counts import TERMS, CountWindow, NightCounts
from worker.queries.empty import as_json as as_field
from worker.queries.status import EngineStatus
from worker.records import ScorerKey

_ALWAYS = ("ended", "scored", "unscored", "pending")
_HEADS = {"before_start": "before", "sampled_out": "undrawn"}


def answer(opened: Project, counted: CountWindow, engine: EngineStatus) -> dict[str, Any]:
    """What `--json` says."""
    return {
        "window": {"since": counted.first, "until": counted.last},
        "scorers": [_json(row, counted) for row in counted.rows],
        "totals": counted.totals,
        "reconciles": counted.reconciles,
        "without_score": [one._asdict() for one in counted.without],
        "unread": [one._asdict() for one in counted.unread],
        **status_engine.answer(engine, opened.settings),
        **as_field(counted.empty),
    }


def count_parts(counted: CountWindow, room: int | None) -> Iterator[ScreenPart]:
    """Whether all is accounted for, and the table."""
    verdict = "every ended run is accounted for" if counted.reconciles else "COUNTS DO NOT RECONCILE"
    yield f"nights {counted.first} to {counted.last}: {verdict}"
    if not counted.rows:
        there = counted.span if counted.empty else None
        yield "no runs in this window" + (f"; there are runs from {there[0]} to {there[1]}" if there else "")
    yield from _tables(counted.rows, counted.keys, room)
    yield from _series_lines(counted.rows, counted.keys)
    by_series = Counter((name, series) for name, series, _ in counted.backfilled)
    for (name, series), nights in sorted(by_series.items()):
        yield f"by backfill: {inline(name)} {series} on {nights:,} of these nights"
    if undrawn := counted.pending_undrawn:
        yield f"pending: {undrawn:,} of nights that are not drawn yet"
    yield from _without_lines(counted)
    yield from (inline(one.line) for one in counted.unread)


def _without_lines(counted: CountWindow) -> Iterator[str]:
    """Why judges gave no score, a line for each scorer of which some are not told below as a whole."""
    names = _told_apart(sorted({(row.scorer, row.scorer_version) for row in counted.rows}), counted.keys)
    for key, group in itertools.groupby(counted.without, key=lambda one: (one.scorer, one.scorer_version)):
        told = [f"{one.jobs:,} {one.reason}{'' if one.state == 'unscored' else f' ({one.state})'}" for one in group]
        yield inline(f"without a score: {names.get(key, ' '.join(key))} {', '.join(told)}")


def _json(row: NightCounts, counted: CountWindow) -> dict[str, Any]:
    by_backfill = (row.scorer, row.scorer_version, row.night) in counted.backfilled
    return {**row._asdict(), "reconciles": row.reconciles, "by_backfill": by_backfill}


def _tables(
    rows: Sequence[NightCounts], known: Mapping[tuple[str, str], ScorerKey], room: int | None
) -> list[TextTable]:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(TERMS, 0))
    for row in rows:
        for term in TERMS:
            sums[row.scorer, row.scorer_version][term] += getattr(row, term)
    # at 80 columns there is no room for terms that are nought everywhere
    told = [term for term in TERMS if term in _ALWAYS or any(terms[term] for terms in sums.values())]
    order = list(known)  # the oldest series first
    names = _told_apart(sorted(sums, key=lambda key: (key[0], order.index(key) if key in known else -1)), known)
    cells = {
        _HEADS.get(term, term): {key: f"{terms[term]:,}" if terms[term] else "·" for key, terms in sums.items()}
        for term in told
    }
    return columns.tables("scorer", names, cells, room)


def _series_lines(rows: Sequence[NightCounts], known: Mapping[tuple[str, str], ScorerKey]) -> Iterator[str]:
    """For rows that a model tells apart, which series of trends each is."""
    names = _told_apart(sorted({(row.scorer, row.scorer_version) for row in rows}), known)
    for (scorer, series), name in names.items():
        if name not in (scorer, f"{scorer} {series}"):
            yield f"series {inline(name)}: {inline(series)}"


def _told_apart(
    series: Sequence[tuple[str, str]], known: Mapping[tuple[str, str], ScorerKey]
) -> dict[tuple[str, str], str]:
    """A name for each series: the scorer's; of several with the model, or the version where that is the same."""
    names = {}
    for name, group in itertools.groupby(series, key=lambda key: key[0]):
        keys = list(group)
        models = [_model(known.get(key)) for key in keys]
        is_by_model = len(set(models)) == len(keys)
        for key, model in zip(keys, models, strict=True):
            names[key] = name if len(keys) == 1 else f"{name} {model if is_by_model else key[1]}"
    return names


def _model(key: ScorerKey | None) -> str:
    model = None if key is None else key.spec.get("model")
    return str(model).rpartition("/")[2] if model else "(no model)"
