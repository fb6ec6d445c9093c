"""Findings to alerts: each stored once, and put into the outbox of every destination in the same transaction."""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection

from worker.core.drift import alerting
from worker.project.project import Project
from worker.records import Alert, Drift
from worker.store.results import alerts, outbox
from worker.store.runs import runs
from worker.store.runs.runs import Incoming

log = logging.getLogger("spotcheck.alerts")
_NOW_KINDS = ("errors", "tool", "cost", "steps")
"""Told at once; a change of quality is for the weekly review, and never a page (METHODS §6)."""


def raise_alert(
    project: Project, connection: Connection, alert: Alert, *, run_pk: int | None = None, is_quiet: bool = False
) -> bool:
    """Store an alert, once, log it, and queue it for every destination.

    Nothing leaves for a night that is long over, nor of a rehearsal, also later, when the database is used for real.

    Args:
        project: Whose.
        connection: The transaction that found it.
        alert: The alert; its `key` says what it is about, and the same thing is told once.
        run_pk: The run it is about; None when it is about more than one.
        is_quiet: Whether nothing leaves in any case.

    Returns:
        Whether it is new.
    """
    number = alerts.add(connection, alert, run_pk=run_pk)
    if number is None:
        return False
    if alerts.is_muted(connection, number):
        return True
    log.warning("alert %d (%s): %s", number, alert.urgency, alert.text)
    if project.settings.sinks and not is_quiet and project.settings.clock.is_real and _leaves(project, alert):
        body = orjson.dumps(message(alert, number), default=str).decode()
        for destination in project.settings.sinks:
            outbox.post(connection, number, destination, body, alert.raised_at)
    return True


def _leaves(project: Project, alert: Alert) -> bool:
    if project.settings.alerts.send == "now" and alert.urgency != "now":
        return False
    return not is_history(project, alert.night, alert.raised_at)


def is_history(project: Project, night: date, now: datetime) -> bool:
    """Whether a night is too long over to be news: replayed history is stored and shown, and sent nowhere."""
    if project.nights.is_replaying:
        return True
    return night < project.nights.last_over(now) - timedelta(days=project.settings.sampling.lookback_nights)


def message(alert: Alert, number: int) -> dict[str, Any]:
    """What every destination gets: `{"type":"spotcheck.alert","timestamp","data":{…}}`."""
    data = alert.model_dump(mode="json", exclude={"alert_id", "key", "state", "muted_until"})
    return {"type": "spotcheck.alert", "timestamp": alert.raised_at, "data": {"alert_id": number, **data}}


def alert_findings(
    project: Project,
    connection: Connection,
    findings: Iterable[Drift],
    now: datetime,
    *,
    quiet: Collection[tuple[str, str]] = (),
) -> None:
    """Raise an alert for each new finding.

    Args:
        project: Whose.
        connection: The transaction that found them.
        findings: What was found.
        now: The time.
        quiet: Name and series of scorers whose findings are stored and shown, and sent nowhere.
    """
    for drift in findings:
        details = drift.model_dump(mode="json", exclude={"finding_id", "state", "stream"})
        alert = Alert(
            key=f"drift:{drift.finding_id}",
            kind="drift",
            urgency="now" if drift.kind in _NOW_KINDS else "review",
            task_type=drift.stream.task_type,
            subject=drift.stream.scorer,
            text=alerting.finding_text(drift),
            details={**details, "stream": drift.stream._asdict()},
            night=drift.found_night,
            finding_id=drift.finding_id,
            raised_at=now,
        )
        is_quiet = (drift.stream.scorer, drift.stream.scorer_version) in quiet
        raise_alert(project, connection, alert, is_quiet=is_quiet)


def alert_costly_runs(project: Project, connection: Connection, batch: Sequence[Incoming], now: datetime) -> None:
    """Raise an alert for each fresh run that cost more than the cap; in the transaction that takes the runs in."""
    cap = project.settings.alerts.run_cost_usd
    if cap is None:
        return
    costly = [
        item
        for item in batch
        if item.run.cost_usd is not None and item.run.cost_usd > cap and not is_history(project, item.night, now)
    ]
    keys = runs.keys_of(connection, [(item.run.source, item.run.run_id) for item in costly])
    for item in costly:
        run, cost_usd = item.run, item.run.cost_usd or 0.0
        run_pk = keys[run.source, run.run_id]
        alert = Alert(
            key=f"run_cost:{run_pk}",
            kind="run_cost",
            urgency="now",
            task_type=run.task_type,
            subject=run.agent,
            text=(
                f"{run.task_type}: run {run.run_id} cost {alerting.format_usd(cost_usd)}, "
                f"above the cap of {alerting.format_usd(cap)}"
            ),
            details={"cost_usd": cost_usd, "cap_usd": cap, "agent": run.agent, "agent_version": run.agent_version},
            night=item.night,
            run_id=run.run_id,
            raised_at=now,
        )
        raise_alert(project, connection, alert, run_pk=run_pk)
