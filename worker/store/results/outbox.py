"""The outbox: messages that wait, a queue for each destination."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, func, or_, select, update

from worker.store.insert import insert_ignore
from worker.store.results.alerts import outbox

IMPOSSIBLE_S = 2 * 3_600.0
"""Nothing is put off for more than an hour. A time further ahead than this was written under a clock that has been set
back since; it does not count, or messages would wait until that time comes."""

KEPT = timedelta(days=7)
"""How long a message is kept for a destination that has to be mended, or is not configured any more."""


class OutboxMessage(NamedTuple):
    """A message that is due to leave."""

    pk: int
    message_id: str
    destination: str
    body: str
    attempt: int
    """1 for the first."""


def post(connection: Connection, alert_pk: int, destination: str, body: str, now: datetime) -> None:
    """Put a message into the outbox, in the transaction that raised its alert; once a destination."""
    row = {
        "message_id": f"msg_{uuid.uuid4().hex}",
        "alert_pk": alert_pk,
        "destination": destination,
        "body": body,
        "state": "queued",
        "attempt": 0,
        "not_before": now,
        "created_at": now,
    }
    connection.execute(insert_ignore(connection, outbox), [row])


def destinations_due(connection: Connection, now: datetime) -> set[str]:
    """Destinations that a message is due for; index `outbox_due`."""
    due = select(outbox.c.destination).where(outbox.c.state == "queued", _is_due(now))
    return set(connection.execute(due.distinct()).scalars())


def claim(connection: Connection, destination: str, now: datetime, lease_s: float) -> OutboxMessage | None:
    """Take the oldest message of a destination that is due; index `outbox_due`.

    It comes back by itself after the lease, when this process dies before it has said how it went.

    Args:
        connection: A writing transaction.
        destination: The sink's name.
        now: The time.
        lease_s: Seconds for which nobody else gets it; longer than an attempt can take.
    """
    due = (
        select(*(outbox.c[field] for field in OutboxMessage._fields))
        .where(outbox.c.state == "queued", outbox.c.destination == destination, _is_due(now))
        .order_by(outbox.c.pk)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(due).first()
    if row is None:
        return None
    leased = {"attempt": row.attempt + 1, "not_before": now + timedelta(seconds=lease_s)}
    connection.execute(update(outbox).where(outbox.c.pk == row.pk).values(**leased))
    return OutboxMessage(*row)._replace(attempt=row.attempt + 1)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(outbox.c.not_before <= now, outbox.c.not_before > now + timedelta(seconds=IMPOSSIBLE_S))


def sent(connection: Connection, message: OutboxMessage, now: datetime) -> None:
    """A message has arrived; true whoever sent it."""
    where = (outbox.c.pk == message.pk, outbox.c.state == "queued")
    connection.execute(update(outbox).where(*where).values(state="sent", said=None, done_at=now))


def put_off(
    connection: Connection, message: OutboxMessage, until: datetime, said: str, attempt: int | None = None
) -> None:
    """Try a message again later.

    Args:
        connection: A writing transaction.
        message: As it was claimed.
        until: The earliest next attempt.
        said: Why it was not taken.
        attempt: How many attempts are held against it; those that were made when not given.
    """
    values = {"not_before": until, "said": said[:500], "attempt": message.attempt if attempt is None else attempt}
    _of_attempt(connection, message, values)


def mark_failed(connection: Connection, message: OutboxMessage, said: str, now: datetime) -> None:
    """A message that nobody takes; it stays in the store, and `spotcheck alerts` says so."""
    _of_attempt(connection, message, {"state": "failed", "said": said[:500], "done_at": now})


def make_due(connection: Connection, destination: str, now: datetime) -> None:
    """Messages that were put off while their destination was down are due now, so that they leave in their order.

    For whoever holds the destination (`destinations.acquire`): nobody else has a message of it in hand.
    """
    where = (outbox.c.destination == destination, outbox.c.state == "queued", outbox.c.not_before > now)
    connection.execute(update(outbox).where(*where).values(not_before=now))


def start_over(connection: Connection, destination: str, now: datetime) -> None:
    """Messages of a destination whose address has changed are due now, as if none had been tried.

    For whoever holds the destination (`destinations.acquire`).
    """
    where = (outbox.c.destination == destination, outbox.c.state == "queued")
    connection.execute(update(outbox).where(*where).values(not_before=now, attempt=0))


def give_up(connection: Connection, destination: str, raised_until: datetime, said: str, now: datetime) -> int:
    """Keep messages of a destination that wait as failed, those raised until then. Returns how many."""
    where = (outbox.c.destination == destination, outbox.c.state == "queued", outbox.c.created_at <= raised_until)
    values = {"state": "failed", "said": said, "done_at": now}
    return connection.execute(update(outbox).where(*where).values(**values)).rowcount


def _of_attempt(connection: Connection, message: OutboxMessage, values: dict[str, Any]) -> None:
    """Say how an attempt went, unless the lease ran out and another process has tried since."""
    where = (outbox.c.pk == message.pk, outbox.c.state == "queued", outbox.c.attempt == message.attempt)
    connection.execute(update(outbox).where(*where).values(**values))


def delivery(connection: Connection, alert_pks: Sequence[int]) -> dict[int, list[RowMapping]]:
    """How the messages of these alerts stand: destination, state, attempt, said, done_at."""
    columns = (outbox.c.alert_pk, outbox.c.destination, outbox.c.state, outbox.c.attempt, outbox.c.said)
    statement = select(*columns, outbox.c.done_at).where(outbox.c.alert_pk.in_(list(alert_pks)))
    by_alert: dict[int, list[RowMapping]] = {}
    for row in connection.execute(statement.order_by(outbox.c.pk)).mappings():
        by_alert.setdefault(row["alert_pk"], []).append(row)
    return by_alert


def queued_by_destination(connection: Connection) -> dict[str, int]:
    """How many messages wait for each destination; one that nothing waits for is absent."""
    count = select(outbox.c.destination, func.count()).where(outbox.c.state == "queued")
    return {row[0]: row[1] for row in connection.execute(count.group_by(outbox.c.destination))}


def waiting(connection: Connection) -> dict[str, int]:
    """Messages in the outbox by state."""
    statement = select(outbox.c.state, func.count()).group_by(outbox.c.state)
    return {row[0]: row[1] for row in connection.execute(statement)}
