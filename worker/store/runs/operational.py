"""Operational figures of all ended runs (errors, tools, cost, steps) by night and hour, and which are out of date."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, func, insert, select, update

from worker.core.drift.operational import OperationalFigure, RunFigures
from worker.store.insert import insert_ignore
from worker.store.tables import FigureNightRow, FigureRow, NightRow, RunRow, core

run, pulse, pulse_night, night_table = (core(row) for row in (RunRow, FigureRow, FigureNightRow, NightRow))
_CHUNK = 5_000


class StoredFigure(NamedTuple):
    """One stored figure of one task type, of one night or one hour."""

    night: date
    at: datetime
    """Start of the hour; noon UTC for a night."""
    task_type: str
    measure: str
    """errors · aborts · completed · tool · cost · steps."""
    subject: str
    """The tool; empty for all others."""
    n: int
    """Runs that the figure counts; see `core.drift.operational.OperationalFigure` for n, s and ss."""
    s: float
    ss: float
    total: float
    """US dollars, steps or tool calls."""
    histogram: Mapping[int, int] | None
    """Runs by 5 % bucket of `core.drift.operational`; cost and steps only."""


def mark_stale(connection: Connection, nights: Collection[date]) -> None:
    """Mark the figures of nights as out of date, because runs of theirs came in."""
    ordered = sorted(nights)
    if not ordered:
        return
    connection.execute(
        insert_ignore(connection, pulse_night), [{"night": night, "is_stale": True, "runs": 0} for night in ordered]
    )
    for night in ordered:  # one by one, in order: two transactions at once cannot deadlock
        connection.execute(update(pulse_night).where(pulse_night.c.night == night).values(is_stale=True))


def stale_nights(connection: Connection, until: date, recount_since: date) -> list[date]:
    """Nights up to `until` whose figures are out of date, oldest first.

    Args:
        connection: A transaction.
        until: The newest night to return.
        recount_since: From this night on runs are counted too, which finds runs stored without `mark_stale`. Uses
            run_by_facts.
    """
    noted = select(pulse_night.c.night).where(pulse_night.c.is_stale, pulse_night.c.night <= until)
    nights = set(connection.execute(noted).scalars())
    counted = (
        select(run.c.night, func.count().label("now"), func.coalesce(pulse_night.c.runs, 0).label("then"))
        .outerjoin(pulse_night, pulse_night.c.night == run.c.night)
        .where(run.c.night.between(recount_since, until))
        .group_by(run.c.night, pulse_night.c.runs)
    )
    nights |= {row.night for row in connection.execute(counted) if row.now != row.then}
    return sorted(nights)


def lock_figures(connection: Connection, night: date) -> tuple[datetime | None, int]:
    """Lock a night's figures until the transaction ends.

    Returns:
        When they were summed last (None for never), and over how many runs.
    """
    connection.execute(insert_ignore(connection, pulse_night), [{"night": night, "is_stale": True, "runs": 0}])
    columns = (pulse_night.c.taken_at, pulse_night.c.runs)
    row = connection.execute(select(*columns).where(pulse_night.c.night == night).with_for_update()).one()
    return row.taken_at, row.runs


def run_figures(connection: Connection, night: date) -> Iterator[tuple[datetime, RunFigures]]:
    """The ended runs of a night, in no order and in bounded memory: the start of their hour, and their figures."""
    columns = (run.c.ended_at, run.c.task_type, run.c.status, run.c.steps, run.c.cost_usd, run.c.tools)
    statement = select(*columns).where(run.c.night == night).execution_options(yield_per=_CHUNK)
    for ended_at, *rest in connection.execute(statement):
        yield ended_at.replace(minute=0, second=0, microsecond=0), RunFigures(*rest)


def replace_figures(
    connection: Connection,
    night: date,
    whole: Iterable[OperationalFigure],
    by_hour: Mapping[datetime, Iterable[OperationalFigure]],
    *,
    runs: int,
    now: datetime,
) -> None:
    """Replace a night's figures; the caller holds `lock_figures`.

    Args:
        connection: A write transaction.
        night: The night.
        whole: Figures of the whole night.
        by_hour: Figures by the start of their hour, aware UTC.
        runs: Ended runs that were summed.
        now: The store's time.
    """
    for grain in ("night", "hour"):
        connection.execute(delete(pulse).where(pulse.c.grain == grain, pulse.c.night == night))
    noon = datetime.combine(night, time(12), tzinfo=UTC)
    rows = [_row("night", night, noon, figure) for figure in whole]
    rows += [_row("hour", night, hour, figure) for hour, figures in by_hour.items() for figure in figures]
    if rows:
        connection.execute(insert(pulse), rows)
    connection.execute(
        update(pulse_night).where(pulse_night.c.night == night).values(is_stale=False, runs=runs, taken_at=now)
    )


def _row(grain: str, night: date, at: datetime, figure: OperationalFigure) -> dict[str, Any]:
    values = figure._asdict() | {"grain": grain, "night": night, "at": at}
    if figure.histogram is not None:
        values["histogram"] = orjson.dumps({str(key): count for key, count in figure.histogram.items()}).decode()
    return values


def night_figures(connection: Connection, since: date, until: date) -> list[StoredFigure]:
    """Figures by night, bounds included, oldest first, then by task type, measure and subject. Uses pulse_by_time."""
    return _read(connection, "night", since, until)


def hour_figures(connection: Connection, since: date, until: date) -> list[StoredFigure]:
    """Figures by hour of these nights, bounds included, oldest first."""
    return _read(connection, "hour", since, until)


def _read(connection: Connection, grain: str, since: date, until: date) -> list[StoredFigure]:
    columns = [pulse.c[name] for name in StoredFigure._fields]
    statement = select(*columns).where(pulse.c.grain == grain, pulse.c.night.between(since, until))
    figures = []
    for *plain, histogram in connection.execute(statement):
        counts = None if histogram is None else {int(key): n for key, n in orjson.loads(histogram).items()}
        figures.append(StoredFigure._make((*plain, counts)))
    # sorted here: databases sort letters differently
    return sorted(figures, key=lambda figure: (figure.at, figure.task_type, figure.measure, figure.subject))


def agent_spend(connection: Connection, since: date, until: date) -> dict[date, float]:
    """Cost of the agents' runs by night (bounds included), US dollars; a night without a known cost is absent."""
    statement = (
        select(pulse.c.night, func.sum(pulse.c.total))
        .where(pulse.c.grain == "night", pulse.c.measure == "cost", pulse.c.night.between(since, until))
        .group_by(pulse.c.night)
    )
    by_night: dict[date, float] = defaultdict(float)
    for night, usd in connection.execute(statement):
        by_night[night] = float(usd)
    return dict(by_night)


def delete_hours(connection: Connection, before: date) -> int:
    """Delete hourly figures of nights before this one; nightly figures are kept for ever.

    Returns:
        Rows deleted.
    """
    statement = delete(pulse).where(pulse.c.grain == "hour", pulse.c.night < before)
    return max(0, connection.execute(statement).rowcount)


def unwatched_nights(connection: Connection, until: date) -> list[date]:
    """Drawn nights up to `until` whose figures were not compared with their past yet, oldest first."""
    statement = (
        select(pulse_night.c.night)
        .join(night_table, night_table.c.night == pulse_night.c.night)
        .where(
            night_table.c.drawn_at.is_not(None),
            pulse_night.c.watched_at.is_(None),
            pulse_night.c.taken_at.is_not(None),
            pulse_night.c.night <= until,
        )
        .order_by(pulse_night.c.night)
    )
    return list(connection.execute(statement).scalars())


def watched_spans(connection: Connection) -> list[tuple[date, date, int, int]]:
    """The extent of each stream of figures up to the newest compared night; empty before the first.

    Returns:
        First night with a figure, newest compared night, nights with a figure, and runs counted; one entry a stream.
    """
    newest = connection.execute(
        select(func.max(pulse_night.c.night)).where(pulse_night.c.watched_at.is_not(None))
    ).scalar_one()
    if newest is None:
        return []
    statement = (
        select(func.min(pulse.c.night), func.count(pulse.c.night.distinct()), func.sum(pulse.c.n))
        .where(pulse.c.grain == "night", pulse.c.n > 0, pulse.c.night <= newest)
        .group_by(pulse.c.task_type, pulse.c.measure, pulse.c.subject)
    )
    return [(first, newest, nights, int(count)) for first, nights, count in connection.execute(statement)]


def mark_watched(connection: Connection, night: date, now: datetime) -> bool:
    """Store that a night was compared. Returns False when another process did so first."""
    statement = (
        update(pulse_night)
        .where(pulse_night.c.night == night, pulse_night.c.watched_at.is_(None))
        .values(watched_at=now)
    )
    return connection.execute(statement).rowcount == 1


def ended_by_night(connection: Connection, since: date, until: date) -> dict[str, dict[date, int]]:
    """Ended runs by task type and night, bounds included, as they were summed; a night without any is absent."""
    statement = select(pulse.c.task_type, pulse.c.night, pulse.c.n).where(
        pulse.c.grain == "night", pulse.c.measure == "errors", pulse.c.night.between(since, until)
    )
    counts: dict[str, dict[date, int]] = defaultdict(dict)
    for task_type, night, runs in connection.execute(statement):
        counts[task_type][night] = runs
    return dict(counts)
