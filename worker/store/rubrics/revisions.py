"""What nights are drawn with, by revision: the active scorers and the sampling policy. Revisions only move forward."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, insert, select, update

from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.tables import NightRow, RevisionRow, core

revision, night_table = core(RevisionRow), core(NightRow)


class Revision(NamedTuple):
    """One revision."""

    number: int
    """1 for the first; each new one is one more."""
    digest: str
    """16 hex over the scorers' fingerprints and the policy; two revisions may be alike, where one went back."""
    scorers: Sequence[int]
    """Keys of the active scorers, heuristics first."""
    policy: Mapping[str, Any]
    """Rates and floors, as `[sampling]` has them."""
    from_night: date | None
    """The night whose draw activated it; None where a person did."""
    at: datetime
    by: str


def current(connection: Connection) -> Revision | None:
    """The revision in force; None before the first draw."""
    row = connection.execute(select(revision).order_by(revision.c.number.desc()).limit(1)).mappings().first()
    return None if row is None else _revision(row)


def get(connection: Connection, number: int) -> Revision | None:
    """A revision by its number; None when there is none."""
    row = connection.execute(select(revision).where(revision.c.number == number)).mappings().first()
    return None if row is None else _revision(row)


def active_scorers(connection: Connection) -> list[Registered]:
    """The active scorers, in their order; empty before the first draw."""
    now_active = current(connection)
    if now_active is None:
        return []
    stored = {entry.pk: entry for entry in enrol.registered(connection, now_active.scorers)}
    return [stored[pk] for pk in now_active.scorers if pk in stored]


def lock(connection: Connection) -> None:
    """Let no other transaction add a revision until this one ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE revision IN SHARE ROW EXCLUSIVE MODE")


def add(
    connection: Connection,
    *,
    digest: str,
    scorers: Sequence[int],
    policy: Mapping[str, Any],
    from_night: date | None,
    now: datetime,
    by: str,
) -> Revision:
    """Add the next revision; the caller has called `lock` in this transaction, and then read `current`.

    Returns:
        The revision, which is in force once the transaction ends.
    """
    before = current(connection)
    added = Revision(
        1 if before is None else before.number + 1, digest, list(scorers), dict(policy), from_night, now, by
    )
    connection.execute(insert(revision).values(**added._asdict()))
    return added


def note_night(connection: Connection, night: date, number: int) -> None:
    """Write down the revision that a night was drawn by."""
    connection.execute(update(night_table).where(night_table.c.night == night).values(revision=number))


def _revision(row: RowMapping) -> Revision:
    return Revision(**{field: row[field] for field in Revision._fields})
