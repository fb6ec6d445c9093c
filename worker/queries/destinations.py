"""Where alerts go: each destination with what waits for it, and what is in the way."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from worker.settings import Settings
from worker.store.results import destinations, outbox

KEPT_DAYS = outbox.KEPT.days


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
