"""How often rubrics asked their second judge."""

from datetime import date, timedelta

from worker.project.project import Project
from worker.store import schema
from worker.store.results import escalations
from worker.store.results.escalations import Escalations as Escalations  # for those who may not see the store


def recent_escalations(project: Project, until: date, *, weeks: int) -> list[Escalations]:
    """Escalations of the weeks up to a night, included; empty where the database is not made or of another version.

    Raises:
        StoreError: The database does not answer.
    """
    if schema.state(project.store) != "current":
        return []
    with project.store.read() as connection:
        return escalations.escalations(connection, until - timedelta(weeks=weeks), until)
