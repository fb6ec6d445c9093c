"""How `spotcheck up` stands: the overview of the store, as a panel or as one line."""

from datetime import timedelta
from typing import NamedTuple

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.cli.context import now
from worker.cli.output import plain
from worker.cli.process.health import NAMES
from worker.errors import StoreError
from worker.jobs.trouble import in_short
from worker.project.project import Project
from worker.queries.overview import Overview, OverviewReader
from worker.queries.status import Backlog
from worker.records.job import LANES
from worker.settings import Settings


class LiveFigures(NamedTuple):
    """The last overview, and why there is no newer one."""

    overview: Overview
    error: str | None = None
    """Why the store could not be read; None when the overview is new."""


class LiveReader:
    """Reads the overview again and again; one that cannot be read leaves the last one standing, with the reason."""

    def __init__(self, project: Project) -> None:
        """Nothing is read yet."""
        self._reader = OverviewReader(project)
        self._last: Overview | None = None

    def read(self) -> LiveFigures | None:
        """The figures; None while the store was never read."""
        try:
            self._last = self._reader.read(now())
        except StoreError as error:
            return None if self._last is None else LiveFigures(self._last._replace(at=now()), str(error))
        return LiveFigures(self._last)


def panel(settings: Settings, figures: LiveFigures | None) -> Panel:
    """The live status; what is quoted gives the terminal no orders."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(settings, figures):
        table.add_row(name, Text(plain(text)))
    clock = "starting" if figures is None else f"{figures.overview.at.astimezone(settings.zone):%Y-%m-%d %H:%M:%S}"
    rehearsal = "" if settings.clock.is_real else f" · REHEARSAL x{settings.clock.speed:g}"
    return Panel(table, title=f"spotcheck up · {clock}{rehearsal}", subtitle="Ctrl-C stops", expand=False)


def one_line(settings: Settings, figures: LiveFigures) -> str:
    """The same in one line, for a log: without a server's words."""
    trouble = figures.overview.trouble
    if trouble is not None:
        figures = figures._replace(overview=figures.overview._replace(trouble=in_short(trouble)))
    return " · ".join(f"{name}: {text}" for name, text in _rows(settings, figures))


def _rows(settings: Settings, figures: LiveFigures | None) -> list[tuple[str, str]]:
    if figures is None:
        return [("store", "not read yet")]
    seen, jobs, engine = figures.overview, figures.overview.jobs, figures.overview.engine
    rows = [("store", figures.error)] if figures.error else []
    rows += [(f"{NAMES[lane]} queue", _queue(engine.lanes[lane])) for lane in reversed(LANES)]
    open_jobs = sum(jobs.get(state, 0) for state in ("queued", "leased"))
    outcomes = ("scored", "unscored", "failed", "shed")
    counts = [f"{jobs.get(state, 0):,} {state}" for state in outcomes if state in jobs or state == "scored"]
    rows.append(("drawn today", ", ".join([*counts, f"{open_jobs:,} open"])))
    cap = settings.judge.budget_usd_per_day
    spent = engine.with_unpriced(f"${engine.nightly.spent_usd:,.4f}") + ("" if cap is None else f" of ${cap:,.2f}")
    own_cap = settings.judge.backfill_usd_per_day
    if own_cap is not None or any(engine.backfill):
        of = "" if own_cap is None else f" of ${own_cap:,.2f}"
        spent += f", backfills ${engine.backfill.spent_usd:,.4f}{of}"
    rows.append(("spent today", spent))
    rows.append(("nights", _nights(settings, seen)))
    rows.append(("open", f"{seen.findings} findings, {seen.alerts_now} alerts now, {seen.alerts_review} for review"))
    rows.append(("judge", _judge(settings, seen.trouble)))
    if len(engine.workers) > 1:
        rows.append(("workers", f"{len(engine.workers)} alive, this one among them"))
    return rows


def _queue(waiting: Backlog) -> str:
    if not (waiting.due or waiting.later or waiting.leased):
        return "nothing waits"
    later = f", {waiting.later:,} waiting out a back-off" if waiting.later else ""
    return f"{waiting.due:,} due, {waiting.leased:,} in hand{later}"


def _nights(settings: Settings, seen: Overview) -> str:
    last = f"{seen.last_drawn} drawn last" if seen.last_drawn else "none drawn yet"
    if seen.next_night is None or seen.next_at is None:
        return f"{last}; the first tick decides which comes next"
    if seen.next_at <= seen.at:
        return f"{last}; {seen.next_night} is due now"
    local = seen.next_at.astimezone(settings.zone)
    return f"{last}; {seen.next_night} is due {local:%a %H:%M}, in {_span(seen.next_at - seen.at)}"


def _judge(settings: Settings, trouble: str | None) -> str:
    if not settings.is_judge_configured:
        return "not configured: rubrics give unscored(no_judge_configured); see the README, Pointing at a judge"
    return f"{settings.judge.model}" + (f" has trouble: {trouble}" if trouble else "")


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
