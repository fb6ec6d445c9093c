"""What a spent budget sheds: open jobs in the random order of their sample keys."""

from collections import defaultdict
from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from worker.store.budget.accounts import FORGOTTEN, HOLDS, Bookings, book, cut, draw, job
from worker.store.insert import insert_ignore


def cut_night(connection: Connection, night: date, now: datetime, scorer_pks: Collection[int] | None = None) -> int:
    """The budget is spent: shed what is left of a night's judging, and note the effective thresholds.

    Work went in the order u = key ÷ threshold, so the runs below the smallest unresolved u are a smaller, equally
    random sample; each stratum's effective threshold is that u × its threshold.

    Args:
        connection: A write transaction.
        night: Which.
        now: The time.
        scorer_pks: Scorers whose own money is spent; None for all, and then all are cut.

    Returns:
        Jobs shed.
    """
    of_whom = [] if scorer_pks is None else [job.c.scorer_pk.in_(list(scorer_pks))]
    smallest = connection.execute(
        select(job.c.scorer_pk, func.min(job.c.u))
        .where(job.c.night == night, job.c.lane != "heuristic", job.c.state.in_(("queued", "leased")), *of_whom)
        .group_by(job.c.scorer_pk)
    ).all()
    draws = connection.execute(
        select(draw.c.pk, draw.c.threshold).where(draw.c.night == night, draw.c.is_current)
    ).all()
    count = 0
    for scorer_pk, u in smallest:
        rows = [
            {"draw_pk": pk, "scorer_pk": scorer_pk, "threshold": threshold * u, "cut_at": now}
            for pk, threshold in draws
        ]
        connection.execute(insert_ignore(connection, cut), rows)
        # a cut that stands is lowered when a late run below it finds the money gone; it is never raised
        lower = (cut.c.draw_pk == bindparam("b_draw"), cut.c.threshold > bindparam("b_threshold"))
        connection.execute(
            update(cut)
            .where(cut.c.scorer_pk == scorer_pk, *lower)
            .values(threshold=bindparam("b_threshold"), cut_at=now),
            [{"b_draw": row["draw_pk"], "b_threshold": row["threshold"]} for row in rows],
        )
        count += shed(connection, now, "budget", job.c.night == night, job.c.scorer_pk == scorer_pk)
    return count


def shed(connection: Connection, now: datetime, reason: str, *which: ColumnElement[bool]) -> int:
    """Take queued jobs off the queue unscored; what was held for another try of theirs is free again.

    Returns:
        Jobs shed.
    """
    queued = (job.c.state == "queued", *which)
    freed: Bookings = defaultdict(float)
    held = select(job.c.reserved_day, job.c.scorer_pk, job.c.reserved_usd)
    for day, scorer_pk, amount in connection.execute(held.where(*queued, HOLDS).with_for_update()):
        freed[day, scorer_pk] -= amount
    for account_of, amount in sorted(freed.items()):
        book(connection, *account_of, reserved=amount)
    values = {"state": "shed", "reason": reason, "resolved_at": now, **FORGOTTEN}
    return connection.execute(update(job).where(*queued).values(**values)).rowcount
