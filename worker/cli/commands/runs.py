"""`spotcheck runs`: the newest runs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

import typer
from rich.cells import cell_len

from worker.cli.context import project
from worker.cli.options import Json, Since, Until, near, window
from worker.cli.output import columns, inline, note, say, show_json, wrapped
from worker.cli.table import GAP, TextTable, show_table
from worker.cli.views.empty import why_empty
from worker.errors import SettingsError
from worker.project.project import Project
from worker.queries.empty import EmptyFilter, RunFilters, empty_run_filters
from worker.queries.empty import as_json as as_field
from worker.queries.runs import (
    ListedRuns,
    RunSummary,
    ScoredRun,
    list_runs,
    night_span,
    scorers_with_scores,
    worst_runs,
)
from worker.records import RunStatus

Source = Annotated[str | None, typer.Option("--source", help="Where several sources use one id.")]
_STATUSES: tuple[str, ...] = get_args(RunStatus)
RunId = Annotated[str, typer.Argument(metavar="RUN_ID")]


def runs(
    task_type: Annotated[str | None, typer.Option("--task-type", help="Only this task type.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="completed, aborted, errored or incomplete.")] = None,
    since: Since = None,
    until: Until = None,
    agent_version: Annotated[str | None, typer.Option("--agent-version", help="Only this agent version.")] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="NAME=VALUE", help="Only runs with this tag, of the newest 20,000.")
    ] = None,
    worst: Annotated[
        bool, typer.Option("--worst", help="Scored runs, the lowest score first, with the reason.")
    ] = False,
    below: Annotated[
        float | None, typer.Option("--below", min=0.0, max=1.0, help="Only scores below this, the lowest first.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="By whose score; else the first rubric of the settings.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List runs, newest first; with --worst, --below or --scorer those with a score, the lowest first, and why.

    Examples: spotcheck runs --status errored --since 2026-11-20 · spotcheck runs --worst --task-type refund
    """
    first, last = window(since, until)
    wanted = _tag(tag)
    if status is not None and status not in _STATUSES:
        raise SettingsError(f"--status {status!r} is not known{near(status, _STATUSES)}")
    opened = project()
    filters = RunFilters(task_type, status, first, last, agent_version)
    by = _scorer(opened, scorer) if worst or below is not None or scorer is not None else None
    if by is None:
        found = list_runs(opened, filters, tag=wanted, limit=limit)
    else:
        found = worst_runs(opened, filters, scorer=by, below=below, tag=wanted, limit=limit)
    empty = [] if found.runs else empty_run_filters(opened, filters)
    if as_json:
        show_json({"runs": _json(found), **as_field(empty)})
    elif not found.runs:
        say(_nothing(opened, empty, by))
    elif by is None:
        _list(found.runs)
    else:
        _list_scored(found.scored)
    if found.looked_at is not None:
        note(f"only the first {found.looked_at:,} runs were looked at for the tag; --since and --until choose others")
    elif len(found.runs) == limit and not as_json:
        note(f"the {'newest' if by is None else 'lowest'} {limit:,}; --limit shows more")


def _tag(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise SettingsError(f"--tag {text!r} is not NAME=VALUE, like region=eu")
    return name, value


def _scorer(opened: Project, name: str | None) -> str:
    """By whose score.

    Raises:
        SettingsError: It has no scores, or none is named and no rubric is configured.
    """
    known = scorers_with_scores(opened)
    rubrics = [rubric for rubric in opened.settings.scoring.rubrics if rubric in known]
    if name is None and known:
        if not rubrics:
            there = inline(", ".join(known[:20]))
            raise SettingsError(f"no rubric of the settings has scores; say --scorer NAME; there are {there}")
        return rubrics[0]
    if name is None:
        return next(iter(opened.settings.scoring.rubrics), "any scorer")
    if known and name not in known:
        raise SettingsError(f"--scorer {name!r} has no scores{near(name, known)}")
    return name


def _json(found: ListedRuns) -> list[dict[str, Any]]:
    if not found.scored:
        return [row._asdict() for row in found.runs]
    return [
        {
            **one.run._asdict(),
            "score": {
                "scorer": one.scorer,
                "scorer_version": one.scorer_version,
                "value": one.value,
                "reason": one.reason,
            },
        }
        for one in found.scored
    ]


def _list_scored(rows: Sequence[ScoredRun]) -> None:
    """One run a line with its score, and below it why."""
    say(f"by {rows[0].scorer}, the lowest first")
    for one in rows:
        say(
            f"{one.value:.2f}  {one.run.night}  {inline(one.run.run_id)}  {inline(one.run.task_type)}  {one.run.status}"
        )
        if one.reason:
            for line in wrapped(f"      {inline(one.reason)[:_LONGEST_REASON]}", "      "):
                say(line)


_LONGEST_REASON = 300
_HEADS = ("night", "run", "task type", "status", "steps", "cost", "flags")
_RIGHT = ("steps", "cost")
_CUT = {"flags": 8, "task type": 10}
"""What is cut with … on a narrow terminal, in this order, and to how many columns at most."""
_LEFT_OUT = ("steps", "cost", "flags", "status", "task type")
"""What goes where that is not enough; the id never does, for one that is cut cannot be copied."""


def _list(rows: Sequence[RunSummary]) -> None:
    """One run a line."""
    cells = []
    for row in rows:
        cost = "" if row.cost_usd is None else f"${row.cost_usd:.4f}"
        values = (str(row.night), row.run_id, row.task_type, row.status, str(row.steps), cost)
        cells.append(dict(zip(_HEADS, (*values, row.flags), strict=True)))
    widths = _widths({name: max(map(cell_len, (name, *(cell[name] for cell in cells)))) for name in _HEADS}, columns())
    table = TextTable([*widths], right=_RIGHT, widths=[*widths.values()])
    for cell in cells:
        table.add_row(*(cell[name] for name in widths))
    show_table(table, least=_wide(widths))


def _wide(widths: Mapping[str, int]) -> int:
    """Columns of a line, with the gaps between its cells."""
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _widths(longest: Mapping[str, int], room: int | None) -> dict[str, int]:
    """The columns that there is room for, and how wide each is.

    Example:
        >>> _widths({"night": 10, "run": 17, "task type": 16, "status": 9, "flags": 40}, 80)
        {'night': 10, 'run': 17, 'task type': 16, 'status': 9, 'flags': 20}
        >>> _widths({"night": 10, "run": 60, "task type": 16, "status": 9, "flags": 40}, 80)
        {'night': 10, 'run': 60}
    """
    widths = dict(longest)
    if room is None:
        return widths

    def over() -> int:
        return _wide(widths) - room

    def cut() -> None:
        for name, least in _CUT.items():
            if name in widths and over() > 0:
                widths[name] = max(min(widths[name], least), widths[name] - over())

    cut()
    for name in _LEFT_OUT:
        if over() > 0:
            widths.pop(name, None)
            widths |= {other: longest[other] for other in _CUT if other in widths}
            cut()
    return widths


def _nothing(opened: Project, empty: Sequence[EmptyFilter], by: str | None) -> str:
    """Why a list is empty, and what to do."""
    span = night_span(opened)
    if span is None:
        return "no runs; take some in with spotcheck ingest"
    if by is not None and not empty:
        return f"no run that matches has such a score by {by}"
    return f"no run matches; there are runs from {span[0]} to {span[1]}{why_empty(empty)}"
