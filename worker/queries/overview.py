"""How one installation stands at this moment, in a dozen figures: what `spotcheck up` shows while it runs."""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from worker.core.calendar import nights_between
from worker.core.schedule import due_from
from worker.project.project import Project
from worker.queries.alerts import list_alerts
from worker.queries.findings import list_findings
from worker.queries.status import EngineStatus, StatusReader
from worker.store import meta
from worker.store.health import TURN
from worker.store.queue import recent
from worker.store.runs import draws


class Overview(NamedTuple):
    """The figures of one moment."""

    at: datetime
    """By the schedule's clock."""
    engine: EngineStatus
    jobs: Mapping[str, int]
    """Jobs of the nights drawn today, by state; a state without jobs is absent."""
    last_drawn: date | None
    """The newest drawn night; None before the first."""
    next_night: date | None
    """The night that is drawn next; None before the first tick."""
    next_at: datetime | None
    """When it is drawn; in the past where it is due already."""
    findings: int
    """Those that are open, acknowledged or muted."""
    alerts_now: int
    alerts_review: int
    trouble: str | None
    """What the judge's trouble was in the last turn of its lane; None without any."""


class OverviewReader:
    """Reads the figures again and again; what does not change is read once."""

    def __init__(self, project: Project) -> None:
        """Nothing is read yet."""
        self._project = project
        self._status = StatusReader(project)

    def read(self, now: datetime) -> Overview:
        """The figures.

        Args:
            now: The time by the schedule's clock.

        Raises:
            StoreError: The database does not answer.
        """
        project, settings = self._project, self._project.settings
        midnight = datetime.combine(now.astimezone(settings.zone).date(), datetime.min.time(), settings.zone)
        next_night = _next_night(project, now)
        alerts = list_alerts(project).alerts
        urgent = sum(1 for alert in alerts if alert.urgency == "now")
        with project.store.read() as connection:
            work = recent.today(connection, midnight)
            turn = meta.get_meta(connection, f"{TURN}judge")
        return Overview(
            at=now,
            engine=self._status.read(),
            jobs=work.states,
            last_drawn=work.last_drawn,
            next_night=next_night,
            next_at=None if next_night is None else due_from(next_night, settings.schedule.at, settings.zone),
            findings=len(list_findings(project)),
            alerts_now=urgent,
            alerts_review=len(alerts) - urgent,
            trouble=_trouble(turn),
        )


def _next_night(project: Project, now: datetime) -> date | None:
    """The oldest night that is due and not drawn, else the one after the newest that is due."""
    start = project.nights.start()
    if start is None:
        return None
    last = project.nights.last_due(now)
    with project.store.read() as connection:
        drawn = set(draws.drawn_nights(connection, start, last))
    undrawn = (night for night in nights_between(start, last) if night not in drawn)
    return next(undrawn, max(last + timedelta(days=1), start))


def _trouble(turn: str | None) -> str | None:
    note: dict[str, Any] = json.loads(turn) if turn else {}
    trouble = note.get("trouble")
    return None if trouble is None else str(trouble)
