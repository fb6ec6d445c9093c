"""Alerts as a list, and how far their messages are."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from worker.project.project import Project
from worker.queries.destinations import DestinationStatus, destination_statuses
from worker.records import Alert
from worker.store.results import alerts, outbox


class AlertDelivery(NamedTuple):
    """How the message of one alert to one destination stands."""

    alert_pk: int
    destination: str
    state: str
    attempt: int
    said: str | None
    """What the destination answered last."""
    done_at: datetime | None


class AlertList(NamedTuple):
    """Alerts, and how far their messages are."""

    alerts: Sequence[Alert]
    """Those asked for: first those of urgency `now`, then the newest night first."""
    undecided: Sequence[Alert]
    """All that are not resolved, whatever the limit."""
    deliveries: Mapping[int, Sequence[AlertDelivery]]
    """By the number of the alert; one without messages is absent."""
    outbox: Mapping[str, int]
    """Messages of all alerts by state."""
    destinations: Sequence[DestinationStatus]
    """Where they go, and what waits."""


def list_alerts(project: Project, *, everything: bool = False, limit: int | None = None) -> AlertList:
    """Open alerts, or with `everything` the resolved ones too; at most `limit`."""
    with project.store.read() as connection:
        undecided = alerts.list_alerts(connection)
        listed = alerts.list_alerts(connection, everything=True, limit=limit) if everything else undecided[:limit]
        rows = outbox.delivery(connection, [alert.alert_id or 0 for alert in listed])
        waiting = outbox.waiting(connection)
        statuses = destination_statuses(project.settings, connection)
    deliveries = {
        number: [AlertDelivery._make(row[field] for field in AlertDelivery._fields) for row in sent]
        for number, sent in rows.items()
    }
    return AlertList(listed, undecided, deliveries, waiting, statuses)
