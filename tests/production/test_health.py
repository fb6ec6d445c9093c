"""`spotcheck health` follows the ledger: what is ill, what only waits, what it costs to ask."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url, update
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from tests.support.ledger import Ledger, judge, outcome
from tests.support.shell import Shell
from worker.cli.process.health import LANES, LaneVerdict, check, quickly, wanted
from worker.errors import SettingsError
from worker.records import Alert
from worker.settings import Settings
from worker.store import health, meta
from worker.store.engine import Store
from worker.store.health import LAST_TICK, TURN, connect_arguments
from worker.store.queue import job, workers
from worker.store.results import alerts
from worker.store.tables import WorkerRow, core

ROOT = Path(__file__).parents[2]
MINUTE = timedelta(minutes=1)


class Ward:
    """A ledger whose past is arranged, and the question how it is."""

    def __init__(self, store: Store, url: str) -> None:
        self.store, self.url, self.ledger = store, url, Ledger(store)
        self.now = datetime.now(UTC)
        (self.scorer,) = self.ledger.register(judge())

    def worker(self, *lanes: str, started: timedelta = 60 * MINUTE, seen: timedelta = timedelta(0)) -> None:
        with self.store.write() as connection:
            workers.record_heartbeat(connection, "-".join(lanes), lanes, 42, self.now - seen)
            known = core(WorkerRow)
            connection.execute(update(known).values(started_at=self.now - started))

    def jobs(self, count: int, *, made: timedelta) -> None:
        self.ledger.add_runs(count)
        assert self.ledger.draw([self.scorer], now=self.now - made) == count

    def lease(self, count: int, *, ago: timedelta) -> Sequence[job.Job]:
        return self.ledger.claim([self.scorer], limit=count, now=self.now - ago).jobs

    def turn(self, ago: timedelta, trouble: str | None = None) -> None:
        with self.store.write() as connection:
            said = {"at": (self.now - ago).isoformat(), "trouble": trouble}
            meta.set_meta(connection, f"{TURN}judge", json.dumps(said))

    def tick(self, ago: timedelta) -> None:
        with self.store.write() as connection:
            meta.set_meta(connection, LAST_TICK, (self.now - ago).isoformat())

    def ask(self, lane: str = "judge", **environ: str) -> LaneVerdict:
        (told,) = check({"SPOTCHECK_DATABASE_URL": self.url, **environ}, [lane])
        assert told.lane == lane
        return told


@pytest.fixture
def ward(store: Store, database_url: str) -> Ward:
    return Ward(store, database_url)


def test_a_lane_without_a_live_worker_is_ill(ward: Ward) -> None:
    assert ward.ask().state == "unhealthy"
    ward.worker("judge", seen=timedelta(seconds=60))
    assert ward.ask().why == "no live worker was seen for 45 s"
    ward.worker("heuristic", "control")
    assert ward.ask().state == "unhealthy"
    assert ward.ask("heuristics").state == "healthy"


def test_an_idle_worker_is_well_however_long_there_was_nothing_to_do(ward: Ward) -> None:
    ward.worker("judge")
    ward.turn(600 * MINUTE)
    assert ward.ask() == LaneVerdict("judge", "healthy", "1 worker, 0 due, last turn 10 h ago")


def test_jobs_that_nobody_touches_are_the_workers_ill_health(ward: Ward) -> None:
    ward.worker("judge")
    ward.jobs(12, made=4 * MINUTE)
    assert ward.ask().state == "healthy"  # drawn just now
    told = check({"SPOTCHECK_DATABASE_URL": ward.url}, ["judge"], minutes=3)[0]
    assert told.state == "unhealthy"
    assert told.why.startswith("12 due, and nothing was leased, renewed or resolved since 4 min ago")
    ward.turn(1 * MINUTE)
    assert check({"SPOTCHECK_DATABASE_URL": ward.url}, ["judge"], minutes=3)[0].state == "healthy"


def rehearsal(ward: Ward, speed: int) -> str:
    """A clock that has shown the right time at the moment the ward was opened, and so runs ahead since."""
    return f"{ward.now.isoformat()}@{ward.now.isoformat()} x{speed}"


@pytest.mark.parametrize(("minutes", "state"), [(9, "healthy"), (2, "unhealthy")])
def test_in_a_rehearsal_the_age_of_jobs_is_counted_in_real_time(ward: Ward, minutes: int, state: str) -> None:
    ward.worker("judge")
    start, begun = datetime(2026, 11, 16, tzinfo=UTC), ward.now - 10 * MINUTE
    ward.ledger.add_runs(3)
    ward.ledger.draw([ward.scorer], now=start + 5_000 * minutes * MINUTE)
    assert ward.ask(SPOTCHECK_CLOCK=f"{start.isoformat()}@{begun.isoformat()} x5000").state == state


def test_work_in_hand_is_health_and_a_lease_that_ran_out_long_ago_is_not(ward: Ward) -> None:
    ward.worker("judge")
    ward.jobs(12, made=60 * MINUTE)
    ward.lease(4, ago=timedelta(seconds=30))
    assert ward.ask().state == "healthy"
    with ward.store.write() as connection:  # they all hang
        connection.exec_driver_sql("DELETE FROM job WHERE state = 'leased'")
    ward.lease(4, ago=30 * MINUTE)
    told = ward.ask()
    assert told.state == "unhealthy"
    assert told.why.startswith("8 due")


def test_a_worker_that_has_just_come_up_is_given_time(ward: Ward) -> None:
    ward.worker("judge", started=1 * MINUTE)
    ward.jobs(5, made=600 * MINUTE)
    assert ward.ask().state == "healthy"
    ward.worker("judge", started=6 * MINUTE)
    assert ward.ask().state == "unhealthy"


def test_a_judge_that_is_down_is_not_the_workers_ill_health(ward: Ward) -> None:
    ward.worker("judge")
    ward.jobs(5, made=600 * MINUTE)
    held = ward.lease(5, ago=timedelta(seconds=20))
    ward.ledger.give_back(held)
    ward.turn(timedelta(seconds=10), "connection refused")
    told = ward.ask()
    assert told.state == "degraded"
    assert "connection refused" in told.why
    ward.turn(30 * MINUTE, "connection refused")  # it does not even try any more
    assert ward.ask().state == "unhealthy"


def test_a_night_of_which_nothing_is_scored_is_told_though_all_works(ward: Ward) -> None:
    ward.worker("judge")
    ward.jobs(14, made=MINUTE)
    jobs = ward.lease(14, ago=timedelta(0))
    ward.ledger.settle([outcome(one, None) for one in jobs[:11]], now=ward.now)
    assert ward.ask().state == "healthy"
    ward.ledger.settle([outcome(one, None) for one in jobs[11:13]], now=ward.now)
    told = ward.ask()
    assert told.state == "degraded"
    assert told.why.startswith(
        "task_completion: all 13 runs so far are unscored(refusal), it refuses to judge; change the "
    )
    assert told.why.endswith(" (1 worker, 0 due, no turn yet)")
    assert ward.ask("heuristics").why == "no live worker was seen for 45 s"
    ward.worker("judge", seen=MINUTE)
    assert ward.ask().why.startswith(
        "no live worker was seen for 45 s; task_completion: all 13 runs so far are unscored("
    )
    ward.worker("judge")
    ward.ledger.settle([outcome(jobs[13])], now=ward.now)
    assert ward.ask().state == "healthy"


def test_jobs_that_wait_out_a_back_off_are_not_due(ward: Ward) -> None:
    ward.worker("judge")
    ward.jobs(3, made=600 * MINUTE)
    ward.ledger.retry(ward.lease(3, ago=20 * MINUTE), ward.now + MINUTE)
    assert ward.ask().why.startswith("1 worker, 0 due")
    assert ward.ask().state == "healthy"
    ward.ledger.retry(ward.lease(3, ago=-2 * MINUTE), ward.now - 6 * MINUTE)
    assert ward.ask().state == "unhealthy"


def test_beat_is_ill_when_no_tick_is_handled_and_says_where_to_look(ward: Ward) -> None:
    assert ward.ask("beat").why.startswith("no tick was ever handled")
    ward.tick(2 * MINUTE)
    assert ward.ask("beat") == LaneVerdict("beat", "healthy", "last tick 2 min ago")
    ward.tick(4 * MINUTE)
    assert ward.ask("beat").state == "unhealthy"
    assert "no worker of the control lane" in ward.ask("beat").why
    ward.worker("control")
    assert "look at beat, and at the broker" in ward.ask("beat").why
    assert ward.ask("control").state == "degraded"  # a restart of this one would not bring the ticks


def test_a_rehearsals_beat_is_expected_sooner(ward: Ward) -> None:
    ward.tick(timedelta(seconds=20))
    assert ward.ask("beat").state == "healthy"
    assert ward.ask("beat", SPOTCHECK_CLOCK=rehearsal(ward, 5_000)).state == "unhealthy"


def test_a_database_that_does_not_answer_is_ill_health_and_none_is_made(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        assert {told.state for told in check({}, list(LANES))} == {"unhealthy"}
        assert list(tmp_path.iterdir()) == []
    (told,) = check({"SPOTCHECK_DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/x"}, ["judge"])
    assert told.state == "unhealthy"
    assert "127.0.0.1" in told.why
    assert "secret" not in told.why


def test_a_database_without_a_schema_is_ill_health(tmp_path: Path) -> None:
    (tmp_path / "empty.db").write_bytes(b"")
    (told,) = check({"SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}"}, ["judge"])
    assert "no such table" in told.why


def test_it_reads_the_same_database_as_every_other_command() -> None:
    assert Settings().database == "sqlite:///spotcheck.db"
    assert health.ALIVE_S == workers.ALIVE_S
    assert health.SEPARATOR == workers.SEPARATOR


WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="/?#[]"), min_size=1, max_size=8
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["postgresql", "postgresql+psycopg"]),
    st.none()
    | st.tuples(
        st.from_regex(r"[a-z%0-9]{1,8}", fullmatch=True), st.none() | WORDS.filter(lambda word: "@" not in word)
    ),
    st.sampled_from(["", "db", "10.0.0.1", "[::1]"]),
    st.none() | st.integers(1, 65535),
    st.sampled_from(["", "/", "/spotcheck"]),
    st.sampled_from(
        ["", "?sslmode=require", "?host=/run/x&port=5", "?host=a&host=b", "?host=a:1&host=b:2", "?connect_timeout=3"]
    ),
)
def test_a_url_means_what_sqlalchemy_means_by_it(
    scheme: str, user: tuple[str, str | None] | None, host: str, port: int | None, name: str, query: str
) -> None:
    if "host=" in query:
        host = ""  # one place or the other
    login = "" if user is None else f"{user[0]}{'' if user[1] is None else ':' + user[1]}@"
    url = f"{scheme}://{login}{host}{'' if port is None or not host else f':{port}'}{name}{query}"
    parsed = make_url(url)
    _, expected = PGDialect_psycopg().create_connect_args(parsed)  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
    expected.pop("context", None)
    if expected.get("port") == ",":  # the usual one, twice
        del expected["port"]
    assert connect_arguments(url) == {key: str(value) for key, value in expected.items() if value not in (None, "")}


@pytest.mark.parametrize("url", ["mysql://x", "postgresql:/x", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_a_url_of_no_database_is_a_mistake_in_the_settings(url: str) -> None:
    with pytest.raises(SettingsError):
        check({"SPOTCHECK_DATABASE_URL": url}, ["judge"])


def test_the_short_way_and_the_command_answer_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(tmp_path)
    shell("db", "upgrade")
    monkeypatch.chdir(tmp_path)
    for arguments in (
        [],
        ["--json"],
        ["--lane", "judge"],
        ["--lane=beat", "--json"],
        ["--lane", "control", "--lane", "heuristics", "--minutes", "3"],
    ):
        code = quickly(["health", *arguments])
        said = shell("health", *arguments)
        assert (code, capsys.readouterr().out) == (said.code, said.out)
        assert said.code == 1
        assert said.out.count("\n") == 1
    for arguments in (
        ["--help"],
        ["--lane", "x"],
        ["--lane"],
        ["--minutes", "0"],
        ["--minutes", "x"],
        ["judge"],
        ["--jso"],
    ):
        assert quickly(["health", *arguments]) is None
    assert quickly(["status"]) is None
    assert "judge, heuristics, control, beat" in shell.refused("health", "--lane", "x")
    assert wanted([]) == list(LANES)


def test_it_says_when_a_rehearsal_is_on(tmp_path: Path) -> None:
    Shell(tmp_path)("db", "upgrade")
    clock = {"SPOTCHECK_CLOCK": "2026-11-16T00:00Z@2026-11-16T00:00Z x2"}
    command = [sys.executable, "-m", "worker", "health"]
    said = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | clock | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert said.stderr.startswith("REHEARSAL: SPOTCHECK_CLOCK is set")


HEAVY = {"celery", "kombu", "openai", "sqlalchemy", "pydantic", "typer", "numpy", "rich", "alembic"}


def test_asking_loads_next_to_nothing(tmp_path: Path, database_url: str) -> None:
    Shell(tmp_path, {"SPOTCHECK_DATABASE_URL": database_url})("db", "upgrade")
    code = (
        "import sys; sys.argv = ['spotcheck', 'health']\n"
        "from worker.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*{name.partition('.')[0] for name in sys.modules})"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT), "SPOTCHECK_DATABASE_URL": database_url}
    said = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    loaded = set(said.stdout.splitlines()[-1].split())
    assert "worker" in loaded
    assert not loaded & HEAVY


def test_what_is_in_a_workers_way_stands_beside_its_heartbeat_and_is_unhealthy_for_that_lane_alone(ward: Ward) -> None:
    with ward.store.write() as connection:
        workers.record_heartbeat(connection, "host:1", ["judge", "heuristic"], 1, ward.now, release="9")
        workers.note_configuration(connection, "host:1", "control", "other", revision=3)
        workers.note_configuration(connection, "host:1", "judge", "it lacks a model")
        workers.note_configuration(connection, "nobody", "heuristic", "none", revision=3)
    assert ward.ask("judge").state == "unhealthy"
    assert ward.ask("judge").why == "worker host:1: it lacks a model"
    assert ward.ask("heuristics").state == "healthy"
    with ward.store.write() as connection:
        (row,) = workers.live_workers(connection, ward.now)
        assert (row["revision"], row["release"]) == (3, "9")
        workers.note_configuration(connection, "host:1", "judge", None)
        workers.note_configuration(connection, "host:1", "control", None)
        (row,) = workers.live_workers(connection, ward.now)
        assert (row["revision"], row["trouble"]) == (3, None)
    assert ward.ask("judge").state == "healthy"


def test_an_open_alert_about_the_pipeline_is_told_and_restarts_nothing(ward: Ward) -> None:
    """It said healthy for nine nights without runs."""
    ward.worker("control")
    ward.tick(timedelta(seconds=10))
    assert ward.ask("beat").state == "healthy"
    raised = Alert(
        key="pipeline:runs", kind="pipeline", urgency="now", text="no runs since Mon", night=ward.now.date(),
        raised_at=ward.now,
    )  # fmt: skip
    with ward.store.write() as connection:
        number = alerts.add(connection, raised)
    told = ward.ask("beat")
    assert told.state == "degraded"
    assert told.why.endswith("; open in `spotcheck alerts`: no runs since Mon")
    assert ward.ask("control").state == "healthy"
    with ward.store.write() as connection:
        assert number is not None
        assert alerts.recover(connection, number, ward.now)
    assert ward.ask("beat").state == "healthy"
