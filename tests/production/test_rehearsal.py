"""A rehearsal's clock: every door goes by it, every process says so, and what `up` shows next is right."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.support.clock_changes import DRAWN_AT
from tests.support.documents import a_document, lines
from tests.support.project import document, ingest
from tests.support.projects import OpenProject
from tests.support.shell import Shell
from worker.cli.process.live import LiveReader, one_line
from worker.core.schedule import due_from, last_due
from worker.pipeline.draw import draw_night
from worker.project.project import Project
from worker.store.queue.backlog import lane_backlog
from worker.store.queue.recent import today

STANDING = "2026-11-20T12:00Z@9000-01-01T00:00Z x5000"
"""It stands still, since its real start never comes."""


def test_every_door_goes_by_the_clock_and_says_so(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"SPOTCHECK_CLOCK": STANDING})
    said = shell("settings")
    assert "clock = 2026-11-20T12:00:00+00:00@9000-01-01T00:00:00+00:00 x5000   (env SPOTCHECK_CLOCK)" in said.out
    night = "2026-11-19"
    stdin = lines(*(a_document(f"r-{number}", ended_at=f"{night}T10:00:00Z") for number in range(5)))
    for arguments, fed in ((["ingest", "-"], stdin), (["nightly", "--json"], b""), (["status"], b"")):
        said = shell(*arguments, stdin=fed)
        assert said.code == 0, said
        assert said.err.startswith(
            "REHEARSAL: SPOTCHECK_CLOCK is set, nights are counted by 2026-11-20 12:00 UTC, 5000 times as fast"
        )
    assert shell("nightly", "--json").json["nights"] == []  # the one before it is drawn
    assert shell("runs", "--json").json["runs"][0]["night"] == night
    assert "is not over yet" in shell("nightly", "--date", "2026-11-20").err
    assert "REHEARSAL" not in Shell(tmp_path)("status").err


def test_a_clock_in_a_file_would_be_left_on(tmp_path: Path) -> None:
    (tmp_path / "spotcheck.toml").write_text(f'clock = "{STANDING}"\n', encoding="utf-8")
    said = Shell(tmp_path).refused("status")
    assert said == "spotcheck: spotcheck.toml: clock belongs in the environment; set SPOTCHECK_CLOCK instead"


def test_a_wrong_clock_is_one_line(tmp_path: Path) -> None:
    for command in ("status", "up", "beat", "worker", "health"):
        said = Shell(tmp_path, {"SPOTCHECK_CLOCK": "2026-11-20T12:00Z x5000"}).refused(command)
        assert "SPOTCHECK_CLOCK" in said
        assert "write START@REAL_START xN" in said


@pytest.mark.parametrize(("zone", "at", "night", "due"), DRAWN_AT)
def test_the_next_night_is_shown_for_the_moment_it_is_drawn(zone: str, at: str, night: str, due: str) -> None:
    clock_time, there = datetime.strptime(at, "%H:%M").replace(tzinfo=UTC).time(), ZoneInfo(zone)
    found = due_from(date.fromisoformat(night), clock_time, there)
    assert found == datetime.fromisoformat(due)
    assert last_due(found, clock_time, there) >= date.fromisoformat(night)


TOML = """\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present", "completed"]
[judge]
budget_usd_per_day = 5
unknown_price = "allow"
[schedule]
time_zone = "Europe/Berlin"
"""


@pytest.fixture
def project(open_project: OpenProject, database_url: str) -> Project:
    return open_project(TOML, SPOTCHECK_DATABASE_URL=database_url, SPOTCHECK_CLOCK=STANDING)


def test_the_status_of_up_is_that_of_the_ledger(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCHECK_CLOCK", STANDING)
    now = project.settings.clock.now()
    reader = LiveReader(project)
    first = reader.read()
    assert first is not None
    assert "none drawn yet; the first tick decides which comes next" in one_line(project.settings, first)
    project.nights.first_tick(now)
    seen = reader.read()
    assert seen is not None
    assert "2026-11-19 is due now" in one_line(project.settings, seen)
    ingest(project, (document(f"case-{number}", date(2026, 11, 19)) for number in range(7)))
    draw_night(project, date(2026, 11, 19), now)
    seen = reader.read()
    assert seen is not None
    said = one_line(project.settings, seen)
    with project.store.read() as connection:
        at = project.store.now(connection)
        assert (lane_backlog(connection, at, "judge").due, lane_backlog(connection, at, "heuristic").due) == (7, 14)
        assert today(connection, now - timedelta(hours=1)).states == {"queued": 21}
        assert today(connection, now + timedelta(hours=1)).states == {}
    for words in (
        "judge queue: 7 due, 0 in hand",
        "heuristics queue: 14 due, 0 in hand",
        "drawn today: 0 scored, 21 open",
        "spent today: $0.0000 of $5.00",
        "2026-11-19 drawn last; 2026-11-20 is due Sat 02:00, in 13 h 00 min",
        "0 findings, 0 alerts now",
        "not configured",
    ):
        assert words in said


def test_a_database_that_is_gone_for_a_while_leaves_the_last_figures_with_the_reason(
    open_project: OpenProject, tmp_path: Path
) -> None:
    project = open_project(TOML, SPOTCHECK_DATABASE_URL=f"sqlite:///{tmp_path / 'x.db'}")
    reader = LiveReader(project)
    seen = reader.read()
    assert seen is not None
    project.store.close()
    for file in tmp_path.glob("x.db*"):
        file.unlink()
    (tmp_path / "x.db").mkdir()
    after = reader.read()
    assert after is not None
    assert after.error is not None
    assert one_line(project.settings, after).startswith("store: ")
    assert after.overview.engine.lanes == seen.overview.engine.lanes
    assert LiveReader(project).read() is None
