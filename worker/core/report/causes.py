"""Findings that one cause may have given: told together, under the first of them."""

from collections.abc import Sequence

from worker.core.report.model import Change
from worker.records import Drift

_SETTLED = ("recovered", "accepted")


def group_changes(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Say of each finding which other it is a part of.

    The overall line moves with each large task type, and an aggregate with its criteria. Such two are one where their
    windows share a night and both went the same way. Nothing is left out, and the order stays.

    Args:
        changes: Findings in any order.

    Returns:
        The same, each with the number of the finding under which it is told; None for those that lead.
    """
    leads: list[Drift] = []
    part_of: dict[int | None, int | None] = {}
    for one in sorted((change.drift for change in changes), key=_order):
        lead = next((lead for lead in leads if _is_one(lead, one)), None)
        if lead is None:
            leads.append(one)
        else:
            part_of[one.finding_id] = lead.finding_id
    return tuple(change._replace(part_of=part_of.get(change.drift.finding_id)) for change in changes)


def parts_of(lead: Change, changes: Sequence[Change]) -> list[Change]:
    """The findings that are told under another."""
    number = lead.drift.finding_id
    return [change for change in changes if number is not None and change.part_of == number]


def lead_changes(changes: Sequence[Change]) -> list[Change]:
    """The findings that are told by themselves."""
    return [change for change in changes if change.part_of is None]


def _order(one: Drift) -> tuple[bool, bool, bool, float]:
    """What is open first, a task type before the overall line, an aggregate before its criteria, then the surest."""
    return one.state in _SETTLED, one.stream.task_type is None, one.stream.criterion is not None, -one.z


def _is_one(lead: Drift, one: Drift) -> bool:
    first, second = lead.stream, one.stream
    if (first.scorer, first.scorer_version) != (second.scorer, second.scorer_version):
        return False
    if (lead.after < lead.before) != (one.after < one.before):
        return False
    if lead.since > one.found_night or one.since > lead.found_night:
        return False
    if lead.state in _SETTLED and one.state not in _SETTLED:
        return False  # what is open must not hide under what is over
    is_whole = second.task_type is None and first.task_type is not None and first.criterion == second.criterion
    is_same = first.task_type == second.task_type and first.criterion != second.criterion
    return is_whole or is_same
