"""Alerts as a list, how far their messages are, and how the destinations of those stand."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from worker.project.project import Project
from worker.records import Alert
from worker.settings import Settings
from worker.store.results import alerts, destinations, outbox

KEPT_DAYS = outbox.KEPT.days


class AlertDelivery(NamedTuple):
    """How the message of one alert to one destination stands."""

    alert_pk: int
    destination: str
    state: str
    attempt: int
    said: str | None
    """What the destination answered last."""
    done_at: datetime | None


class DestinationStatus(NamedTuple):
    """One destination that is configured, or that something waits for."""

    name: str
    is_configured: bool
    """Whether it has an address in the settings."""
    waiting: int
    """Messages that it has not taken yet."""
    trouble: str | None
    """Why its last attempt failed; None where it did not, and where it is not configured."""
    is_misconfigured: bool
    """Whether the trouble is one that somebody has to mend: its address or its secret."""
    next_at: datetime | None
    """The earliest next attempt; None when any time will do."""


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


def destination_statuses(settings: Settings, connection: Connection) -> list[DestinationStatus]:
    """The configured ones in their order, then others that something waits for, by name."""
    queued = outbox.queued_by_destination(connection)
    addresses = {name: address.get_secret_value() for name, address in settings.sink_addresses.items()}
    found = []
    for name in [*addresses, *sorted(set(queued) - set(addresses))]:
        if name in addresses:
            state = destinations.state_of(connection, name, addresses[name])
        else:
            state = destinations.DestinationState()
        trouble = (state.said, state.is_misconfigured, state.not_before)
        found.append(DestinationStatus(name, name in addresses, queued.get(name, 0), *trouble))
    return found
