"""`spotcheck status`: every ended run accounted for, the queue, the workers, the money."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from rich.table import Table

from worker.cli.door import Json, Since, Until, add_row, columns, now, project, say, show_json, show_table, window
from worker.cli.health import NAMES
from worker.flow.reconcile import LANES
from worker.records import ScorerKey
from worker.store import counts, draws, enrol, ledger, money, runs, workers
from worker.store.counts import NightCounts

_TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")
_ALWAYS = ("ended", "scored", "unscored", "pending")
_HEADS = {"before_start": "before", "sampled_out": "undrawn"}
_GAP = 2
_NIGHTS = 14


def status(since: Since = None, until: Until = None, as_json: Json = False) -> None:
    """The counts of every night and scorer, and whether they reconcile; the queue, the workers, today's spend.

    By default the last 14 nights that have runs.

    Examples: spotcheck status · spotcheck status --since 2026-09-28 --json
    """
    first, last = window(since, until)
    opened = project()
    registered = [each for each, _ in opened.register()]
    start = opened.start_night()
    with opened.store.read() as connection:
        at = opened.store.now(connection)
        span = runs.span(connection)
        last = last or max(span[1] if span else opened.last_over(now()), first or date.min)
        first = first or last - timedelta(days=min(_NIGHTS - 1, last.toordinal() - 1))
        rows = counts.counts(connection, first, last, registered, start)
        lanes = {lane: ledger.waiting(connection, at, lane) for lane in LANES}
        alive = workers.alive(connection, at)
        known = {(one.key.name, one.key.series): one.key for one in enrol.registered(connection)}
        drawn = set(draws.drawn_nights(connection, first, last))
        spend = money.account(connection, opened.night_of(at))
    totals = {term: sum(getattr(row, term) for row in rows) for term in _TERMS}
    reconciles = all(row.reconciles for row in rows)
    if as_json:
        show_json(
            {
                "window": {"since": first, "until": last},
                "scorers": [_json(row) for row in rows],
                "totals": totals,
                "reconciles": reconciles,
                "queue": {lane: waiting._asdict() for lane, waiting in lanes.items()},
                "workers": [{key: row[key] for key in ("name", "lanes", "pid", "seen_at")} for row in alive],
                "spend_usd": spend.spent_usd,
                "reserved_usd": spend.reserved_usd,
            }
        )
        return
    say(
        f"nights {first} to {last}: "
        + ("every ended run is accounted for" if reconciles else "COUNTS DO NOT RECONCILE")
    )
    _table(rows, known)
    if undrawn := _of_undrawn_nights(rows, drawn):
        say(f"pending: {undrawn:,} of nights that are not drawn yet")
    for lane, waiting in lanes.items():
        if not (waiting.due or waiting.later or waiting.leased):
            say(f"queue {NAMES[lane]:<10} nothing waits")
            continue
        oldest = "" if waiting.oldest_at is None else f", oldest {_age((at - waiting.oldest_at).total_seconds())}"
        say(
            f"queue {NAMES[lane]:<10} {waiting.due:,} due, {waiting.later:,} waiting out a back-off, "
            f"{waiting.leased:,} being scored{oldest}"
        )
    names = ", ".join(f"{row['name']} ({_lanes(row['lanes'])})" for row in alive)
    say(f"workers {names}" if alive else "workers none seen alive; start one: spotcheck worker")
    cap = opened.settings.judge.budget_usd_per_day
    of = "" if cap is None else f" of ${cap:,.2f}"
    say(f"spent today ${spend.spent_usd:,.4f}{of}, reserved ${spend.reserved_usd:,.4f}")


def _json(row: NightCounts) -> dict[str, Any]:
    return {**row._asdict(), "reconciles": row.reconciles}


def _of_undrawn_nights(rows: Sequence[NightCounts], drawn: Collection[date]) -> int:
    """Of the runs that are pending, those that no queue has yet; the scorer that looks at most of them counts."""
    by_scorer: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.night not in drawn:
            by_scorer[row.scorer, row.scorer_version] += row.pending
    return max(by_scorer.values(), default=0)


def _lanes(stored: str) -> str:
    return ",".join(NAMES.get(lane, lane) for lane in stored.split(","))


def _table(rows: Sequence[NightCounts], known: Mapping[tuple[str, str], ScorerKey]) -> None:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_TERMS, 0))
    for row in rows:
        for term in _TERMS:
            sums[row.scorer, row.scorer_version][term] += getattr(row, term)
    if not sums:
        say("no runs in this window")
        return
    # at 80 columns there is no room for terms that are nought everywhere
    told = [term for term in _TERMS if term in _ALWAYS or any(terms[term] for terms in sums.values())]
    order = list(known)  # the oldest series first
    names = _told_apart(sorted(sums, key=lambda key: (key[0], order.index(key) if key in known else -1)), known)
    cells = {term: {key: f"{terms[term]:,}" if terms[term] else "·" for key, terms in sums.items()} for term in told}
    for block in _blocks(cells, max(map(len, names.values())), columns()):
        table = Table(box=None, header_style="", pad_edge=False)
        table.add_column("scorer", no_wrap=True)
        for term in block:
            table.add_column(_HEADS.get(term, term), justify="right", no_wrap=True)
        for key, name in names.items():
            add_row(table, name, *(cells[term][key] for term in block))
        show_table(table)


def _blocks(cells: Mapping[str, Mapping[Any, str]], name_width: int, room: int | None) -> list[list[str]]:
    """The terms of one table, or of several below one another where one would be cut."""
    blocks: list[list[str]] = [[]]
    used = name_width
    for term, values in cells.items():
        width = _GAP + max(len(_HEADS.get(term, term)), *map(len, values.values()))
        if room is not None and used + width > room and blocks[-1]:
            blocks.append([])
            used = name_width
        blocks[-1].append(term)
        used += width
    return blocks


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


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
