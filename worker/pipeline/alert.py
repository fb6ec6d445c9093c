"""What was found to what people are told: stored once, and put into the outbox in the same transaction."""

import logging
from collections.abc import Iterable, Sequence
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
WEBHOOK = "webhook"
_NOW_KINDS = ("errors", "tool", "cost", "steps")
"""Told at once; a change of quality is for the weekly review, and never a page (METHODS §6)."""


def tell(project: Project, connection: Connection, one: Alert, *, run_pk: int | None = None) -> bool:
    """Store an alert, once, log it, and send it where alerts go; nothing leaves for a night that is long over.

    Args:
        project: Whose.
        connection: The transaction that found it.
        one: The alert.
        run_pk: The run it is about.

    Returns:
        Whether it is new.
    """
    number = alerts.add(connection, one, run_pk=run_pk)
    if number is None:
        return False
    if alerts.is_muted(connection, number):
        return True
    log.warning("alert %d (%s): %s", number, one.urgency, one.text)
    if _leaves(project, one):
        body = orjson.dumps(message(one, number), default=str).decode()
        outbox.post(connection, number, WEBHOOK, body, one.raised_at)
    return True


def _leaves(project: Project, one: Alert) -> bool:
    if project.settings.webhook_url is None:
        return False
    if project.settings.alerts.send == "now" and one.urgency != "now":
        return False
    return not is_history(project, one.night, one.raised_at)


def is_history(project: Project, night: date, now: datetime) -> bool:
    """Whether a night is too long over to be news: replayed history is stored and shown, and sent nowhere."""
    if project.nights.is_replaying:
        return True
    return night < project.nights.last_over(now) - timedelta(days=project.settings.sampling.lookback_nights)


def message(one: Alert, number: int) -> dict[str, Any]:
    """What a webhook gets: `{"type":"spotcheck.alert","timestamp","data":{…}}`."""
    data = one.model_dump(mode="json", exclude={"alert_id", "key", "state", "muted_until"})
    return {"type": "spotcheck.alert", "timestamp": one.raised_at, "data": {"alert_id": number, **data}}


def tell_findings(project: Project, connection: Connection, found: Iterable[Drift], now: datetime) -> None:
    """An alert for each new finding."""
    for one in found:
        details = one.model_dump(mode="json", exclude={"finding_id", "state", "stream"})
        alert = Alert(
            key=f"drift:{one.finding_id}",
            kind="drift",
            urgency="now" if one.kind in _NOW_KINDS else "review",
            task_type=one.stream.task_type,
            subject=one.stream.scorer,
            text=alerting.finding_text(one),
            details={**details, "stream": one.stream._asdict()},
            night=one.found_night,
            finding_id=one.finding_id,
            raised_at=now,
        )
        tell(project, connection, alert)


def tell_costly(project: Project, connection: Connection, batch: Sequence[Incoming], now: datetime) -> None:
    """An alert for each fresh run that cost more than the cap; in the transaction that takes the runs in."""
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
        one, cost_usd = item.run, item.run.cost_usd or 0.0
        told = alerting.format_usd(cost_usd)
        alert = Alert(
            key=f"run_cost:{keys[one.source, one.run_id]}",
            kind="run_cost",
            urgency="now",
            task_type=one.task_type,
            subject=one.agent,
            text=f"{one.task_type}: run {one.run_id} cost {told}, above the cap of {alerting.format_usd(cap)}",
            details={"cost_usd": cost_usd, "cap_usd": cap, "agent": one.agent, "agent_version": one.agent_version},
            night=item.night,
            run_id=one.run_id,
            raised_at=now,
        )
        tell(project, connection, alert, run_pk=keys[one.source, one.run_id])
