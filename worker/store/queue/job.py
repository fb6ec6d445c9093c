"""A claimed job, and whether it is still ours."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select

from worker.store.tables import JobRow, NightRow, ScoreRow, core

job, score, night_table = core(JobRow), core(ScoreRow), core(NightRow)


class Job(NamedTuple):
    """A claimed job."""

    pk: int
    run_pk: int
    scorer_pk: int
    purpose: str
    replicate: int
    night: date
    attempt: int
    """Counted at the claim, from 1; the fence."""
    reserved_usd: float
    reserved_day: date | None


_LOST = "worker_lost"


class _LeasedRow(NamedTuple):
    """What the ledger holds for a job, whatever its worker remembers."""

    pk: int
    attempt: int
    scorer_pk: int
    reserved_usd: float
    reserved_day: date | None


_HELD = [job.c[name] for name in _LeasedRow._fields]
_Holding = dict[tuple[int, int], _LeasedRow]
"""By key and attempt."""


def _ours(connection: Connection, jobs: Sequence[Job], owner: str) -> _Holding:
    """The jobs still leased to us under the attempt we claimed, locked."""
    claimed = {(one.pk, one.attempt) for one in jobs}
    if not claimed:
        return {}
    statement = (
        select(*_HELD)
        .where(job.c.pk.in_([pk for pk, _ in claimed]), job.c.state == "leased", job.c.lease_owner == owner)
        .order_by(job.c.pk)
        .with_for_update()
    )
    return _held_for(connection, statement, claimed)


def _held_for(connection: Connection, statement: Select[Any], claimed: set[tuple[int, int]]) -> _Holding:
    rows = [_LeasedRow(*row) for row in connection.execute(statement)]
    return {(one.pk, one.attempt): one for one in rows if (one.pk, one.attempt) in claimed}
