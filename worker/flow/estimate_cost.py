"""What judging a sample will cost: from what the scorer's past scores cost, else from the most it can cost."""

from collections.abc import Sequence

from worker.flow.draw import Drawn
from worker.flow.project import Project
from worker.store import scores


def of_strata(project: Project, strata: Sequence[Drawn]) -> float | None:
    """An upper estimate, US dollars: runs that a rubric's filter would leave out later are counted.

    Returns:
        0.0 without a judge; None when a price is unknown.
    """
    total = 0.0
    sampled = [one for one in strata if one.sampled]
    for registered, scorer in project.register():
        if registered.key.kind != "judge" or not project.settings.is_judge_configured:
            continue
        applies = registered.applies_to
        runs = sum(
            one.sampled
            for one in sampled
            if not applies.task_types or "*" in applies.task_types or one.stratum.task_type in applies.task_types
        )
        each = _mean_cost(project, registered.pk)
        each = project.max_usd(scorer) if each is None else each
        if each is None:
            return None
        total += runs * each
    return total


def _mean_cost(project: Project, scorer_pk: int) -> float | None:
    with project.store.read() as connection:
        return scores.mean_cost(connection, scorer_pk)
