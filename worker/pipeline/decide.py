"""What a person decides about alerts and findings."""

from collections.abc import Collection, Mapping
from datetime import date

from worker.errors import SettingsError
from worker.project.project import Project
from worker.store.results import alerts, findings


def decide_alerts(project: Project, decisions: Mapping[str, Collection[int]], *, muted_until: date) -> None:
    """Set the state of alerts and of the findings they belong to: all of them, or none where a number is wrong.

    Args:
        project: Whose alerts.
        decisions: Numbers of alerts by state: acknowledged, muted or resolved.
        muted_until: The last night of a mute.

    Raises:
        SettingsError: There is no alert of a number.
    """
    with project.store.write() as connection:
        at = project.store.now(connection)
        for state, numbers in decisions.items():
            until = muted_until if state == "muted" else None
            for number in numbers:
                if not alerts.decide(connection, [number], state, at, muted_until=until):
                    raise SettingsError(f"there is no alert {number}; see `spotcheck alerts --all`")


def decide_findings(project: Project, decisions: Mapping[str, int], *, muted_until: date) -> None:
    """Set the state of findings: all of them, or none where a number is wrong.

    Args:
        project: Whose findings.
        decisions: A number by state: acknowledged, muted or accepted.
        muted_until: The last night of a mute.

    Raises:
        SettingsError: There is no finding of a number.
    """
    with project.store.write() as connection:
        at = project.store.now(connection)
        for state, number in decisions.items():
            until = muted_until if state == "muted" else None
            if not findings.set_state(connection, number, state, at, muted_until=until):
                raise SettingsError(f"there is no finding {number}; see `spotcheck drift --all`")
