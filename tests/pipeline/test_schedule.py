"""Which nights are due: by table, by an oracle that walks minute by minute, and by two beats at one moment."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.support.clock_changes import APIA, BEIRUT, BERLIN, CAIRO, DRAWN_AT, NEW_YORK
from tests.support.project import document, ingest
from worker.clock import REAL, Clock, read_clock
from worker.core.calendar import night_of
from worker.core.schedule import last_due, last_over
from worker.pipeline.draw import draw_night
from worker.pipeline.nightly import due_nights, over_nights
from worker.project.project import Project
from worker.settings import Settings
from worker.store.tables import DrawRow, JobRow, NightRow, SampleRow, core

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
draw, job, night_table, sample = core(DrawRow), core(JobRow), core(NightRow), core(SampleRow)


@pytest.mark.parametrize(("zone", "at", "night", "due"), DRAWN_AT)
def test_a_night_is_due_from_one_instant_on(zone: str, at: str, night: str, due: str) -> None:
    instant, wanted, there = datetime.fromisoformat(due), date.fromisoformat(night), ZoneInfo(zone)
    before = last_due(instant - timedelta(microseconds=1), time.fromisoformat(at), there)
    assert before == wanted - DAY
    assert last_due(instant, time.fromisoformat(at), there) >= wanted


def oracle(now: datetime, at: time, zone: ZoneInfo) -> date:
    """Walk the minutes: a night is over when no later one shows it, and due when one until now has shown `at`."""
    around = [now + offset * MINUTE for offset in range(-3 * 24 * 60, 3 * 24 * 60)]
    shown = [moment.astimezone(zone).replace(tzinfo=None, fold=0) for moment in around]
    here = around.index(now)
    still_to_come = min(local.date() for local in shown[here:])
    over = still_to_come - DAY
    seen = max(shown[: here + 1])
    while datetime.combine(over + DAY, at) > seen:
        over -= DAY
    return over


ZONES = sorted(
    name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "posix/", "right/"))
)


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The whole hours before the offset of a zone changes in a year."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(366 * 24)]
    return [
        at for at, after in pairwise(hours) if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset()
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_agrees_with_a_walk_through_the_minutes_of_any_zone(data: st.DataObject) -> None:
    zone = ZoneInfo(data.draw(st.sampled_from([BERLIN, NEW_YORK, CAIRO, BEIRUT, APIA, *ZONES])))
    year = data.draw(st.integers(1972, 2035))
    near = data.draw(st.sampled_from(changes(zone, year) or [datetime(year, 3, 1, tzinfo=UTC)]))
    now = near + data.draw(st.integers(-30 * 60, 30 * 60)) * MINUTE
    at = data.draw(st.sampled_from([time(0), time(0, 30), time(2), time(2, 30), time(23, 59)]))
    expected = oracle(now, at, zone)
    assert last_due(now, at, zone) == expected
    assert last_over(now, zone) >= expected


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, CAIRO])
@pytest.mark.parametrize("at", ["00:30", "02:00", "02:30"])
def test_around_each_change_of_a_clock_every_night_is_due_once_and_in_order(zone: str, at: str) -> None:
    there, when = ZoneInfo(zone), time.fromisoformat(at)
    moves = changes(there, 2026)
    assert len(moves) == 2
    for moved in moves:
        now = moved - 3.5 * DAY
        known, seen = last_due(now, when, there), []
        while now < moved + 2.5 * DAY:
            now += 5 * MINUTE
            newest = last_due(now, when, there)
            if newest != known:
                seen.append(newest)
                assert newest == known + DAY
                assert night_of(now, there) == newest + DAY
            known = newest
        assert len(seen) == 6


def test_a_night_of_twenty_five_hours_is_one_night() -> None:
    berlin = ZoneInfo(BERLIN)
    first = datetime(2026, 10, 24, 22, tzinfo=UTC)
    minutes = [first + offset * MINUTE for offset in range(-1, 25 * 60 + 1)]
    inside = [night_of(minute, berlin) == date(2026, 10, 25) for minute in minutes]
    assert inside == [False, *[True] * (25 * 60), False]
    assert not any(last_over(minute, berlin) >= date(2026, 10, 25) for minute in minutes[:-1])


TOML = """\
[sampling]
rate = 0.5
lookback_nights = 0
[scoring]
heuristics = ["answer_present", "completed"]
rubrics = []
[schedule]
at = "02:30"
time_zone = "Europe/Berlin"
"""


@pytest.fixture
def projects(database_url: str) -> Iterator[list[Project]]:
    """Three processes' view of one project, each with connections of its own."""
    made = [Project(Settings.read({"SPOTCHECK_DATABASE_URL": database_url}, TOML)).open() for _ in range(3)]
    yield made
    for one in made:
        one.store.close()


def fill(project: Project, nights: list[date], each: int = 40) -> None:
    ingest(project, (document(f"case-{night}-{number}", night) for night in nights for number in range(each)))


def draws_by_night(project: Project) -> dict[date, tuple[int, int, int]]:
    """Night: decisions, the highest number of a decision about a stratum, runs drawn."""
    with project.store.read() as connection:
        runs = select(sample.c.night, func.count()).group_by(sample.c.night)
        drawn = {row[0]: row[1] for row in connection.execute(runs)}
        decided = select(draw.c.night, func.count(), func.max(draw.c.seq)).group_by(draw.c.night)
        return {night: (count, seq, drawn.get(night, 0)) for night, count, seq in connection.execute(decided)}


def test_missed_nights_are_due_at_once_and_the_newest_waits_for_its_time(projects: list[Project]) -> None:
    project = projects[0]
    nights = [date(2026, 9, day) for day in range(7, 12)]
    fill(project, nights)
    started = datetime(2026, 9, 9, 10, tzinfo=UTC)
    assert due_nights(project, started) == [date(2026, 9, 8)]  # what is older lies before the first tick
    missed = datetime(2026, 9, 11, 22, 30, tzinfo=UTC)  # 00:30 on the 12th: before the schedule's time
    assert due_nights(project, missed) == [date(2026, 9, 8), date(2026, 9, 9), date(2026, 9, 10)]
    assert over_nights(project, missed)[-1] == date(2026, 9, 11)
    for night in due_nights(project, missed):
        draw_night(project, night, missed)
    assert due_nights(project, missed) == []
    assert due_nights(project, datetime(2026, 9, 12, 0, 30, tzinfo=UTC)) == [date(2026, 9, 11)]
    assert sorted(draws_by_night(project)) == nights[1:4]


def test_a_clock_that_is_set_back_finds_nothing_due(projects: list[Project]) -> None:
    project = projects[0]
    project.nights.first_tick(datetime(2026, 9, 9, 10, tzinfo=UTC))
    assert due_nights(project, datetime(2026, 9, 1, 10, tzinfo=UTC)) == []


def test_beats_at_the_same_moment_draw_each_night_once(projects: list[Project]) -> None:
    nights = [date(2026, 9, day) for day in range(8, 12)]
    fill(projects[0], [date(2026, 9, 7), *nights])
    projects[0].nights.first_tick(datetime(2026, 9, 9, 10, tzinfo=UTC))
    now = datetime(2026, 9, 12, 10, tzinfo=UTC)
    together = threading.Barrier(len(projects))

    def tick(project: Project) -> list[date]:
        due = due_nights(project, now)
        for night in due:
            together.wait(30)  # all have seen that it is due before one draws it
            draw_night(project, night, now)
        return due

    with ThreadPoolExecutor(len(projects)) as beats:
        assert list(beats.map(tick, projects)) == [nights] * len(projects)
    found = draws_by_night(projects[0])
    assert sorted(found) == nights
    assert {(decided, seq) for decided, seq, _ in found.values()} == {(1, 1)}
    with projects[0].store.read() as connection:
        counted = connection.execute(select(job.c.night, func.count()).group_by(job.c.night))
        jobs = {row[0]: row[1] for row in counted}
        marked = connection.execute(select(night_table.c.night).where(night_table.c.drawn_at.is_not(None))).scalars()
        assert sorted(marked) == nights
    assert jobs == {night: 2 * drawn for night, (_, _, drawn) in found.items()}


MOMENTS = st.integers(946_684_800, 2_208_988_800).map(lambda second: datetime.fromtimestamp(second, UTC))


@settings(max_examples=200, deadline=None)
@given(
    MOMENTS,
    MOMENTS,
    st.sampled_from([0.5, 1, 60, 5_000, 100_000]),
    st.integers(0, 10**9),
)
def test_a_rehearsals_clock_is_a_formula_that_can_be_turned_round(
    start: datetime, real_start: datetime, speed: float, milliseconds: int
) -> None:
    clock = read_clock(f"{start.isoformat()}@{real_start.isoformat()} x{speed:g}")
    assert clock == Clock(start, real_start, speed)
    assert read_clock(str(clock)) == clock
    assert clock.at(real_start - DAY) == start
    later = real_start + timedelta(milliseconds=milliseconds)
    if (shown := clock.at(later)) < datetime(9999, 1, 1, tzinfo=UTC):
        assert abs(clock.real(shown) - later) < timedelta(milliseconds=1)
        assert clock.at(later + timedelta(seconds=1)) - shown == pytest.approx(
            timedelta(seconds=speed), abs=timedelta(milliseconds=1)
        )


def test_a_clock_that_has_run_off_the_calendar_stands_at_its_end_in_every_zone() -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), 100_000)
    end = clock.at(datetime(2126, 1, 1, tzinfo=UTC))
    for zone in (BERLIN, "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        assert last_due(end, time(2), ZoneInfo(zone)).year == 9999


def test_beats_come_as_often_as_the_clock_runs_fast_but_once_a_second_at_most() -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    assert [Clock(then, then, speed).beat_s(60) for speed in (0.5, 1, 10, 60, 5_000)] == [60, 60, 6, 1, 1]
    assert REAL.beat_s(60) == 60


@pytest.mark.parametrize(
    "text",
    [
        "now",
        "2026-11-16T00:00Z",
        "2026-11-16T00:00Z x500",
        "2026-11-16T00:00@2026-11-16T00:00Z",
        "2026-11-16T00:00Z@2026-11-16T00:00Z x0",
        "2026-11-16T00:00Z@2026-11-16T00:00Z x1e9",
        "2026-11-16T00:00Z@2026-11-16T00:00Z x1000000",
        "2026-11-16T00:00Z@2026-11-16T00:00Z x-5",
    ],
)
def test_a_clock_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write START@REAL_START|time zone|at most"):
        read_clock(text)
