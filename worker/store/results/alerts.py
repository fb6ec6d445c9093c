"""The alert table: alerts as they were raised, and what people decided about them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, func, or_, select, update

from worker.records import Alert
from worker.store.insert import insert_ignore
from worker.store.tables import AlertRow, FindingRow, OutboxRow, RunRow, core

alert, outbox, run, finding = (core(row) for row in (AlertRow, OutboxRow, RunRow, FindingRow))
OPEN_STATES = ("open", "acknowledged", "muted")
_FINDING_STATES = {"acknowledged": "acknowledged", "muted": "muted", "resolved": "accepted", "open": "open"}
_OF_FINDING = {"recovered": "resolved", "accepted": "resolved"} | {state: state for state in OPEN_STATES}


def add(connection: Connection, new: Alert, *, run_pk: int | None = None) -> int | None:
    """Store an alert unless one with its key exists; it is stored as muted where a mute covers its subject and night.

    Returns:
        Its number; None when an alert with this key exists.
    """
    until = _muted_until(connection, new)
    is_muted = until is not None and new.night <= until and new.state == "open"
    values = {
        **{name: getattr(new, name) for name in _PLAIN},
        "details": dict(new.details),
        "finding_pk": new.finding_id,
        "run_pk": run_pk,
        "state": "muted" if is_muted else new.state,
        "state_at": new.raised_at,
        "muted_until": until if is_muted else None,
    }
    if connection.execute(insert_ignore(connection, alert), [values]).rowcount != 1:
        return None
    number: int = connection.execute(select(alert.c.pk).where(alert.c.key == new.key)).scalar_one()
    return number


_PLAIN = ("key", "kind", "urgency", "task_type", "subject", "text", "night", "raised_at")


def _muted_until(connection: Connection, new: Alert) -> date | None:
    same_task = alert.c.task_type.is_(None) if new.task_type is None else alert.c.task_type == new.task_type
    statement = select(func.max(alert.c.muted_until)).where(
        alert.c.kind == new.kind, alert.c.subject == new.subject, same_task, alert.c.muted_until.is_not(None)
    )
    until: date | None = connection.execute(statement).scalar_one()
    return until


def is_muted(connection: Connection, pk: int) -> bool:
    """Whether an alert is muted, so that nothing is sent."""
    state: str = connection.execute(select(alert.c.state).where(alert.c.pk == pk)).scalar_one()
    return state == "muted"


def list_alerts(
    connection: Connection, *, everything: bool = False, since: date | None = None, limit: int | None = None
) -> list[Alert]:
    """Alerts: first those of urgency `now`, then the newest night first.

    Args:
        connection: A read transaction.
        everything: Whether resolved alerts are included.
        since: First night; None for all.
        limit: The most to return; None for all.
    """
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
    records = [_alert(row) for row in connection.execute(statement).mappings()]
    kept = records if everything else [record for record in records if record.state in OPEN_STATES]
    return kept if limit is None else kept[:limit]


def _alert(row: RowMapping) -> Alert:
    state = _OF_FINDING.get(row["finding_state"] or "", row["state"])  # the state of its finding decides
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
    """Set the state of alerts and of the findings they belong to.

    Args:
        connection: A write transaction.
        pks: Numbers of the alerts.
        state: open · acknowledged · muted · resolved.
        now: The time.
        muted_until: Last night of a mute; None for other states.

    Returns:
        How many of these alerts exist.
    """
    values = {"state": state, "state_at": now, "muted_until": muted_until}
    done = connection.execute(update(alert).where(alert.c.pk.in_(list(pks))).values(**values)).rowcount
    of = select(alert.c.finding_pk).where(alert.c.pk.in_(list(pks)), alert.c.finding_pk.is_not(None))
    connection.execute(update(finding).where(finding.c.pk.in_(of)).values(**values | {"state": _FINDING_STATES[state]}))
    return max(0, done)


def was_raised(connection: Connection, kind: str, task_type: str | None, since: date, before: date) -> bool:
    """Whether an alert of this kind and task type was raised for a night in [`since`, `before`)."""
    same_task = alert.c.task_type.is_(None) if task_type is None else alert.c.task_type == task_type
    statement = select(func.count()).where(
        alert.c.kind == kind, same_task, alert.c.night >= since, alert.c.night < before
    )
    count: int = connection.execute(statement).scalar_one()
    return count > 0


class TroubleAlert(NamedTuple):
    """An alert of the pipeline itself."""

    pk: int
    subject: str
    task_type: str | None
    text: str
    night: date
    raised_at: datetime
    state: str
    details: Mapping[str, Any]
    """At least `since`: the night on which it began, in ISO form."""


def open_troubles(connection: Connection, check: str) -> list[TroubleAlert]:
    """Open alerts of kind `pipeline` that one check raised, oldest first.

    Args:
        connection: Any transaction.
        check: The subject, or what stands before its colon.
    """
    return _troubles(connection, check, alert.c.state.in_(OPEN_STATES))


def told_troubles(connection: Connection, check: str) -> list[TroubleAlert]:
    """Every alert of kind `pipeline` that one check ever raised, oldest first; without those that tell a recovery."""
    return [one for one in _troubles(connection, check) if "recovers" not in one.details]


def _troubles(connection: Connection, check: str, *which: ColumnElement[bool]) -> list[TroubleAlert]:
    mine = or_(alert.c.subject == check, alert.c.subject.startswith(f"{check}:", autoescape=True))
    statement = (
        select(*(alert.c[name] for name in TroubleAlert._fields))
        .where(alert.c.kind == "pipeline", mine, *which)
        .order_by(alert.c.pk)
    )
    return [TroubleAlert(*row) for row in connection.execute(statement)]


def recover(connection: Connection, pk: int, now: datetime) -> bool:
    """Close an alert whose trouble is over. Returns False where another process, or a person, did so first."""
    statement = update(alert).where(alert.c.pk == pk, alert.c.state.in_(OPEN_STATES))
    return connection.execute(statement.values(state="resolved", state_at=now, muted_until=None)).rowcount == 1
