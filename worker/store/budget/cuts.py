"""Skipping the rest of a night when a budget is spent, so that what was scored stays a random sample."""

from collections import defaultdict
from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from worker.store.budget.accounts import FORGOTTEN, HOLDS, NIGHTLY, Bookings, book, cut, draw, job
from worker.store.insert import insert_ignore


def cut_night(connection: Connection, night: date, now: datetime, scorer_pks: Collection[int] | None = None) -> int:
    """Skip (`shed`) the open judge jobs of a night that spend its money, and store each stratum's effective threshold.

    Jobs of a backfill are none of them: they have money of their own.

    Jobs are done in the order u = sample key / threshold. So the runs below the smallest unresolved u are a smaller,
    equally random sample, and the effective threshold of a stratum is that u times its threshold.

    Args:
        connection: A write transaction.
        night: The night to cut.
        now: The store's time.
        scorer_pks: The scorers whose rubric's own cap is spent; None cuts all judge scorers.

    Returns:
        Jobs skipped.
    """
    of_scorers = [] if scorer_pks is None else [job.c.scorer_pk.in_(list(scorer_pks))]
    smallest = connection.execute(
        select(job.c.scorer_pk, func.min(job.c.u))
        .where(
            job.c.night == night,
            job.c.lane != "heuristic",
            job.c.account == NIGHTLY,
            job.c.state.in_(("queued", "leased")),
            *of_scorers,
        )
        .group_by(job.c.scorer_pk)
    ).all()
    draws = connection.execute(
        select(draw.c.pk, draw.c.threshold).where(draw.c.night == night, draw.c.is_current)
    ).all()
    count = 0
    for scorer_pk, u in smallest:
        rows = [
            {"draw_pk": pk, "scorer_pk": scorer_pk, "threshold": threshold * u, "cut_at": now, "reason": "budget"}
            for pk, threshold in draws
        ]
        connection.execute(insert_ignore(connection, cut), rows)
        # an existing cut is lowered when a late run below it finds the budget spent; it is never raised
        lower = (cut.c.draw_pk == bindparam("b_draw"), cut.c.threshold > bindparam("b_threshold"))
        connection.execute(
            update(cut)
            .where(cut.c.scorer_pk == scorer_pk, *lower)
            .values(threshold=bindparam("b_threshold"), cut_at=now, reason="budget"),
            [{"b_draw": row["draw_pk"], "b_threshold": row["threshold"]} for row in rows],
        )
        own = (job.c.night == night, job.c.scorer_pk == scorer_pk, job.c.account == NIGHTLY)
        count += shed(connection, now, "budget", *own)
    return count


def shed(connection: Connection, now: datetime, reason: str, *which: ColumnElement[bool]) -> int:
    """Set queued jobs to state `shed` with a reason, and free their reservations.

    Returns:
        Jobs skipped.
    """
    queued = (job.c.state == "queued", *which)
    freed: Bookings = defaultdict(float)
    held = select(job.c.reserved_day, job.c.scorer_pk, job.c.account, job.c.reserved_usd)
    for day, scorer_pk, account, amount in connection.execute(held.where(*queued, HOLDS).with_for_update()):
        freed[day, scorer_pk, account] -= amount
    for key, amount in sorted(freed.items()):
        book(connection, *key, reserved=amount)
    values = {"state": "shed", "reason": reason, "resolved_at": now, **FORGOTTEN}
    return connection.execute(update(job).where(*queued).values(**values)).rowcount
