"""Runs to operational figures: nights whose runs changed are summed anew, by night and by hour."""

from collections import defaultdict
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from worker.core.drift.operational import FigureSums
from worker.project.project import Project
from worker.store.runs import operational

KEPT_HOURS_NIGHTS = 35
"""Nights whose figures are kept by hour."""
_RUNS_A_SECOND = 500
"""A night is summed again at the earliest after a second for so many of its runs: a minute's tick stays cheap."""


def take_pulse(project: Project, now: datetime) -> list[date]:
    """Sum the figures of every night whose runs changed, today included. Safe at any moment, by anyone.

    Args:
        project: Whose runs.
        now: The time.

    Returns:
        Nights that were summed, oldest first.
    """
    today = project.nights.of(now)
    recount_since = today - timedelta(days=project.settings.sampling.lookback_nights + 1)
    with project.store.read() as connection:
        owed = operational.stale_nights(connection, today + timedelta(days=1), recount_since)
    summed = [night for night in owed if _sum(project, night, now, today)]
    if summed:
        with project.store.write() as connection:
            operational.delete_hours(connection, today - timedelta(days=KEPT_HOURS_NIGHTS))
    return summed


def _sum(project: Project, night: date, now: datetime, today: date) -> bool:
    with project.store.write() as connection:
        taken_at, runs = operational.lock_figures(connection, night)
        is_running = night >= today
        if is_running and taken_at is not None and (now - taken_at).total_seconds() < runs / _RUNS_A_SECOND:
            return False
        _replace(connection, night, now, with_hours=(today - night).days <= KEPT_HOURS_NIGHTS)
    return True


def _replace(connection: Connection, night: date, now: datetime, *, with_hours: bool) -> None:
    whole, by_hour = FigureSums(), defaultdict[datetime, FigureSums](FigureSums)
    for hour, facts in operational.run_figures(connection, night):
        whole.add(facts)
        if with_hours:
            by_hour[hour].add(facts)
    hours = {hour: tally.figures() for hour, tally in sorted(by_hour.items())}
    operational.replace_figures(connection, night, whole.figures(), hours, runs=whole.runs, now=now)
