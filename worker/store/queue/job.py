"""The record of a claimed job, and the check that a worker still holds it."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select

from worker.store.budget.accounts import NIGHTLY, AccountKey
from worker.store.tables import JobRow, NightRow, ScoreRow, core

job_table, score, night_table = core(JobRow), core(ScoreRow), core(NightRow)


class Job(NamedTuple):
    """A job as it was claimed."""

    pk: int
    run_pk: int
    scorer_pk: int
    purpose: str
    replicate: int
    night: date
    attempt: int
    """1 for the first; a result counts only under the attempt that the claim gave."""
    reserved_usd: float
    """Reserved for the call, US dollars; 0 without a budget."""
    reserved_day: date | None
    """The calendar day on whose account it is reserved; None when nothing is."""
    account: str = NIGHTLY
    """Whose money it spends: `nightly` or `backfill`."""


_LOST = "worker_lost"
WAITS_FOR_MONEY = "the money for backfills is spent for today"
"""The reason of a backfill's job that waits for the next day."""


class _LeasedRow(NamedTuple):
    """What the job table says of a leased job; its worker's copy may be out of date."""

    pk: int
    attempt: int
    scorer_pk: int
    reserved_usd: float
    reserved_day: date | None
    account: str

    def account_key(self, day: date) -> AccountKey:
        """Where its cost is booked: on the day of its reservation, else on this one."""
        return self.reserved_day or day, self.scorer_pk, self.account


_HELD = [job_table.c[name] for name in _LeasedRow._fields]
_Holding = dict[tuple[int, int], _LeasedRow]
"""By job key and attempt."""


def _ours(connection: Connection, jobs: Sequence[Job], owner: str) -> _Holding:
    """The jobs still leased to `owner` under the attempt that was claimed; their rows are locked."""
    claimed = {(job.pk, job.attempt) for job in jobs}
    if not claimed:
        return {}
    statement = (
        select(*_HELD)
        .where(
            job_table.c.pk.in_([pk for pk, _ in claimed]),
            job_table.c.state == "leased",
            job_table.c.lease_owner == owner,
        )
        .order_by(job_table.c.pk)
        .with_for_update()
    )
    return _held_for(connection, statement, claimed)


def _held_for(connection: Connection, statement: Select[Any], claimed: set[tuple[int, int]]) -> _Holding:
    rows = [_LeasedRow(*row) for row in connection.execute(statement)]
    return {(leased.pk, leased.attempt): leased for leased in rows if (leased.pk, leased.attempt) in claimed}
