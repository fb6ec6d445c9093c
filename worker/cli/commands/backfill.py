"""`spotcheck backfill`: drawn nights scored by other scorers, and what a budget left out; the price first."""

import sys
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import typer

from worker.cli.commands.drift import describe, finding_json
from worker.cli.commands.nightly import Lane, exit_waited, wait_here, warn_without_judge
from worker.cli.context import now, project
from worker.cli.options import Json, Since, Until, window
from worker.cli.output import columns, counted, inline, note, say, show_json, wrapped
from worker.cli.process.wake import Waking
from worker.cli.progress import progress
from worker.cli.table import TextTable, show_table
from worker.cli.views.empty import no_runs, ranges
from worker.errors import SettingsError
from worker.pipeline.activate import adjust
from worker.pipeline.backfill import BackfillPlan, carry_out, plan
from worker.pipeline.nightly import finish, open_jobs
from worker.pipeline.reconcile import wake_due
from worker.project.project import Project
from worker.queries.budgets import BackfillFit, Costs, backfill_fit

_ACCOUNT = "backfill"


def backfill(
    since: Since = None,
    until: Until = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option("--scorer", metavar="S", help="NAME, NAME@VERSION or a series id; may be repeated."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.0, max=1.0, help="Score only what a draw at this rate would have drawn, 0..1."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Try failed jobs again, too.")] = False,
    lane: Lane = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait to the end, and work here when no live worker is seen.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be scored, and the cost.")] = False,
    as_json: Json = False,
) -> None:
    """Score nights that are drawn already: with rubrics that became active later, and what a budget skipped.

    Bounds included; all drawn nights without any. By default every active rubric scores what it has not scored yet, and
    each scorer gets back what a budget skipped. What it costs is shown first. It spends `[judge] backfill_usd_per_day`,
    never the nights' money; what does not fit waits for the next day. Repeating it goes on where it was.

    Examples: spotcheck backfill --since 2026-11-01 --dry-run · spotcheck backfill --scorer task_completion --yes --wait
    """
    first, last = window(since, until)
    opened = project()
    opened.lanes.wanted = lane
    if not dry_run and opened.settings.is_judge_configured:
        adjust(opened, now())
    planned = plan(opened, first, last, scorer or [], rate=rate, with_failed=failed)
    fit = _fit(opened, planned)
    answer = _json(planned) | _money_json(fit)
    must_ask = bool(planned.runs) and not (yes or dry_run)
    if must_ask and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SettingsError(f"{_scores(planned)}, {_price(planned)}: say --yes, or look first with --dry-run")
    if not as_json:
        _show(opened, planned, fit, (first, last))
    if dry_run:
        if as_json:
            show_json(answer)
        return
    if must_ask and not typer.confirm("score these?", err=True):
        note("nothing is queued")
        return
    taken = carry_out(opened, planned, now())
    answer |= {"added": taken.added, "taken_up": taken.back}
    wake = Waking(opened)
    if not wait:
        wake_due(opened, wake)
        answer["open"] = open_jobs(opened, account=_ACCOUNT)
        _answer(answer, wake.told(answer["open"]) if planned.runs or planned.queued else "", as_json=as_json)
        return
    warn_without_judge(opened)
    waiting = open_jobs(opened, in_force_only=True, account=_ACCOUNT)
    waited = wait_here(opened, wake, _ACCOUNT)
    with progress("summarise and compare"):
        found = finish(opened, now())
    settled = waiting - waited.still_open
    answer |= {"settled": settled, "open": waited.still_open, "postponed": waited.postponed}
    answer["findings"] = [finding_json(one) for one in found]
    _answer(answer, f"{counted(settled, 'job')} settled, {waited.still_open:,} still open", as_json=as_json)
    if not as_json:
        for one in found:
            for line in describe(one):
                say(line)
    exit_waited(opened, waited, _ACCOUNT)


def _json(planned: BackfillPlan) -> dict[str, Any]:
    return {
        "nights": planned.nights,
        "undrawn_nights": planned.undrawn,
        "scorers": [
            {
                "scorer": part.scorer.key.name,
                "scorer_version": part.scorer.key.series,
                "nights": part.nights,
                "runs": part.runs,
                "queued": part.queued,
                "estimated_cost_usd": part.about_usd,
                "max_cost_usd": part.most_usd,
            }
            for part in planned.parts
        ],
        "runs": planned.runs,
        "estimated_cost_usd": planned.about_usd,
        "max_cost_usd": planned.most_usd,
    }


def _fit(opened: Project, planned: BackfillPlan) -> BackfillFit | None:
    """Whether it fits today's money; None where it costs nothing, or no money is counted."""
    if not opened.settings.is_judge_configured or planned.most_usd == 0:
        return None
    return backfill_fit(
        opened, ((part.scorer.key.name, Costs(part.about_usd, part.most_usd)) for part in planned.parts)
    )


def _money_json(fit: BackfillFit | None) -> dict[str, Any]:
    if fit is None:
        return {"left_today_usd": None, "fits_today": None}
    return {"left_today_usd": fit.left_usd, "fits_today": fit.fit}


def _money_line(fit: BackfillFit) -> str:
    whose = "" if fit.rubric is None else f" of {inline(fit.rubric)}"
    said = {
        "yes": "all of it fits",
        "probably": "it fits by what such scores cost so far, though not if every answer is the dearest",
        "no": "not all of it fits, and what does not waits for the next day's money",
        "unknown": "whether it fits is unknown without a price",
    }[fit.fit]
    return f"today ${fit.left_usd:,.4f} are left for backfills{whose}: {said}"


def _show(
    opened: Project, planned: BackfillPlan, fit: BackfillFit | None, asked: tuple[date | None, date | None]
) -> None:
    """What is to be scored and what it costs, and what is left alone."""
    for line in undrawn_lines(planned.undrawn):
        note(line)
    if not planned.nights:
        say("no night is drawn there")
        if not planned.undrawn and (why := no_runs(opened, *asked)):
            note(why)
        return
    if not planned.parts:
        say(f"{counted(len(planned.nights), 'drawn night')}: nothing is left to score")
        return
    table = TextTable(["rubric", "series", "nights", "runs to score", "queued", "about", "at most"])
    for part in planned.parts:
        table.add_row(
            part.scorer.key.name,
            part.scorer.key.series,
            f"{len(part.nights):,}",
            f"{part.runs:,}",
            f"{part.queued:,}" if part.queued else "",
            "—" if part.about_usd is None else f"${part.about_usd:,.4f}",
            "unknown" if part.most_usd is None else f"${part.most_usd:,.4f}",
        )
    _show_parts(table)
    _say(f"{_scores(planned)} over {counted(len(planned.busy_nights), 'drawn night')}; {_total(opened, planned)}")
    if fit is not None:
        _say(_money_line(fit))


def _show_parts(table: TextTable) -> None:
    """What each rubric has left; on a screen that is too narrow for a table, below one another."""
    room = columns()
    if room is None or table.width <= room:
        show_table(table)
        return
    for name, series, nights, runs, queued, about, most in table.rows:
        _say(f"{name} {series}")
        rest = f", {queued} queued" if queued else ""
        _say(f"  nights {nights}, runs to score {runs}{rest}; about {about}, at most {most}")


def _say(text: str) -> None:
    for line in wrapped(text):
        say(line)


def _scores(planned: BackfillPlan) -> str:
    """What is paid for: what is new, and what an earlier backfill has queued."""
    unpaid = sum(part.unpaid for part in planned.parts)
    return counted(planned.runs, "score") + (f" and {unpaid:,} queued by a backfill before" if unpaid else "")


def _price(planned: BackfillPlan) -> str:
    """By what was paid so far, and at most."""
    about, most = planned.about_usd, planned.most_usd
    said = [] if about is None else [f"about ${about:,.4f}"]
    said += [] if most is None else [f"at most ${most:,.4f}"]
    return ", ".join(said) or "at an unknown price: none is known for the model"


def _total(opened: Project, planned: BackfillPlan) -> str:
    if not opened.settings.is_judge_configured:
        return "no judge is configured here; workers with one score them"
    price, judge = _price(planned), opened.settings.judge
    if judge.backfill_usd_per_day is not None:
        return f"{price}, of which ${judge.backfill_usd_per_day:,.2f} a day may be spent"
    if judge.budget_usd_per_day is not None:
        return f"{price}; a day spends what its budget leaves over"
    return price


def undrawn_lines(nights: Sequence[date]) -> list[str]:
    """That nights are left alone since they are not drawn, in one line; none where all are."""
    if not nights:
        return []
    verb = "is" if len(nights) == 1 else "are"
    return [
        f"{counted(len(nights), 'night')} ({ranges(nights)}) {verb} not drawn and left alone; "
        f"spotcheck nightly --since {nights[0]} --until {nights[-1]} draws them"
    ]


def _answer(answer: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    elif words:
        say(words)
