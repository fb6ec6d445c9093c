"""The outbox: messages that wait for a destination."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, func, select, update

from worker.store.insert import insert_ignore
from worker.store.results.alerts import outbox


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


def claim(connection: Connection, now: datetime, limit: int, lease_s: float) -> list[OutboxMessage]:
    """Take messages that are due; each comes back by itself when this process dies before it has said how it went."""
    due = (
        select(outbox.c.pk, outbox.c.message_id, outbox.c.destination, outbox.c.body, outbox.c.attempt)
        .where(outbox.c.state == "queued", outbox.c.not_before <= now)
        .order_by(outbox.c.not_before, outbox.c.pk)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(due).all()
    if rows:
        connection.execute(
            update(outbox)
            .where(outbox.c.pk.in_([row.pk for row in rows]))
            .values(attempt=outbox.c.attempt + 1, not_before=now + timedelta(seconds=lease_s))
        )
    return [OutboxMessage(row.pk, row.message_id, row.destination, row.body, row.attempt + 1) for row in rows]


def sent(connection: Connection, pk: int, now: datetime) -> None:
    """A message has arrived."""
    connection.execute(update(outbox).where(outbox.c.pk == pk).values(state="sent", said=None, done_at=now))


def put_off(connection: Connection, pk: int, until: datetime, said: str) -> None:
    """Try a message again later."""
    connection.execute(update(outbox).where(outbox.c.pk == pk).values(not_before=until, said=said[:500]))


def given_up(connection: Connection, pk: int, said: str, now: datetime) -> None:
    """A message that nobody takes; it stays in the store, and `spotcheck alerts` says so."""
    values: dict[str, Any] = {"state": "failed", "said": said[:500], "done_at": now}
    connection.execute(update(outbox).where(outbox.c.pk == pk).values(**values))


def delivery(connection: Connection, alert_pks: Sequence[int]) -> dict[int, list[RowMapping]]:
    """How the messages of these alerts stand: destination, state, attempt, said, done_at."""
    columns = (outbox.c.alert_pk, outbox.c.destination, outbox.c.state, outbox.c.attempt, outbox.c.said)
    statement = select(*columns, outbox.c.done_at).where(outbox.c.alert_pk.in_(list(alert_pks)))
    found: dict[int, list[RowMapping]] = {}
    for row in connection.execute(statement.order_by(outbox.c.pk)).mappings():
        found.setdefault(row["alert_pk"], []).append(row)
    return found


def waiting(connection: Connection) -> dict[str, int]:
    """Messages in the outbox by state."""
    statement = select(outbox.c.state, func.count()).group_by(outbox.c.state)
    return {row[0]: row[1] for row in connection.execute(statement)}
