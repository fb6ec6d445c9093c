"""Active rubrics of whose newest night no run has a score, and what to change."""

from worker.core.judging.unread import Unread as Unread  # for those who show it and may not see the core's rules
from worker.core.judging.unread import unread
from worker.project.project import Project
from worker.store.queue import recent


def unread_rubrics(project: Project) -> list[Unread]:
    """What to change, for each active rubric of whose newest night no run has a score. Cheap."""
    judged = [row for row in project.scorers.active() if row.key.spec.get("model") is not None]
    with project.store.read() as connection:
        ended = [(row.key.name, *recent.ended_of_newest_night(connection, row.pk)) for row in judged]
    return [one for each in ended if (one := unread(*each)) is not None]
