"""`spotcheck show`: one run to read."""

import orjson

from worker.cli.context import project
from worker.cli.options import Json
from worker.cli.output import inline, say, show_json
from worker.cli.views.run import RunId, Source, find_run, headline


def show(run_id: RunId, source: Source = None, as_json: Json = False) -> None:
    """One run to read: what was asked, each step, what was answered.

    Examples: spotcheck show r-88121 · spotcheck show r-88121 --json
    """
    _, run = find_run(project(), run_id, source)
    if as_json:
        show_json(run.model_dump(mode="json"))
        return
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
