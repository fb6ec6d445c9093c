"""How each destination stands: who delivers to it now, how often it failed in a row, and when it is tried again.

One row of `meta` a destination, written by compare-and-set, so that of two processes only one gets it.
"""

import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, update

from worker.store.meta import get_meta, meta, set_meta_once
from worker.store.results.outbox import IMPOSSIBLE_S

_KEY = "destination:{}"
_NEW = "{}"


class DestinationState(NamedTuple):
    """A destination's circuit breaker: closed without failures, open until `not_before`, half-open from then on."""

    failures: int = 0
    """Attempts in a row that it did not take."""
    not_before: datetime | None = None
    """The earliest next attempt; None when any time will do."""


class HeldDestination(NamedTuple):
    """A destination that this process delivers to, and nobody else until the lease runs out."""

    name: str
    state: DestinationState
    until: datetime
    """End of the lease."""
    stored: str
    """The row as this process wrote it: who finds another there has lost the lease."""


def acquire(connection: Connection, name: str, now: datetime, lease_s: float) -> HeldDestination | None:
    """Take a destination, unless another process has it or its next attempt is not due.

    Args:
        connection: A writing transaction.
        name: The sink's name.
        now: The time.
        lease_s: Seconds after which another process may take it over.
    """
    stored = get_meta(connection, _KEY.format(name)) or set_meta_once(connection, _KEY.format(name), _NEW)
    fields = orjson.loads(stored)
    leased_until, not_before = _time(fields.get("leased_until")), _time(fields.get("not_before"))
    ahead = now + timedelta(seconds=IMPOSSIBLE_S)
    if any(at is not None and now < at <= ahead for at in (leased_until, not_before)):
        return None
    return _write(connection, name, stored, DestinationState(fields.get("failures", 0), not_before), now, lease_s)


def renew(connection: Connection, held: HeldDestination, now: datetime, lease_s: float) -> HeldDestination | None:
    """Keep a destination for another while; None when another process has taken it over."""
    return _write(connection, held.name, held.stored, held.state, now, lease_s)


def release(connection: Connection, held: HeldDestination, state: DestinationState) -> bool:
    """Give a destination back and say how it stands; False when another process has taken it over."""
    return _replace(connection, held.name, held.stored, _text(state, None, None))


def _write(
    connection: Connection, name: str, stored: str, state: DestinationState, now: datetime, lease_s: float
) -> HeldDestination | None:
    until = now + timedelta(seconds=lease_s)
    text = _text(state, until, uuid.uuid4().hex)
    return HeldDestination(name, state, until, text) if _replace(connection, name, stored, text) else None


def _replace(connection: Connection, name: str, stored: str, text: str) -> bool:
    where = (meta.c.key == _KEY.format(name), meta.c.value == stored)
    return connection.execute(update(meta).where(*where).values(value=text)).rowcount == 1


def _text(state: DestinationState, leased_until: datetime | None, holder: str | None) -> str:
    return orjson.dumps({**state._asdict(), "leased_until": leased_until, "holder": holder}).decode()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
