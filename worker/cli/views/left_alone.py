"""What a draw leaves alone of nights that are drawn already, and the command that scores it."""

from collections.abc import Sequence
from datetime import date

from worker.cli.output import counted, inline, note
from worker.pipeline.backfill import left_alone
from worker.project.project import Project


def tell_left_alone(opened: Project, nights: Sequence[date], *, with_older: bool = False) -> None:
    """One line for each active rubric that has not scored some of these drawn nights, and for what a budget skipped.

    With `with_older` each line names all drawn nights that it is true of, as a backfill without dates scores them.
    """
    for scorer, without, why in left_alone(opened, nights, with_older=with_older):
        name = f"{inline(scorer.key.name)} {scorer.key.series}"
        drawn = counted(len(without), "drawn night")
        what = f"{name} has not scored {drawn}" if why == "new" else f"a budget skipped runs of {name} on {drawn}"
        note(f"{what}; spotcheck backfill --since {without[0]} --until {without[-1]}")
