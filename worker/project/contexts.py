"""What scorers may know besides a run: what was usual for its task type when its night was drawn."""

from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping

from worker.records import Reference
from worker.store.engine import Store
from worker.store.runs import references

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.protocol import Context


def contexts(store: Store, nights_and_types: Collection[tuple[date, str]]) -> "dict[tuple[date, str], Context]":
    """What scorers may know besides a run, by night and task type; without a way to a judge."""
    from worker.scorers.protocol import Context

    with store.read() as connection:
        rows = references.references(connection, sorted({night for night, _ in nights_and_types}))
    return {pair: Context(reference=reference_of(rows.get(pair))) for pair in nights_and_types}


def reference_of(row: RowMapping | None) -> Reference | None:
    """A stored reference as a record; None when there is none."""
    if row is None:
        return None
    return Reference(**{name: row[name] for name in Reference._fields})
