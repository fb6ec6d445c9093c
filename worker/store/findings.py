"""Drift findings and what people decided about them."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, insert, select, update

from worker.records import Drift, Stream
from worker.store.tables import FindingRow, core

finding = core(FindingRow)
ALIVE = ("open", "acknowledged", "muted")


def _of(stream: Stream) -> ColumnElement[bool]:
    return and_(
        finding.c.scorer == stream.scorer,
        finding.c.series == stream.scorer_version,
        finding.c.task_type.is_not_distinct_from(stream.task_type),
        finding.c.criterion.is_not_distinct_from(stream.criterion),
    )


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
    *("kind", "direction", "before", "after", "window_nights", "scored", "z", "chance_per_year", "since"),
    "found_night",
)


def of_stream(connection: Connection, stream: Stream) -> Sequence[RowMapping]:
    """All findings of a stream, newest first."""
    statement = select(finding).where(_of(stream)).order_by(finding.c.found_night.desc(), finding.c.pk.desc())
    return connection.execute(statement).mappings().all()


def listing(connection: Connection, *, everything: bool = False) -> list[Drift]:
    """Findings that are alive, or all of them; newest first."""
    statement = select(finding).order_by(finding.c.found_night.desc(), finding.c.pk.desc())
    if not everything:
        statement = statement.where(finding.c.state.in_(ALIVE))
    return [_drift(row) for row in connection.execute(statement).mappings()]


def _drift(row: RowMapping) -> Drift:
    stream = Stream(row["task_type"], row["scorer"], row["series"], row["criterion"])
    return Drift(finding_id=row["pk"], stream=stream, state=row["state"], **{name: row[name] for name in _PLAIN})


def set_state(connection: Connection, pk: int, state: str, now: datetime, *, muted_until: date | None = None) -> bool:
    """Decide about a finding.

    Returns:
        Whether there is such a finding.
    """
    values: dict[str, Any] = {"state": state, "state_at": now, "muted_until": muted_until}
    return connection.execute(update(finding).where(finding.c.pk == pk).values(**values)).rowcount == 1
