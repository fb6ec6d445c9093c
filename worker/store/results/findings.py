"""The finding table: drift findings, and what people decided about them."""

from collections import defaultdict
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from worker.records import Drift, Stream
from worker.store.tables import FindingRow, core

finding = core(FindingRow)
OPEN_STATES = ("open", "acknowledged", "muted")


def _stream(row: RowMapping) -> Stream:
    return Stream(row["task_type"], row["scorer"], row["series"], row["criterion"])


def add(connection: Connection, drift: Drift, now: datetime) -> int:
    """Store a finding.

    Returns:
        Its number.
    """
    values = {
        "task_type": drift.stream.task_type,
        "scorer": drift.stream.scorer,
        "series": drift.stream.scorer_version,
        "criterion": drift.stream.criterion,
        **{name: getattr(drift, name) for name in _PLAIN},
        "state": "open",
        "found_at": now,
        "state_at": now,
    }
    key = connection.execute(insert(finding).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


_PLAIN = (
    *("kind", "direction", "before", "after", "window_nights", "window_hours", "scored", "z", "chance_per_year"),
    *("since", "found_night"),
)


def by_stream(connection: Connection) -> dict[Stream, list[RowMapping]]:
    """All findings by stream, newest first."""
    findings: dict[Stream, list[RowMapping]] = defaultdict(list)
    statement = select(finding).order_by(finding.c.found_night.desc(), finding.c.pk.desc())
    for row in connection.execute(statement).mappings():
        findings[_stream(row)].append(row)
    return findings


def list_findings(connection: Connection, *, everything: bool = False) -> list[Drift]:
    """Findings, newest first: open, acknowledged and muted ones, or with `everything` all."""
    statement = select(finding).order_by(finding.c.found_night.desc(), finding.c.pk.desc())
    if not everything:
        statement = statement.where(finding.c.state.in_(OPEN_STATES))
    return [_drift(row) for row in connection.execute(statement).mappings()]


def _drift(row: RowMapping) -> Drift:
    return Drift(finding_id=row["pk"], stream=_stream(row), state=row["state"], **{name: row[name] for name in _PLAIN})


def set_state(connection: Connection, pk: int, state: str, now: datetime, *, muted_until: date | None = None) -> bool:
    """Set the state of a finding.

    Returns:
        Whether there is such a finding.
    """
    values: dict[str, Any] = {"state": state, "state_at": now, "muted_until": muted_until}
    return connection.execute(update(finding).where(finding.c.pk == pk).values(**values)).rowcount == 1


def count_undecided(connection: Connection) -> int:
    """How many findings are open, without those that somebody has acknowledged or muted."""
    return connection.execute(select(func.count()).where(finding.c.state == "open")).scalar_one()
