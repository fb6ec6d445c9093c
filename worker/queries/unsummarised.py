"""Scores that no figure holds yet: a night is summarised when its jobs are done, and no reader does so."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from worker.core.report.coverage import not_summarised
from worker.project.project import Project
from worker.store.results import cells
from worker.store.results.cells import Unsummarised as Unsummarised  # for those who may not see the store


def unsummarised(project: Project, first: date, last: date) -> Sequence[Unsummarised]:
    """Nights (bounds included) with scores that no figure holds yet, oldest first; empty where all are summarised."""
    with project.store.read() as connection:
        return unsummarised_within(project, connection, first, last)


def unsummarised_within(project: Project, connection: Connection, first: date, last: date) -> Sequence[Unsummarised]:
    """The same in a transaction that reads more."""
    newest = project.nights.last_over(project.settings.clock.now())
    since = newest - timedelta(days=project.settings.sampling.lookback_nights)
    return cells.unsummarised(connection, since, first, last)


def unsummarised_note(found: Sequence[Unsummarised]) -> str:
    """The same in one sentence; nothing where all are summarised."""
    return not_summarised(sum(one.scores for one in found), len(found), sum(one.open_jobs for one in found))


def unsummarised_json(found: Sequence[Unsummarised]) -> dict[str, Any]:
    """What `--json` adds: `unsummarised`, the nights with such scores; nothing where all are summarised."""
    return {"unsummarised": [one._asdict() for one in found]} if found else {}
