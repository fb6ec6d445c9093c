"""`spotcheck runs`, `show` and `explain`: runs to list, one to read, the decisions about it."""

from typing import Annotated

import typer
from rich.table import Table

from worker.cli.door import Json, Since, Until, night, out, project, say, show_json
from worker.errors import IngestError
from worker.flow.explain import explain as tell
from worker.flow.project import Project
from worker.records import Run
from worker.store import runs as stored

Source = Annotated[str | None, typer.Option("--source", help="Where several sources use one id.")]
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
    opened = project()
    with opened.store.read() as connection:
        rows = stored.listing(
            connection,
            task_type=task_type,
            status=status,
            since=night(since, "--since"),
            until=night(until, "--until"),
            limit=limit,
        )
    if as_json:
        show_json({"runs": [{key: value for key, value in row.items() if key != "pk"} for row in rows]})
        return
    if not rows:
        say("no runs; take some in with spotcheck ingest")
        return
    table = Table(
        "night", "run", "task type", "status", "steps", "cost", "flags", box=None, header_style="", pad_edge=False
    )
    for row in rows:
        cost = "" if row["cost_usd"] is None else f"${row['cost_usd']:.4f}"
        table.add_row(
            *(str(row["night"]), row["run_id"], row["task_type"], row["status"], str(row["steps"]), cost, row["flags"])
        )
    out.print(table, markup=False)
    if len(rows) == limit:
        say(f"the newest {limit}; --limit shows more")


def _find(opened: Project, run_id: str, source: str | None) -> tuple[int, Run]:
    with opened.store.read() as connection:
        found = stored.find(connection, run_id, source)
    if not found:
        raise IngestError(f"there is no run {run_id!r}; list them with spotcheck runs")
    if len(found) > 1:
        names = ", ".join(sorted(run.source for _, run in found))
        raise IngestError(f"run {run_id!r} is known from several sources ({names}); name one with --source")
    return found[0]


def show(run_id: RunId, source: Source = None, as_json: Json = False) -> None:
    """One run to read: what was asked, each step, what was answered.

    Examples: spotcheck show r-88121 · spotcheck show r-88121 --json
    """
    _, run = _find(project(), run_id, source)
    if as_json:
        show_json(run.model_dump(mode="json"))
        return
    say(_headline(run))
    say(f"agent {run.agent or '?'} {run.agent_version} · source {run.source} · revision {run.revision}")
    if run.error:
        say(f"error: {run.error}")
    for name, text in (("asked", run.input), ("answered", run.output)):
        say(f"\n— {name} —")
        say(text if text is not None else "(not recorded)")
        if name == "asked":
            for step in run.steps:
                say(f"\n  #{step.seq} {step.kind} {step.name}" + (f"  ERROR {step.error}" if step.error else ""))
                for part in (step.arguments, step.result):
                    if part not in (None, "", {}):
                        text = str(part)
                        say("    " + text[:600].replace("\n", "\n    ") + ("…" if len(text) > 600 else ""))


def explain(run_id: RunId, source: Source = None, as_json: Json = False) -> None:
    """The story of one run: taken in, drawn or not, scored or not, and why.

    Examples: spotcheck explain r-88121
    """
    opened = project()
    pk, run = _find(opened, run_id, source)
    story = tell(opened, pk, run)
    if as_json:
        show_json(
            {
                "run_id": run.run_id,
                "source": run.source,
                "night": story.night,
                "flags": story.flags,
                "decisions": [one._asdict() for one in story.decisions],
            }
        )
        return
    say(_headline(run))
    for one in story.decisions:
        value = "" if one.value is None else f"{one.value:.2f}"
        at = "" if one.at is None else one.at.astimezone(opened.settings.zone).strftime("%m-%d %H:%M:%S")
        state = one.state.replace("_", " ")
        label = one.scorer or state
        shown = value or ("" if one.scorer is None else state)
        say(f"  {label:<19} {shown:<9} {at:<15} {one.reason}".rstrip())
        if one.rationale:
            say(f"  {'':<19} {one.rationale[:300]}")


def _headline(run: Run) -> str:
    cost = "" if run.cost_usd is None else f" · ${run.cost_usd:.4f}"
    at = run.ended_at.strftime("%a %d %b %Y %H:%M UTC")
    return f"{run.run_id} · {run.task_type} · {run.status} {at} · {len(run.steps)} steps{cost}"
