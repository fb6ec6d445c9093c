"""Draws (the threshold of each night and stratum) and samples (the runs they drew)."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, func, insert, literal, select, true, update

from worker.records import Draw, Stratum
from worker.store.insert import insert_ignore
from worker.store.tables import DrawRow, MetaRow, NightRow, RunRow, SampleRow, core

run, draw, sample, night_table, meta = (core(row) for row in (RunRow, DrawRow, SampleRow, NightRow, MetaRow))


class Population(NamedTuple):
    """The ended runs of one stratum of a night."""

    stratum: Stratum
    size: int


def populations(connection: Connection, night: date) -> list[Population]:
    """Ended runs of a night by stratum, sorted; empty without runs. Uses run_by_facts."""
    statement = (
        select(run.c.task_type, run.c.flagged, func.count())
        .where(run.c.night == night)
        .group_by(run.c.task_type, run.c.flagged)
    )
    rows = connection.execute(statement).all()
    return sorted(Population(Stratum(task_type, bool(flagged)), size) for task_type, flagged, size in rows)


def smallest_keys(connection: Connection, night: date, stratum: Stratum, count: int) -> list[float]:
    """The `count` smallest sample keys of a stratum, ascending; fewer when it has fewer runs. Uses run_by_key."""
    statement = (
        select(run.c.sample_key)
        .where(run.c.night == night, run.c.task_type == stratum.task_type, run.c.flagged == stratum.flagged)
        .order_by(run.c.sample_key)
        .limit(count)
    )
    return list(connection.execute(statement).scalars())


def count_below(connection: Connection, night: date, stratum: Stratum, threshold: float) -> int:
    """How many runs of a stratum have a sample key below a threshold. Uses run_by_key."""
    statement = select(func.count()).where(
        run.c.night == night,
        run.c.task_type == stratum.task_type,
        run.c.flagged == stratum.flagged,
        run.c.sample_key < threshold,
    )
    return connection.execute(statement).scalar_one()


def current_draws(connection: Connection, night: date) -> dict[Stratum, RowMapping]:
    """The current draws of a night, by stratum; a stratum that was not drawn is absent."""
    rows = connection.execute(select(draw).where(draw.c.night == night, draw.c.is_current)).mappings()
    return {Stratum(row["task_type"], bool(row["flagged"])): row for row in rows}


def store_draw(connection: Connection, decided: Draw, rate: float) -> int:
    """Store a draw, which supersedes the stratum's earlier one, and add the runs it draws to the sample.

    Args:
        connection: A write transaction.
        decided: The draw.
        rate: The sampling rate that was asked for, 0..1; the threshold may be higher.

    Returns:
        Runs added to the sample.
    """
    same = (
        draw.c.night == decided.night,
        draw.c.task_type == decided.stratum.task_type,
        draw.c.flagged == decided.stratum.flagged,
    )
    seq = connection.execute(select(func.coalesce(func.max(draw.c.seq), 0)).where(*same)).scalar_one() + 1
    connection.execute(update(draw).where(*same).values(is_current=False))
    connection.execute(
        insert(draw).values(
            night=decided.night,
            task_type=decided.stratum.task_type,
            flagged=decided.stratum.flagged,
            seq=seq,
            population=decided.population,
            threshold=decided.threshold,
            rate=rate,
            drawn=decided.drawn,
            why=decided.why,
            drawn_at=decided.drawn_at,
            is_current=True,
        )
    )
    return add_samples(connection, decided.night, decided.drawn_at, decided.stratum)


def add_samples(connection: Connection, night: date, now: datetime, stratum: Stratum | None = None) -> int:
    """Add every run of a night to the sample whose key is below the stored threshold and that is not in it yet.

    For new draws and for runs that came late. Thresholds are read, never changed here.

    Args:
        connection: A write transaction.
        night: The night.
        now: The store's time.
        stratum: Only this one; None for all.

    Returns:
        Runs added.
    """
    chosen = (
        select(run.c.pk, draw.c.pk, run.c.night, run.c.sample_key, literal(now, sample.c.drawn_at.type))
        .join(
            draw,
            (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged),
        )
        .where(run.c.night == night, draw.c.is_current, run.c.sample_key < draw.c.threshold, true())
    )
    if stratum is not None:
        chosen = chosen.where(run.c.task_type == stratum.task_type, run.c.flagged == stratum.flagged)
    columns = ["run_pk", "draw_pk", "night", "sample_key", "drawn_at"]
    statement = insert_ignore(connection, sample).from_select(columns, chosen)
    return max(0, connection.execute(statement).rowcount)


def has_late_runs(connection: Connection, night: date) -> bool:
    """Whether a drawn night has undecided runs: below the stored threshold but not sampled, or of a stratum not drawn.

    Uses run_by_facts, and run_by_key up to the thresholds.
    """
    current_draw = (
        (draw.c.night == run.c.night)
        & (draw.c.task_type == run.c.task_type)
        & (draw.c.flagged == run.c.flagged)
        & draw.c.is_current
    )
    strata = select(run.c.night, run.c.task_type, run.c.flagged).where(run.c.night == night).distinct().subquery()
    drawn = select(draw.c.task_type, draw.c.flagged).where(draw.c.night == night, draw.c.is_current).subquery()
    without = (
        select(strata.c.task_type)
        .outerjoin(drawn, (drawn.c.task_type == strata.c.task_type) & (drawn.c.flagged == strata.c.flagged))
        .where(drawn.c.task_type.is_(None))
        .limit(1)
    )
    undecided = (
        select(run.c.pk)
        .select_from(draw)
        .join(run, current_draw)
        .outerjoin(sample, sample.c.run_pk == run.c.pk)
        .where(draw.c.night == night, run.c.sample_key < draw.c.threshold, sample.c.run_pk.is_(None))
        .limit(1)
    )
    return any(connection.execute(query).first() is not None for query in (undecided, without))


def lock_night(connection: Connection, night: date) -> bool:
    """Lock a night until the transaction ends, so that two schedulers cannot both draw it.

    Returns:
        Whether it is drawn already.
    """
    values = {"night": night, "resolved": 0, "ended": 0, "had_open_jobs": False}
    connection.execute(insert_ignore(connection, night_table), [values])
    statement = select(night_table.c.drawn_at).where(night_table.c.night == night).with_for_update()
    return connection.execute(statement).scalar_one() is not None


def mark_drawn(connection: Connection, night: date, now: datetime) -> bool:
    """Store that a night is drawn. Returns False when it was drawn before."""
    connection.execute(
        insert_ignore(connection, night_table), [{"night": night, "resolved": 0, "ended": 0, "had_open_jobs": False}]
    )
    statement = (
        update(night_table).where(night_table.c.night == night, night_table.c.drawn_at.is_(None)).values(drawn_at=now)
    )
    return connection.execute(statement).rowcount == 1


def drawn_nights(connection: Connection, since: date | None = None, until: date | None = None) -> list[date]:
    """Drawn nights, oldest first; bounds included, None for no bound."""
    statement = select(night_table.c.night).where(night_table.c.drawn_at.is_not(None)).order_by(night_table.c.night)
    if since is not None:
        statement = statement.where(night_table.c.night >= since)
    if until is not None:
        statement = statement.where(night_table.c.night <= until)
    return list(connection.execute(statement).scalars())


def undrawn_nights(connection: Connection, since: date | None = None, until: date | None = None) -> list[date]:
    """Nights with ended runs that are not drawn, oldest first; bounds included, None for no bound."""
    drawn = select(night_table.c.night).where(night_table.c.drawn_at.is_not(None))
    statement = select(run.c.night).where(run.c.night.not_in(drawn)).distinct().order_by(run.c.night)
    if since is not None:
        statement = statement.where(run.c.night >= since)
    if until is not None:
        statement = statement.where(run.c.night <= until)
    return list(connection.execute(statement).scalars())


def drawn_at(connection: Connection, nights: Sequence[date]) -> dict[date, datetime]:
    """When each of these nights was drawn; a night that was not is absent."""
    statement = select(night_table.c.night, night_table.c.drawn_at).where(
        night_table.c.night.in_(list(nights)), night_table.c.drawn_at.is_not(None)
    )
    return {row.night: row.drawn_at for row in connection.execute(statement)}


def drawn_subset(connection: Connection, nights: Sequence[date]) -> set[date]:
    """Which of these nights are drawn."""
    statement = select(night_table.c.night).where(
        night_table.c.night.in_(list(nights)), night_table.c.drawn_at.is_not(None)
    )
    return set(connection.execute(statement).scalars())
