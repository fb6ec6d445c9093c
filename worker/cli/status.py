"""`spotcheck status`: every ended run accounted for, the queue, the workers, the money."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from rich.table import Table

from worker.cli.door import Json, Since, Until, add_row, now, project, say, show_json, show_table, window
from worker.flow.reconcile import LANES
from worker.store import counts, ledger, money, runs, workers

_TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")
_ALWAYS = ("ended", "scored", "unscored", "pending")
_HEADS = {"before_start": "before", "sampled_out": "not drawn"}
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
    _table(rows)
    for lane, waiting in lanes.items():
        if not (waiting.due or waiting.later or waiting.leased):
            say(f"queue {lane:<10} nothing waits")
            continue
        oldest = "" if waiting.oldest_at is None else f", oldest {_age((at - waiting.oldest_at).total_seconds())}"
        say(
            f"queue {lane:<10} {waiting.due:,} due, {waiting.later:,} waiting out a back-off, "
            f"{waiting.leased:,} being scored{oldest}"
        )
    names = ", ".join(f"{row['name']} ({row['lanes']})" for row in alive)
    say(f"workers {names}" if alive else "workers none seen alive; start one: spotcheck worker")
    cap = opened.settings.judge.budget_usd_per_day
    of = "" if cap is None else f" of ${cap:,.2f}"
    say(f"spent today ${spend.spent_usd:,.4f}{of}, reserved ${spend.reserved_usd:,.4f}")


def _json(row: counts.NightCounts) -> dict[str, Any]:
    return {**row._asdict(), "reconciles": row.reconciles}


def _table(rows: list[counts.NightCounts]) -> None:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_TERMS, 0))
    for row in rows:
        for term in _TERMS:
            sums[row.scorer, row.scorer_version][term] += getattr(row, term)
    if not sums:
        say("no runs in this window")
        return
    # at 80 columns there is no room for terms that are nought everywhere
    told = [term for term in _TERMS if term in _ALWAYS or any(terms[term] for terms in sums.values())]
    table = Table(box=None, header_style="", pad_edge=False)
    table.add_column("scorer", no_wrap=True)
    for term in told:
        table.add_column(_HEADS.get(term, term), justify="right", no_wrap=True)
    for (name, _), terms in sorted(sums.items()):
        add_row(table, name, *(f"{terms[term]:,}" if terms[term] else "·" for term in told))
    show_table(table)


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
