"""One run: found by the id that a person gives, and its headline."""

from typing import Annotated

import typer

from worker.cli.output import counted, inline
from worker.errors import SettingsError
from worker.project.project import Project
from worker.queries.runs import FoundRun, find_runs
from worker.records import Run

RunId = Annotated[str, typer.Argument(metavar="RUN_ID")]
Source = Annotated[str | None, typer.Option("--source", help="Where several sources use one id.")]


def find_run(opened: Project, run_id: str, source: str | None) -> FoundRun:
    """The one run with this id.

    Raises:
        SettingsError: There is none, or several sources have one of this id.
    """
    found = find_runs(opened, run_id, source)
    elsewhere = find_runs(opened, run_id) if source is not None and not found else ()
    if elsewhere:
        names = ", ".join(sorted({one.run.source for one in elsewhere}))
        raise SettingsError(f"--source {source!r} has no run {run_id!r}; it is known from {inline(names)}")
    if not found:
        raise SettingsError(f"there is no run {run_id!r}; list them with spotcheck runs")
    if len(found) > 1:
        names = ", ".join(sorted(stored.run.source for stored in found))
        raise SettingsError(f"run {run_id!r} is known from several sources ({names}); name one with --source")
    return found[0]


def headline(run: Run) -> str:
    """Id, task type, status, end, steps and cost on one line."""
    by = " by its tokens" if run.cost_source == "price_table" else ""
    cost = "" if run.cost_usd is None else f" · ${run.cost_usd:.4f}{by}"
    at = run.ended_at.strftime("%a %d %b %Y %H:%M UTC")
    name = inline(f"{run.run_id} · {run.task_type}")
    return f"{name} · {run.status} {at} · {counted(len(run.steps), 'step')}{cost}"
