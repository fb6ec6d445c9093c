"""Alerts and what people decided about them, and the outbox they leave through."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, func, select, update

from worker.records import Alert
from worker.store.runs import insert_ignore
from worker.store.tables import AlertRow, FindingRow, OutboxRow, RunRow, core

alert, outbox, run, finding = (core(row) for row in (AlertRow, OutboxRow, RunRow, FindingRow))
ALIVE = ("open", "acknowledged", "muted")
_FINDING_STATES = {"acknowledged": "acknowledged", "muted": "muted", "resolved": "accepted", "open": "open"}
_OF_FINDING = {"recovered": "resolved", "accepted": "resolved"} | {state: state for state in ALIVE}


class OutboxMessage(NamedTuple):
    """A message that is due to leave."""

    pk: int
    message_id: str
    destination: str
    body: str
    attempt: int
    """1 for the first."""


def add(connection: Connection, one: Alert, *, run_pk: int | None = None) -> int | None:
    """Store an alert unless the same thing was told before; muted where its subject is.

    Returns:
        Its number; None when it was known.
    """
    until = _muted_until(connection, one)
    is_muted = until is not None and one.night <= until
    values = {
        **{name: getattr(one, name) for name in _PLAIN},
        "details": dict(one.details),
        "finding_pk": one.finding_id,
        "run_pk": run_pk,
        "state": "muted" if is_muted else "open",
        "state_at": one.raised_at,
        "muted_until": until if is_muted else None,
    }
    if connection.execute(insert_ignore(connection, alert), [values]).rowcount != 1:
        return None
    number: int = connection.execute(select(alert.c.pk).where(alert.c.key == one.key)).scalar_one()
    return number


_PLAIN = ("key", "kind", "urgency", "task_type", "subject", "text", "night", "raised_at")


def _muted_until(connection: Connection, one: Alert) -> date | None:
    same_task = alert.c.task_type.is_(None) if one.task_type is None else alert.c.task_type == one.task_type
    statement = select(func.max(alert.c.muted_until)).where(
        alert.c.kind == one.kind, alert.c.subject == one.subject, same_task, alert.c.muted_until.is_not(None)
    )
    until: date | None = connection.execute(statement).scalar_one()
    return until


def is_silent(connection: Connection, pk: int) -> bool:
    """Whether an alert is muted, so that nothing leaves for outside."""
    state: str = connection.execute(select(alert.c.state).where(alert.c.pk == pk)).scalar_one()
    return state == "muted"


def listing(
    connection: Connection, *, everything: bool = False, since: date | None = None, limit: int | None = None
) -> list[Alert]:
    """Alerts that are alive, or all of them; those told now first, then the newest."""
    statement = (
        select(alert, run.c.run_id, finding.c.state.label("finding_state"))
        .outerjoin(run, run.c.pk == alert.c.run_pk)
        .outerjoin(finding, finding.c.pk == alert.c.finding_pk)
        .order_by((alert.c.urgency == "now").desc(), alert.c.night.desc(), alert.c.pk.desc())
    )
    if since is not None:
        statement = statement.where(alert.c.night >= since)
    if limit is not None and everything:
        statement = statement.limit(limit)
    found = [_alert(row) for row in connection.execute(statement).mappings()]
    kept = found if everything else [one for one in found if one.state in ALIVE]
    return kept if limit is None else kept[:limit]


def _alert(row: RowMapping) -> Alert:
    state = _OF_FINDING.get(row["finding_state"] or "", row["state"])  # the finding knows best how it stands
    return Alert(
        alert_id=row["pk"],
        finding_id=row["finding_pk"],
        run_id=row["run_id"],
        details=row["details"],
        state=state,
        muted_until=row["muted_until"],
        **{name: row[name] for name in _PLAIN},
    )


def decide(
    connection: Connection, pks: Sequence[int], state: str, now: datetime, *, muted_until: date | None = None
) -> int:
    """Decide about alerts, and about the findings they tell of.

    Args:
        connection: A writing transaction.
        pks: Numbers of alerts.
        state: open · acknowledged · muted · resolved.
        now: The time.
        muted_until: Last night of a mute.

    Returns:
        How many of them there are.
    """
    values = {"state": state, "state_at": now, "muted_until": muted_until}
    done = connection.execute(update(alert).where(alert.c.pk.in_(list(pks))).values(**values)).rowcount
    of = select(alert.c.finding_pk).where(alert.c.pk.in_(list(pks)), alert.c.finding_pk.is_not(None))
    connection.execute(update(finding).where(finding.c.pk.in_(of)).values(**values | {"state": _FINDING_STATES[state]}))
    return max(0, done)


def was_told(connection: Connection, kind: str, task_type: str | None, since: date, before: date) -> bool:
    """Whether an alert of this kind was raised for a night from `since` on and before another."""
    same_task = alert.c.task_type.is_(None) if task_type is None else alert.c.task_type == task_type
    statement = select(func.count()).where(
        alert.c.kind == kind, same_task, alert.c.night >= since, alert.c.night < before
    )
    count: int = connection.execute(statement).scalar_one()
    return count > 0


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
