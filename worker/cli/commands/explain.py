"""`spotcheck explain`: every decision about one run."""

from worker.cli.context import project
from worker.cli.options import Json
from worker.cli.output import inline, say, show_json
from worker.cli.views.run import RunId, Source, find_run, headline
from worker.queries.explain import explain as tell


def explain(run_id: RunId, source: Source = None, as_json: Json = False) -> None:
    """The story of one run: taken in, drawn or not, scored or not, and why.

    Examples: spotcheck explain r-88121
    """
    opened = project()
    pk, run = find_run(opened, run_id, source)
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
    say(headline(run))
    for one in story.decisions:
        value = "" if one.value is None else f"{one.value:.2f}"
        at = "" if one.at is None else one.at.astimezone(opened.settings.zone).strftime("%m-%d %H:%M:%S %Z")
        state = one.state.replace("_", " ")
        label = one.scorer or state
        shown = value or ("" if one.scorer is None else state)
        say(f"  {label:<19} {shown:<9} {at:<19} {inline(one.reason or one.rationale or '')[:300]}".rstrip())
        if one.reason and one.rationale:
            say(f"  {'':<19} {inline(one.rationale)[:300]}")
