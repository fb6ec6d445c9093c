"""Task types that the policy names and no run has: probably a typo, perhaps only early."""

from collections.abc import Sequence

from worker.cli.options import near
from worker.cli.output import inline, note
from worker.project.project import Project
from worker.queries.runs import task_types
from worker.records.sample import StratumDraw


def warn_unseen(opened: Project, strata: Sequence[StratumDraw]) -> None:
    """One line for each task type of the policy that no run has, with what was probably meant; it may come yet.

    Args:
        opened: The project.
        strata: What this command has drawn: types seen there need no further look.
    """
    policy = opened.settings
    named = {"sampling.task_types": policy.sampling.task_types, "scoring.schemas": policy.scoring.schemas}
    seen = {draw.stratum.task_type for draw in strata}
    if all(name in seen for names in named.values() for name in names):
        return
    known = task_types(opened)
    for table, names in named.items():
        for name in sorted(set(names) - known) if known else ():
            place = f"[{table}.{inline(name)}]"
            note(f"spotcheck.toml: {place} has no effect yet: no run has this task type{near(name, known)}")
