"""How each destination stands: who delivers to it now, how often it failed in a row, and when it is tried again.

One row of `meta` a destination, written by compare-and-set, so that of two processes only one gets it. It holds a
salted hash of the address it is about: what an address did is not held against the one that follows it.
"""

import hashlib
import secrets
import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, update

from worker.store.meta import get_meta, meta, set_meta_once
from worker.store.results.outbox import IMPOSSIBLE_S, KEPT

_KEY = "destination:{}"
_NEW = "{}"


class DestinationState(NamedTuple):
    """A destination's circuit breaker: closed without failures, open until `not_before`, half-open from then on."""

    failures: int = 0
    """Attempts in a row that it did not take."""
    not_before: datetime | None = None
    """The earliest next attempt; None when any time will do."""
    said: str | None = None
    """Why the last attempt failed; None without failures."""
    is_misconfigured: bool = False
    """Whether somebody has to mend its address or secret."""
    since: datetime | None = None
    """When the attempts in a row that failed began; None without failures."""


class HeldDestination(NamedTuple):
    """A destination that this process delivers to, and nobody else until the lease runs out."""

    name: str
    state: DestinationState
    until: datetime
    """End of the lease."""
    sealed: str | None
    """Salted hash of its address; None where none is known."""
    stored: str
    """The row as this process wrote it: who finds another there has lost the lease."""
    has_moved: bool = False
    """Whether it had another address before: then its state is that of a new one."""


class _Row(NamedTuple):
    """What is stored of a destination."""

    text: str
    state: DestinationState
    leased_until: datetime | None
    sealed: str | None


def acquire(
    connection: Connection, name: str, now: datetime, lease_s: float, address: str | None = None
) -> HeldDestination | None:
    """Take a destination, unless another process has it or its next attempt is not due.

    Args:
        connection: A writing transaction.
        name: The sink's name.
        now: The time.
        lease_s: Seconds after which another process may take it over.
        address: Where it is now; only a salted hash is stored. Failures and pauses of another address do not count.
            None where it is not known.
    """
    row = _row(get_meta(connection, _KEY.format(name)) or set_meta_once(connection, _KEY.format(name), _NEW))
    has_moved = _is_other(row.sealed, address)
    state = DestinationState() if has_moved else row.state
    ahead = now + timedelta(seconds=IMPOSSIBLE_S)
    if any(at is not None and now < at <= ahead for at in (row.leased_until, state.not_before)):
        return None
    sealed = row.sealed if address is None or (row.sealed and not has_moved) else _sealed(address)
    return _write(connection, HeldDestination(name, state, now, sealed, row.text, has_moved), now, lease_s)


def renew(connection: Connection, held: HeldDestination, now: datetime, lease_s: float) -> HeldDestination | None:
    """Keep a destination for another while; None when another process has taken it over."""
    return _write(connection, held, now, lease_s)


def release(connection: Connection, held: HeldDestination, state: DestinationState) -> bool:
    """Give a destination back and say how it stands; False when another process has taken it over."""
    return _replace(connection, held.name, held.stored, _text(state, held.sealed, None, None))


def note_unconfigured(connection: Connection, name: str, now: datetime) -> datetime:
    """Since when something waits for a destination that no process has in its settings; that it is so now is noted.

    Whoever takes the destination takes the note away; while another process has it, it is configured there.

    Args:
        connection: A writing transaction.
        name: The sink's name.
        now: The time.
    """
    key = _KEY.format(name)
    stored = get_meta(connection, key) or set_meta_once(connection, key, _NEW)
    fields = orjson.loads(stored)
    noted = begun(_time(fields.get("unconfigured_since")), now)
    leased_until = _time(fields.get("leased_until"))
    if leased_until is not None and now < leased_until <= now + timedelta(seconds=IMPOSSIBLE_S):
        return now
    if noted is None:
        _replace(connection, name, stored, orjson.dumps(fields | {"unconfigured_since": now}).decode())
    return noted or now


def begun(since: datetime | None, now: datetime) -> datetime | None:
    """When something began that lasts; None where nothing did, or where the clock has been set since.

    Nobody looks away for a fortnight: what began in the future, or so long ago, was written under another clock.
    """
    return since if since is not None and timedelta() <= now - since <= 2 * KEPT else None


def has_moved(connection: Connection, name: str, address: str | None) -> bool:
    """Whether a destination was last tried at another address than this one."""
    return _is_other(_row(get_meta(connection, _KEY.format(name)) or _NEW).sealed, address)


def state_of(connection: Connection, name: str, address: str | None) -> DestinationState:
    """How a destination stands at this address; as a new one where it was never tried there."""
    row = _row(get_meta(connection, _KEY.format(name)) or _NEW)
    return DestinationState() if _is_other(row.sealed, address) else row.state


def _row(text: str) -> _Row:
    fields = orjson.loads(text)
    state = DestinationState(
        fields.get("failures", 0),
        _time(fields.get("not_before")),
        fields.get("said"),
        fields.get("is_misconfigured", False),
        _time(fields.get("since")),
    )
    return _Row(text, state, _time(fields.get("leased_until")), fields.get("address"))


def _sealed(address: str, salt: str | None = None) -> str:
    """A salted hash of an address, which may be a secret: it can be compared, and tells nothing."""
    salt = salt or secrets.token_hex(8)
    return f"{salt}:{hashlib.sha256(f'{salt}:{address}'.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _is_other(sealed: str | None, address: str | None) -> bool:
    """Whether both are known and differ."""
    return sealed is not None and address is not None and _sealed(address, sealed.partition(":")[0]) != sealed


def _write(connection: Connection, held: HeldDestination, now: datetime, lease_s: float) -> HeldDestination | None:
    until = now + timedelta(seconds=lease_s)
    text = _text(held.state, held.sealed, until, uuid.uuid4().hex)
    return held._replace(until=until, stored=text) if _replace(connection, held.name, held.stored, text) else None


def _replace(connection: Connection, name: str, stored: str, text: str) -> bool:
    where = (meta.c.key == _KEY.format(name), meta.c.value == stored)
    return connection.execute(update(meta).where(*where).values(value=text)).rowcount == 1


def _text(state: DestinationState, sealed: str | None, leased_until: datetime | None, holder: str | None) -> str:
    fields = {**state._asdict(), "address": sealed, "leased_until": leased_until, "holder": holder}
    return orjson.dumps(fields).decode()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
