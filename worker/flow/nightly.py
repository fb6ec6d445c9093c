"""The night: which nights are due, and draw, score, summarise, compare for them."""

import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from worker.core.calendar import nights_between
from worker.flow.desk import Desk
from worker.flow.draw import Drawn, draw_night
from worker.flow.lane import Stop
from worker.flow.project import Project
from worker.flow.reconcile import LANES, Wake, finish_nights, wake_due
from worker.flow.score import Drained
from worker.records import Drift
from worker.store import draws, ledger, workers

_LOOK_S = 0.2
_OUTAGES = 4
"""Turns in a row without an answer from the judge, a quarter of a minute apart, after which waiting is given up."""
_STALLED_S = 5.0
"""Without progress for so long, and with no live worker, the waiting process works itself."""

OnWait = Callable[[int, int], None]
"""Told (jobs resolved, jobs in all) while waiting."""


class Waited(NamedTuple):
    """How a wait for scores ended."""

    drained: Drained
    """What this process did itself."""
    still_open: int
    """Jobs that are not resolved; more than 0 when it was stopped or the judge refused."""


def due_nights(project: Project, now: datetime) -> list[date]:
    """Nights that are over and not drawn, from the project's first night on, oldest first; each missed one once."""
    start, last = project.first_tick(now), project.last_over(now)
    with project.store.read() as connection:
        drawn = set(draws.drawn_nights(connection, start, last))
    return [night for night in nights_between(start, last) if night not in drawn]


def draw_nights(
    project: Project, nights: Sequence[date], now: datetime, *, on_night: Callable[[date, list[Drawn]], None]
) -> None:
    """Draw nights one by one, oldest first; one that is drawn already only takes in its late runs."""
    for night in sorted(nights):
        on_night(night, draw_night(project, night, now))


def open_jobs(project: Project, nights: tuple[date, date] | None = None) -> int:
    """Jobs that are not resolved, of all nights or of some."""
    with project.store.read() as connection:
        now = project.store.now(connection)
        lanes = [ledger.waiting(connection, now, lane, nights) for lane in LANES]
    return sum(lane.due + lane.later + lane.leased for lane in lanes)


def wait_for_scores(
    project: Project,
    desk: Desk,
    wake: Wake,
    *,
    nights: tuple[date, date] | None = None,
    stop: Stop,
    on_wait: OnWait = lambda _done, _total: None,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> Waited:
    """Wait until every job is resolved; with no live worker to do it, do it here.

    Args:
        project: Whose ledger.
        desk: Where to work when nobody else does.
        wake: Wakes the workers.
        nights: Only these (bounds included); None for all.
        stop: Asked often; once true, what is in hand is finished or given back.
        on_wait: Told the progress.
        on_trouble: Told when the judge answers nobody, before it is tried again.
    """
    total = left = open_jobs(project, nights)
    drained = Drained()
    outages = 0
    woken_at = moved_at = 0.0
    moved_at = time.monotonic()
    while left and not stop():
        on_wait(total - left, total)
        if time.monotonic() - woken_at > _STALLED_S:
            wake_due(project, wake)
            woken_at = time.monotonic()
        with project.store.read() as connection:
            helpers = len(workers.alive(connection, project.store.now(connection)))
        if not helpers or time.monotonic() - moved_at > 2 * _STALLED_S:
            done = desk.drain_all(LANES, stop=stop, on_progress=_advancing(on_wait, total, left))
            drained += done
            outages = 0 if done.settled else outages + bool(done.outage)
            if done.refused or outages > _OUTAGES:
                left = open_jobs(project, nights)
                break
            if done.outage:
                on_trouble(done.outage)
        if not stop():
            time.sleep(_LOOK_S)
        still = open_jobs(project, nights)
        total = max(total, still)
        if still != left:
            moved_at = time.monotonic()
        left = still
    on_wait(total - left, total)
    return Waited(drained, left)


def _advancing(on_wait: OnWait, total: int, left: int) -> Callable[[int], None]:
    done = total - left

    def advance(count: int) -> None:
        nonlocal done
        done += count
        on_wait(min(done, total), total)

    return advance


def finish(project: Project, now: datetime) -> list[Drift]:
    """Summarise and compare every night that is ready."""
    return finish_nights(project, now, is_far_back=True)[1]
