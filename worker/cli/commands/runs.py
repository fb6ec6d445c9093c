"""`spotcheck runs`: the newest runs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, get_args

import typer
from rich.cells import cell_len

from worker.cli.context import project
from worker.cli.options import Json, Since, Until, near, window
from worker.cli.output import columns, note, say, show_json
from worker.cli.table import GAP, TextTable, show_table
from worker.cli.views.empty import why_empty
from worker.errors import SettingsError
from worker.project.project import Project
from worker.queries.empty import EmptyFilter, RunFilters, empty_run_filters
from worker.queries.empty import as_json as as_field
from worker.queries.runs import RunSummary, list_runs, night_span
from worker.records import RunStatus

Source = Annotated[str | None, typer.Option("--source", help="Where several sources use one id.")]
_STATUSES: tuple[str, ...] = get_args(RunStatus)
RunId = Annotated[str, typer.Argument(metavar="RUN_ID")]


def runs(
    task_type: Annotated[str | None, typer.Option("--task-type", help="Only this task type.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="completed, aborted, errored or incomplete.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List runs, newest first.

    Examples: spotcheck runs --status errored --since 2026-11-20 · spotcheck runs --json | jq '.runs[].run_id'
    """
    first, last = window(since, until)
    if status is not None and status not in _STATUSES:
        raise SettingsError(f"--status {status!r} is not known{near(status, _STATUSES)}")
    opened = project()
    rows = list_runs(opened, task_type=task_type, status=status, since=first, until=last, limit=limit)
    empty = [] if rows else empty_run_filters(opened, RunFilters(task_type, status, first, last))
    if as_json:
        show_json({"runs": [row._asdict() for row in rows], **as_field(empty)})
        return
    if not rows:
        say(_nothing(opened, empty))
        return
    _list(rows)
    if len(rows) == limit:
        note(f"the newest {limit:,}; --limit shows more")


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


def _nothing(opened: Project, empty: Sequence[EmptyFilter]) -> str:
    """Why a list is empty, and what to do."""
    span = night_span(opened)
    if span is None:
        return "no runs; take some in with spotcheck ingest"
    return f"no run matches; there are runs from {span[0]} to {span[1]}{why_empty(empty)}"
