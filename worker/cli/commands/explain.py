"""`spotcheck explain`: every decision about one run."""

from collections import Counter
from collections.abc import Iterator

from worker.cli.context import project
from worker.cli.options import Json
from worker.cli.output import columns, inline, say, show_json, wrapped
from worker.cli.views.run import RunId, Source, find_run, headline
from worker.queries.explain import explain as tell

_LEAST_TOLD = 28
"""Characters that must fit beside a decision's columns, else it is told below them."""
_WIDE = 80
_RATIONALE = " " * 22


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
    for line in wrapped(headline(run)):
        say(line)
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
        rationale = inline(decision.rationale)[:300] if decision.reason and decision.rationale else ""
        for line in _lines(f"  {label:<19} {shown:<9} {at:<19}", told, rationale):
            say(line)


def _lines(head: str, told: str, rationale: str) -> Iterator[str]:
    """A decision: in columns, and on a narrow screen what is told below it."""
    room = columns()
    if room is None or len(head) + 1 + len(told) <= room:
        yield f"{head} {told}".rstrip()
    elif room >= len(head) + _LEAST_TOLD:
        yield from wrapped(f"{head} {told}", " " * (len(head) + 1))
    else:
        yield from wrapped("  " + inline(head))
        yield from wrapped(f"    {told}") if told else ()
    if rationale:
        yield from (
            wrapped(f"{_RATIONALE}{rationale}", _RATIONALE)
            if room is None or room >= _WIDE
            else wrapped(f"    {rationale}")
        )
