"""Troubles of the pipeline itself, told once when they begin and once when they are over.

What watches the agents says nothing of its own failures: without runs, scores or a judge there is no drift to find. A
check says what is wrong now; this compares it with the alerts that are open, raises what is new, closes what is over.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from worker.pipeline.alert import raise_alert
from worker.project.project import Project
from worker.records import Alert
from worker.store.results import alerts
from worker.store.results.alerts import TroubleAlert


class PipelineTrouble(NamedTuple):
    """Something of the pipeline that is wrong now."""

    subject: str
    """The check's name, and after a colon what it is about; with the task type it says which trouble this is."""
    since: date
    """The night on which it began."""
    text: str
    """One line for people: what, since when, and what to look at."""
    task_type: str | None = None
    details: Mapping[str, Any] = {}


class Recovery(NamedTuple):
    """A trouble that is over."""

    subject: str
    text: str
    """One line for people."""
    task_type: str | None = None


def settle(
    project: Project,
    connection: Connection,
    check: str,
    found: Sequence[PipelineTrouble],
    night: date,
    now: datetime,
    *,
    recovered: Sequence[Recovery] = (),
) -> list[str]:
    """Raise an alert for each new trouble of a check, and close those that are over.

    Args:
        project: Whose.
        connection: A write transaction.
        check: Which check has looked; alerts of other checks are left alone.
        found: All that it found.
        night: As of which night it looked. Alerts that were raised for a later one are left alone, so that a replay
            ends nothing that began after it.
        now: The time.
        recovered: Words for what is over; another trouble that is over is told in general ones.

    Returns:
        The texts of what was raised or closed by this call.
    """
    current = {(one.subject, one.task_type) for one in found}
    said = {(one.subject, one.task_type): one.text for one in recovered}
    told = []
    open_now = alerts.open_troubles(connection, check)
    for one in found:
        if any((known.subject, known.task_type) == (one.subject, one.task_type) for known in open_now):
            continue
        if raise_alert(project, connection, _alert(one, night, now)):
            told.append(one.text)
    for known in open_now:
        key = (known.subject, known.task_type)
        if key in current or known.night > night or not alerts.recover(connection, known.pk, now):
            continue
        text = said.get(key) or f"over: {known.text}"
        _tell_recovery(project, connection, known, text, night, now)
        told.append(text)
    return told


def _alert(one: PipelineTrouble, night: date, now: datetime) -> Alert:
    return Alert(
        key=f"pipeline:{one.subject}:{one.task_type or ''}:{one.since}",
        kind="pipeline",
        urgency="now",
        task_type=one.task_type,
        subject=one.subject,
        text=one.text,
        details={"since": one.since.isoformat(), **one.details},
        night=night,
        raised_at=now,
    )


def _tell_recovery(
    project: Project, connection: Connection, known: TroubleAlert, text: str, night: date, now: datetime
) -> None:
    """An alert of its own, so that it goes the same way; it is closed from the beginning."""
    alert = Alert(
        key=f"pipeline:recovered:{known.pk}",
        kind="pipeline",
        urgency="now",
        task_type=known.task_type,
        subject=known.subject,
        text=text,
        details={"recovers": known.pk, "since": known.night.isoformat()},
        night=night,
        raised_at=now,
        state="resolved",
    )
    raise_alert(project, connection, alert, is_quiet=known.state == "muted")
