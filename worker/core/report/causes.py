"""Grouping findings that may have the same cause, so that the report shows them as one."""

from collections.abc import Sequence

from worker.core.report.model import Change
from worker.records import Drift

_SETTLED = ("recovered", "accepted")


def group_changes(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Set `part_of` of each finding that probably has the same cause as another.

    The overall line moves with each large task type, and an aggregate with its criteria. Two such findings are grouped
    where their windows share a night and both moved in the same direction.

    Args:
        changes: Findings in any order.

    Returns:
        The same findings in the same order; `part_of` is the number of the leading finding, None for leading ones.
    """
    leads: list[Drift] = []
    part_of: dict[int | None, int | None] = {}
    for drift in sorted((change.drift for change in changes), key=_order):
        lead = next((lead for lead in leads if _has_same_cause(lead, drift)), None)
        if lead is None:
            leads.append(drift)
        else:
            part_of[drift.finding_id] = lead.finding_id
    return tuple(change._replace(part_of=part_of.get(change.drift.finding_id)) for change in changes)


def parts_of(lead: Change, changes: Sequence[Change]) -> list[Change]:
    """The findings grouped under another."""
    number = lead.drift.finding_id
    return [change for change in changes if number is not None and change.part_of == number]


def lead_changes(changes: Sequence[Change]) -> list[Change]:
    """The findings that are shown by themselves."""
    return [change for change in changes if change.part_of is None]


def _order(drift: Drift) -> tuple[bool, bool, bool, float]:
    """Sort key: open findings first, task types before the overall line, aggregates before criteria, then higher z."""
    return drift.state in _SETTLED, drift.stream.task_type is None, drift.stream.criterion is not None, -drift.z


def _has_same_cause(lead: Drift, other: Drift) -> bool:
    first, second = lead.stream, other.stream
    if (first.scorer, first.scorer_version) != (second.scorer, second.scorer_version):
        return False
    if (lead.after < lead.before) != (other.after < other.before):
        return False
    if lead.since > other.found_night or other.since > lead.found_night:
        return False
    if lead.state in _SETTLED and other.state not in _SETTLED:
        return False  # an open finding must not be hidden under one that is over
    is_whole = second.task_type is None and first.task_type is not None and first.criterion == second.criterion
    is_same = first.task_type == second.task_type and first.criterion != second.criterion
    return is_whole or is_same
