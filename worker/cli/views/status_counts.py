"""The counts of some nights, as a table and as JSON."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from rich.table import Table

from worker.cli.context import now
from worker.cli.views import columns, status_engine
from worker.cli.views.status_engine import Part
from worker.project.project import Project
from worker.queries.status import EngineStatus
from worker.records import ScorerKey
from worker.store.queue import enrol
from worker.store.results import counts
from worker.store.results.counts import NightCounts
from worker.store.runs import draws, runs

_TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")
_ALWAYS = ("ended", "scored", "unscored", "pending")
_HEADS = {"before_start": "before", "sampled_out": "undrawn"}
_NIGHTS = 14


class Counted(NamedTuple):
    """The counts of some nights."""

    first: date
    last: date
    rows: Sequence[NightCounts]
    known: Mapping[tuple[str, str], ScorerKey]
    drawn: Collection[date]

    @property
    def reconciles(self) -> bool:
        """Whether every ended run is accounted for."""
        return all(row.reconciles for row in self.rows)


def count(opened: Project, first: date | None, last: date | None) -> Counted:
    """Count nights: those asked for, or the last that have runs. With a million runs this takes most of a second."""
    registered = [each for each, _ in opened.scorers.register()]
    start = opened.nights.start()
    with opened.store.read() as connection:
        span = runs.night_span(connection)
        last = last or max(span[1] if span else opened.nights.last_over(now()), first or date.min)
        first = first or last - timedelta(days=min(_NIGHTS - 1, last.toordinal() - 1))
        rows = counts.night_counts(connection, first, last, registered, start)
        known = {(one.key.name, one.key.series): one.key for one in enrol.registered(connection)}
        return Counted(first, last, rows, known, set(draws.drawn_nights(connection, first, last)))


def answer(opened: Project, counted: Counted, engine: EngineStatus) -> dict[str, Any]:
    """What `--json` says."""
    return {
        "window": {"since": counted.first, "until": counted.last},
        "scorers": [_json(row) for row in counted.rows],
        "totals": {term: sum(getattr(row, term) for row in counted.rows) for term in _TERMS},
        "reconciles": counted.reconciles,
        **status_engine.answer(engine, opened.settings),
    }


def count_parts(counted: Counted, room: int | None) -> Iterator[Part]:
    """Whether all is accounted for, and the table."""
    verdict = "every ended run is accounted for" if counted.reconciles else "COUNTS DO NOT RECONCILE"
    yield f"nights {counted.first} to {counted.last}: {verdict}"
    if not counted.rows:
        yield "no runs in this window"
    yield from _tables(counted.rows, counted.known, room)
    if undrawn := _of_undrawn_nights(counted.rows, counted.drawn):
        yield f"pending: {undrawn:,} of nights that are not drawn yet"


def _json(row: NightCounts) -> dict[str, Any]:
    return {**row._asdict(), "reconciles": row.reconciles}


def _of_undrawn_nights(rows: Sequence[NightCounts], drawn: Collection[date]) -> int:
    """Of the runs that are pending, those that no queue has yet; the scorer that looks at most of them counts."""
    by_scorer: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.night not in drawn:
            by_scorer[row.scorer, row.scorer_version] += row.pending
    return max(by_scorer.values(), default=0)


def _tables(rows: Sequence[NightCounts], known: Mapping[tuple[str, str], ScorerKey], room: int | None) -> list[Table]:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_TERMS, 0))
    for row in rows:
        for term in _TERMS:
            sums[row.scorer, row.scorer_version][term] += getattr(row, term)
    # at 80 columns there is no room for terms that are nought everywhere
    told = [term for term in _TERMS if term in _ALWAYS or any(terms[term] for terms in sums.values())]
    order = list(known)  # the oldest series first
    names = _told_apart(sorted(sums, key=lambda key: (key[0], order.index(key) if key in known else -1)), known)
    cells = {
        _HEADS.get(term, term): {key: f"{terms[term]:,}" if terms[term] else "·" for key, terms in sums.items()}
        for term in told
    }
    return columns.tables("scorer", names, cells, room)


def _told_apart(
    series: Sequence[tuple[str, str]], known: Mapping[tuple[str, str], ScorerKey]
) -> dict[tuple[str, str], str]:
    """A name for each series: the scorer's; of several with the model, or the version where that is the same."""
    names = {}
    for name, own in itertools.groupby(series, key=lambda key: key[0]):
        keys = list(own)
        models = [_model(known.get(key)) for key in keys]
        is_by_model = len(set(models)) == len(keys)
        for key, model in zip(keys, models, strict=True):
            names[key] = name if len(keys) == 1 else f"{name} {model if is_by_model else key[1]}"
    return names


def _model(key: ScorerKey | None) -> str:
    model = None if key is None else key.spec.get("model")
    return str(model).rpartition("/")[2] if model else "(no model)"
