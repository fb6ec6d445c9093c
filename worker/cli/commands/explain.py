"""`spotcheck explain`: every decision about one run."""

from collections import Counter

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
                "decisions": [decision._asdict() for decision in story.decisions],
            }
        )
        return
    say(headline(run))
    names = Counter(decision.scorer for decision in story.decisions if decision.scorer is not None)
    for decision in story.decisions:
        value = "" if decision.value is None else f"{decision.value:.2f}"
        at = "" if decision.at is None else decision.at.astimezone(opened.settings.zone).strftime("%m-%d %H:%M:%S %Z")
        state = decision.state.replace("_", " ")
        label = decision.scorer or state
        shown = value or ("" if decision.scorer is None else state)
        told = inline(decision.reason or decision.rationale or "")[:300]
        if names[label] > 1 and decision.details:  # two series, which must not be taken for one
            told = f"series {decision.details['scorer_version']}; {told}"
        say(f"  {label:<19} {shown:<9} {at:<19} {told}".rstrip())
        if decision.reason and decision.rationale:
            say(f"  {'':<19} {inline(decision.rationale)[:300]}")
