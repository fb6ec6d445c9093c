"""Active rubrics of whose newest night no run has a score, and what to change."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from worker.core.judging.unread import Unread as Unread  # for those who show it and may not see the core's rules
from worker.core.judging.unread import unread
from worker.project.project import Project
from worker.store.queue import recent


def unread_rubrics(project: Project) -> list[Unread]:
    """What to change, for each active rubric of whose newest night no run has a score. Cheap."""
    judged = [row for row in project.scorers.active() if row.key.spec.get("model") is not None]
    with project.store.read() as connection:
        return list(_unread(connection, [(row.key.name, row.pk) for row in judged]))


def _unread(connection: Connection, judged: Sequence[tuple[str, int]]) -> Iterator[Unread]:
    for name, pk in judged:
        one = unread(name, *recent.ended_of_newest_night(connection, pk))
        if one is not None:
            run_id, said = recent.an_unscored_run(connection, pk, one.reason)
            yield one._replace(example=run_id, said=said)
