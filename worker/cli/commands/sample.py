"""`spotcheck sample`: draw nights, or look first at what a draw would be and cost."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import typer

from worker.cli.context import now, project
from worker.cli.options import Json, Since, Until, window
from worker.cli.output import counted, say, show_json
from worker.cli.progress import progress
from worker.cli.table import TextTable, show_table
from worker.cli.views.empty import no_runs
from worker.cli.views.left_alone import tell_left_alone
from worker.cli.views.unseen import warn_unseen
from worker.core.calendar import nights_between
from worker.errors import SettingsError
from worker.pipeline.draw import draw_night, plan_night
from worker.pipeline.nightly import over_nights
from worker.project.project import Project
from worker.queries import cost as estimate_cost
from worker.queries.cost import Cost
from worker.queries.runs import night_span
from worker.records.sample import StratumDraw

NAME_SOME = "name some that hold runs with --since and --until"


def nights_asked(opened: Project, since: str | None, until: str | None, *, dry_run: bool = False) -> list[date]:
    """The nights a command is about: those given that may hold runs, else those due since the project's first tick."""
    first, last = window(since, until)
    newest = opened.nights.last_over(now())
    if first is None and last is None:
        if dry_run and opened.nights.start() is None:
            return [newest]
        return over_nights(opened, now())
    first = first or last
    last = last or newest
    assert first is not None
    if first > newest:
        raise SettingsError(
            f"night {first} is not over yet in {opened.settings.schedule.time_zone}; it can be drawn "
            f"from the day after on"
        )
    span = night_span(opened)
    # nights before the first run hold nothing to draw, and there may be hundreds of thousands of them
    oldest = newest if span is None else min(span[0], newest)
    return list(nights_between(max(first, oldest), min(last, newest))) if last >= oldest else []


def sample(
    since: Since = None,
    until: Until = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.0, max=1.0, help="Probability instead of the policy's, 0..1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show strata, n, and the cost.")] = False,
    as_json: Json = False,
) -> None:
    """Draw the runs to score: bounds included; by default the nights that are due.

    A night is drawn once; a higher --rate later only adds runs. Flagged runs keep their own rate where it is higher.

    Examples: spotcheck sample --since 2026-11-01 --dry-run · spotcheck sample --since 2026-11-22 --rate 0.2
    """
    opened = project(creates=not dry_run)
    nights = nights_asked(opened, since, until, dry_run=dry_run)
    strata: list[StratumDraw] = []
    with progress("sample") as bar:
        for index, night in enumerate(nights):
            bar.set(index, len(nights))
            if dry_run:
                with opened.store.read() as connection:
                    strata += [plan for plan, _ in plan_night(opened.settings.sampling, connection, night, rate)]
            else:
                strata += draw_night(opened, night, now(), rate=rate)
    warn_unseen(opened, strata)
    tell_left_alone(opened, nights)
    cost = estimate_cost.of_strata(opened, strata)
    if as_json:
        bounds = {"since": nights[0], "until": nights[-1]} if nights else None
        show_json({"window": bounds, "strata": [_row(draw) for draw in strata], **_costs(cost)})
        return
    if not nights:
        say(f"no night is due; {no_runs(opened, *window(since, until)) or NAME_SOME}")
        return
    _show(nights, strata, _money(opened, cost), dry_run=dry_run)


def _row(draw: StratumDraw) -> dict[str, Any]:
    return {
        "night": draw.night,
        "task_type": draw.stratum.task_type,
        "flagged": draw.stratum.flagged,
        "population": draw.population,
        "sampled": draw.sampled,
        "inclusion_probability": draw.inclusion_probability,
        "why": draw.why,
    }


def _costs(cost: Cost) -> dict[str, float | None]:
    return {
        "estimated_cost_usd": cost.usd,
        "max_cost_usd": cost.most_usd,
        "estimated_cost_at_once_usd": cost.at_once_usd,
        "estimated_cost_in_batches_usd": cost.in_batches_usd,
    }


def _money(opened: Project, cost: Cost) -> str:
    if not opened.settings.is_judge_configured:
        return "no judge is configured, so it costs nothing"
    if cost.usd is None or cost.at_once_usd is None or cost.in_batches_usd is None:
        return "what judging costs is unknown: no price for the model"
    about = f"about ${cost.usd:,.4f}" if cost.is_by_past else ""
    most = f"at most ${cost.usd if cost.most_usd is None else cost.most_usd:,.4f}"
    said = ", ".join(filter(None, (about, most if not about or cost.most_usd is not None else "")))
    if cost.usd < cost.at_once_usd:
        return f"{said} in batches, within a day (${cost.at_once_usd:,.4f} at once)"
    return said + (f" (${cost.in_batches_usd:,.4f} in batches, within a day)" if cost.in_batches_usd < cost.usd else "")


def _show(nights: Sequence[date], strata: Sequence[StratumDraw], money: str, *, dry_run: bool) -> None:
    population, drawn = sum(draw.population for draw in strata), sum(draw.sampled for draw in strata)
    verb = "would be drawn" if dry_run else "drawn"
    say(f"{drawn:,} of {counted(population, 'run')} {verb} over {counted(len(nights), 'night')}; {money}")
    by_stratum: dict[tuple[str, bool], list[int]] = {}
    for draw in strata:
        row = by_stratum.setdefault((draw.stratum.task_type, draw.stratum.flagged), [0, 0])
        row[0] += draw.population
        row[1] += draw.sampled
    table = TextTable(["task type", "flagged", "runs", "drawn", "share"])
    for (task_type, flagged), (size, sampled) in sorted(by_stratum.items()):
        share = f"{sampled / size:.1%}" if size else ""
        table.add_row(task_type, "yes" if flagged else "", f"{size:,}", f"{sampled:,}", share)
    if by_stratum:
        show_table(table)
