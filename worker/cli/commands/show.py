"""`spotcheck show`: one run to read, or what a judge was asked about it and answered."""

from typing import Annotated

import orjson
import typer

from worker.cli.context import project
from worker.cli.options import Json, near
from worker.cli.output import inline, say, show_json
from worker.cli.views.run import RunId, Source, find_run, headline
from worker.errors import SettingsError
from worker.project.project import Project
from worker.queries.runs import FoundRun
from worker.records import Run


def show(
    run_id: RunId,
    source: Source = None,
    judgment: Annotated[
        str | None,
        typer.Option("--judgment", metavar="NAME", help="A judge's verdict: rubric, NAME@VERSION, or series id."),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="With the exact prompt and the raw answer.")] = False,
    as_json: Json = False,
) -> None:
    """One run to read: what was asked, each step, what was answered; or one judgment of it, as it was stored.

    Examples: spotcheck show r-88121 · spotcheck show r-88121 --judgment task_completion --raw
    """
    if raw and judgment is None:
        raise SettingsError("--raw shows what a judge was asked: name one with --judgment NAME")
    opened = project()
    found = find_run(opened, run_id, source)
    if judgment is not None:
        _show_judgment(opened, found, judgment, raw=raw, as_json=as_json)
    elif as_json:
        show_json(found.run.model_dump(mode="json"))
    else:
        _show_run(found.run)


def _show_run(run: Run) -> None:
    say(headline(run))
    say(inline(f"agent {run.agent or '?'} {run.agent_version} · source {run.source} · revision {run.revision}"))
    if run.error:
        say(inline(f"error: {run.error}"))
    for name, text in (("asked", run.input), ("answered", run.output)):
        say(f"\n— {name} —")
        say("(not recorded)" if text is None else text or "(empty)")
        if name == "asked":
            for step in run.steps:
                say(f"\n  #{step.seq} {step.kind} {step.name}" + (f"  ERROR {step.error}" if step.error else ""))
                for part in (step.arguments, step.result):
                    if part not in (None, "", {}):
                        text = part if isinstance(part, str) else orjson.dumps(part).decode()
                        say("    " + text[:600].replace("\n", "\n    ") + ("…" if len(text) > 600 else ""))


def _show_judgment(opened: Project, run: FoundRun, name: str, *, raw: bool, as_json: bool) -> None:
    """The newest judgment that a name means.

    Raises:
        SettingsError: There is none, or the scorer asks no judge.
    """
    from worker.cli.views.judgment import as_document, told  # late: rubrics bring a template engine with them
    from worker.queries.judgments import run_judgments

    found = run_judgments(opened, run.pk)
    run_id = run.run.run_id
    meant = [one for one in found if one.is_meant_by(name)]
    if not meant:
        known = {one.scorer for one in found if one.kind == "judge"}
        story = "" if known else f"; spotcheck explain {inline(run_id)} tells why"
        raise SettingsError(f"run {run_id!r} has no judgment by {name!r}{near(name, known)}{story}")
    newest, *others = meant
    if newest.kind == "heuristic":
        raise SettingsError(str(newest.missing))
    if as_json:
        show_json({"run_id": run_id, "source": run.run.source} | as_document(newest, others))
        return
    for line in told(newest, others, raw=raw):
        say(line)
