"""How `spotcheck up` stands: figures from the ledger, as a panel or as one line."""

import json
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.cli.context import now
from worker.cli.output import plain
from worker.cli.process.health import NAMES
from worker.core.schedule import due_from
from worker.errors import StoreError
from worker.jobs.trouble import in_short
from worker.pipeline.nightly import due_nights
from worker.project.project import Project
from worker.records.job import LANES
from worker.settings import Settings
from worker.store import meta
from worker.store.budget import accounts
from worker.store.health import TURN
from worker.store.queue import backlog, workers
from worker.store.queue.backlog import Backlog
from worker.store.queue.recent import today
from worker.store.results import alerts, findings


class Figures(NamedTuple):
    """One look at the ledger."""

    at: datetime
    """By the schedule's clock."""
    queue: dict[str, Backlog]
    states: dict[str, int]
    """Jobs of the nights drawn today, by state."""
    spent_usd: float
    last_drawn: date | None
    next_night: date | None
    """The night that is drawn next; None before the first tick."""
    next_at: datetime | None
    findings: int
    alerts_now: int
    alerts_review: int
    workers: int
    trouble: str | None
    """What the judge's trouble is; None without any."""
    error: str | None = None
    """Why the ledger could not be read; the rest is then of the last time."""


def look(opened: Project, before: Figures | None) -> Figures | None:
    """Read the figures; where the database does not answer, the ones before with the reason.

    Args:
        opened: The project.
        before: The last look; None at the first, and then no figures are given without a database.
    """
    try:
        return _look(opened)
    except StoreError as error:
        return None if before is None else before._replace(error=str(error), at=now())


def _look(opened: Project) -> Figures:
    at = now()
    settings = opened.settings
    start = opened.nights.start()
    due = due_nights(opened, at) if start is not None else []
    midnight = datetime.combine(at.astimezone(settings.zone).date(), datetime.min.time(), settings.zone)
    with opened.store.read() as connection:
        real = opened.store.now(connection)
        work = today(connection, midnight)
        told = alerts.list_alerts(connection)
        turn = meta.get_meta(connection, f"{TURN}judge")
        next_night = (
            due[0] if due else None if start is None else max(opened.nights.last_due(at) + timedelta(days=1), start)
        )
        return Figures(
            at,
            {lane: backlog.lane_backlog(connection, real, lane) for lane in LANES},
            work.states,
            accounts.day_balance(connection, opened.nights.of(real)).spent_usd,
            work.last_drawn,
            next_night,
            None if next_night is None else due_from(next_night, settings.schedule.at, settings.zone),
            len(findings.list_findings(connection)),
            sum(1 for one in told if one.urgency == "now"),
            sum(1 for one in told if one.urgency != "now"),
            len(workers.live_workers(connection, real)),
            _trouble(turn),
        )


def _trouble(turn: str | None) -> str | None:
    said: dict[str, Any] = json.loads(turn) if turn else {}
    trouble = said.get("trouble")
    return None if trouble is None else str(trouble)


def panel(settings: Settings, found: Figures | None) -> Panel:
    """The live status; what is quoted gives the terminal no orders."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in _rows(settings, found):
        table.add_row(name, Text(plain(said)))
    clock = "starting" if found is None else f"{found.at.astimezone(settings.zone):%Y-%m-%d %H:%M:%S}"
    rehearsal = "" if settings.clock.is_real else f" · REHEARSAL x{settings.clock.speed:g}"
    return Panel(table, title=f"spotcheck up · {clock}{rehearsal}", subtitle="Ctrl-C stops", expand=False)


def one_line(settings: Settings, found: Figures) -> str:
    """The same in one line, for a log: without a server's words."""
    if found.trouble is not None:
        found = found._replace(trouble=in_short(found.trouble))
    return " · ".join(f"{name}: {said}" for name, said in _rows(settings, found))


def _rows(settings: Settings, found: Figures | None) -> list[tuple[str, str]]:
    if found is None:
        return [("store", "not read yet")]
    rows = [("store", found.error)] if found.error else []
    rows += [(f"{NAMES[lane]} queue", _queue(found.queue[lane])) for lane in reversed(LANES)]
    open_jobs = sum(found.states.get(state, 0) for state in ("queued", "leased"))
    outcomes = ("scored", "unscored", "failed", "shed")
    counted = [
        f"{found.states.get(state, 0):,} {state}" for state in outcomes if state in found.states or state == "scored"
    ]
    rows.append(("drawn today", ", ".join([*counted, f"{open_jobs:,} open"])))
    cap = settings.judge.budget_usd_per_day
    rows.append(("spent today", f"${found.spent_usd:,.4f}" + ("" if cap is None else f" of ${cap:,.2f}")))
    rows.append(("nights", _nights(settings, found)))
    rows.append(("open", f"{found.findings} findings, {found.alerts_now} alerts now, {found.alerts_review} for review"))
    rows.append(("judge", _judge(settings, found.trouble)))
    if found.workers > 1:
        rows.append(("workers", f"{found.workers} alive, this one among them"))
    return rows


def _queue(waiting: Backlog) -> str:
    if not (waiting.due or waiting.later or waiting.leased):
        return "nothing waits"
    later = f", {waiting.later:,} waiting out a back-off" if waiting.later else ""
    return f"{waiting.due:,} due, {waiting.leased:,} in hand{later}"


def _nights(settings: Settings, found: Figures) -> str:
    last = f"{found.last_drawn} drawn last" if found.last_drawn else "none drawn yet"
    if found.next_night is None or found.next_at is None:
        return f"{last}; the first tick decides which comes next"
    if found.next_at <= found.at:
        return f"{last}; {found.next_night} is due now"
    local = found.next_at.astimezone(settings.zone)
    return f"{last}; {found.next_night} is due {local:%a %H:%M}, in {_span(found.next_at - found.at)}"


def _judge(settings: Settings, trouble: str | None) -> str:
    if not settings.is_judge_configured:
        return "not configured: rubrics give unscored(no_judge_configured); see the README, Pointing at a judge"
    return f"{settings.judge.model}" + (f" has trouble: {trouble}" if trouble else "")


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
