"""How the engine stands: pace, queue, money and trouble by model, from what the processes and the ledger say."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from tests.support.backfills import FEW, PRICED
from tests.support.ledger import Ledger, judge
from tests.support.project import MONDAY, PLAIN, Installation, history, ingest, nightly
from tests.support.rates import a_reading, note
from worker.cli.process.live import LiveFigures, one_line
from worker.cli.views.status_engine import parts
from worker.demo.judge.server import MODEL
from worker.project.project import Project
from worker.queries.overview import OverviewReader
from worker.queries.status import EngineStatus, ModelStatus, StatusReader
from worker.records import job
from worker.settings import Settings
from worker.store.budget import accounts
from worker.store.engine import Store
from worker.store.queue import progress, workers
from worker.store.queue.rates import RateReading

TOML = "[scoring]\nheuristics = []\n"


class House:
    """A project with a judge of model `m` in force, and shorthands for what others would write."""

    def __init__(self, store: Store) -> None:
        environ = {"SPOTCHECK_JUDGE_MODEL": "m", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
        self.project = Project(Settings.read(environ, TOML), store)
        self.store, self.ledger = store, Ledger(store)
        self.now = datetime.now(UTC)
        self.watcher = StatusReader(self.project)

    def ago(self, seconds: float) -> datetime:
        return self.now - timedelta(seconds=seconds)

    def note(self, *readings: RateReading) -> None:
        for reading in readings:
            note(self.store, reading)

    def look(self) -> EngineStatus:
        return self.watcher.read()

    def model(self) -> ModelStatus:
        (only,) = self.look().models
        return only


@pytest.fixture
def house(store: Store) -> House:
    return House(store)


def test_a_model_in_force_is_told_before_anybody_asked_it(house: House) -> None:
    model = house.model()
    assert (model.model, model.processes, model.calls_per_s, model.refused, model.trouble) == ("m", 0, 0, None, None)
    assert model.queue.due == 0
    assert house.look().spent == (0.0, 0.0, 0.0)


def test_processes_of_the_last_seconds_add_up_and_older_ones_do_not(house: House) -> None:
    one = a_reading("host:1", at=house.now)._replace(answered=90, refused=10, failed=0, per_second=5.0)
    other = a_reading("host:2", at=house.ago(2))._replace(answered=40, refused=0, failed=10, latency_s=0.5)
    gone = a_reading("host:3", at=house.ago(60))
    house.note(one, other, gone)
    model = house.model()
    assert model.processes == 2
    assert model.calls_per_s == pytest.approx(15.0)
    assert model.refused == pytest.approx(10 / 150)
    assert model.failed == pytest.approx(10 / 150)
    assert (model.in_flight, model.limit) == (6, 32)
    assert model.starts_per_s is None, "one of them is not bounded"
    assert model.latency_s == pytest.approx(0.4)
    house.note(other._replace(per_second=7.0))
    assert house.model().starts_per_s == 12.0


def test_a_trouble_lasts_until_any_process_is_answered_later(house: House) -> None:
    house.note(a_reading("host:1", at=house.ago(20), trouble="refuses the key"), a_reading("host:2", at=house.ago(30)))
    model = house.model()
    assert (model.trouble, model.trouble_at) == ("refuses the key", house.ago(20))
    house.note(a_reading("host:2", at=house.ago(5)))
    assert house.model().trouble is None


def test_an_old_trouble_is_told_only_where_work_waits_for_the_model(house: House) -> None:
    house.note(a_reading(at=house.ago(7_200), trouble="refuses the key"))
    assert house.model().trouble is None
    scorer, applies_to = judge()
    (registered,) = house.ledger.register((scorer, applies_to))
    house.ledger.add_runs(3)
    house.ledger.draw([registered], now=house.ago(600))
    model = house.model()
    assert model.trouble == "refuses the key"
    assert model.queue.due == 3
    assert model.queue.oldest_at == house.ago(600)


def test_a_pause_is_told_while_it_lasts(house: House) -> None:
    until = house.now + timedelta(seconds=60)
    house.note(a_reading(at=house.now)._replace(resumes_at=until))
    assert house.model().resumes_at == until
    house.note(a_reading(at=house.now)._replace(resumes_at=house.ago(1)))
    assert house.model().resumes_at is None


def test_money_is_told_by_scorer_and_by_model(house: House) -> None:
    one, other, strange = house.ledger.register(judge("one"), judge("other"), judge("third", "2"))
    today = house.project.nights.of(house.now)
    with house.store.write() as connection:
        accounts.book(connection, today, one.pk, spent=1.0, reserved=0.5)
        accounts.book(connection, today, other.pk, spent=2.0, presumed=0.25)
        accounts.book(connection, today, 0, spent=4.0)
        accounts.book(connection, today - timedelta(days=40), strange.pk, spent=8.0)
    now = house.look()
    assert {(account.key.name if account.key else None): account.spent.spent_usd for account in now.spent_by} == {
        None: 4.0,
        "one": 1.0,
        "other": 2.0,
    }
    assert now.spent == (7.0, 0.5, 0.25)
    assert now.month.spent_usd == 7.0
    assert house.model().spent == (3.0, 0.5, 0.25)


def test_a_model_that_is_in_force_no_more_is_told_while_its_jobs_wait(house: House) -> None:
    key, applies_to = judge("old")
    (registered,) = house.ledger.register((key.model_copy(update={"spec": {"model": "old-model"}}), applies_to))
    house.ledger.add_runs(2)
    house.ledger.draw([registered])
    assert [model.model for model in house.look().models] == ["m", "old-model"]


def test_workers_and_lanes_are_told(house: House) -> None:
    with house.store.write() as connection:
        workers.record_heartbeat(connection, "host:1", ["judge"], 1, house.store.now(connection))
    now = house.look()
    assert [worker.name for worker in now.workers] == ["host:1"]
    assert set(now.lanes) == {"heuristic", "judge", "batch"}


def test_every_lane_that_is_drained_is_looked_at() -> None:
    assert set(progress.LANES) == set(job.LANES)


def test_in_a_rehearsal_the_age_of_jobs_is_real_time(store: Store) -> None:
    real = datetime.now(UTC) - timedelta(minutes=10)
    start = datetime(2026, 11, 16, tzinfo=UTC)
    environ = {"SPOTCHECK_CLOCK": f"{start.isoformat()}@{real.isoformat()} x5000"}
    ledger = Ledger(store)
    (scorer,) = ledger.register(judge())
    ledger.add_runs(1)
    ledger.draw([scorer], now=start + 5_000 * timedelta(minutes=9))
    project = Project(Settings.read(environ, TOML), store)
    assert StatusReader(project).read().lanes["judge"].oldest_at == real + timedelta(minutes=9)


def test_looking_again_and_again_reads_scorers_once(house: House) -> None:
    house.look()
    said: list[str] = []
    event.listen(house.store.engine, "before_cursor_execute", lambda c, cursor, sql, *rest: said.append(sql))
    house.look()
    selects = [sql for sql in said if sql.startswith("SELECT") and "clock_timestamp" not in sql]
    assert len(selects) <= 11
    assert not [sql for sql in selects if "FROM scorer" in sql]


@pytest.mark.parametrize(("toml", "said"), [(PLAIN, f"an unknown price ({MODEL})"), (PRICED, "$0.0")])
def test_a_model_without_a_known_price_is_no_judge_for_nothing(
    installation: Installation, toml: str, said: str
) -> None:
    project = installation.project(toml)
    assert list(StatusReader(project).read().unpriced) == [], "nobody was asked yet"
    ingest(project, history(1, FEW))
    assert nightly(project, [MONDAY]).still_open == 0
    now = StatusReader(project).read()
    assert list(now.unpriced) == ([MODEL] if toml == PLAIN else [])
    assert any(f"spent today {said}" in str(part) for part in parts(now, project.settings, None))
    overview = OverviewReader(project).read(datetime.now(UTC))
    assert f"spent today: {said}" in one_line(project.settings, LiveFigures(overview))
