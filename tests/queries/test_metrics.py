"""What /metrics says of a project: every figure in its place, hostile names, few series, a database that is away."""

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert

from tests.support.ledger import Ledger, given_up, heuristic, judge, outcome
from tests.support.rates import a_reading, note
from worker.project.project import Project
from worker.queries import metrics
from worker.queries.metrics import REASONS_MOST, TRENDS_MOST, MetricsCollector, render
from worker.settings import Settings
from worker.store import meta
from worker.store.budget import accounts
from worker.store.engine import Store
from worker.store.health import LAST_TICK
from worker.store.queue import batches, workers
from worker.store.queue.rates import Calls
from worker.store.tables import TrendRow, core

TOML = "[scoring]\nheuristics = []\n[judge]\nbudget_usd_per_day = 5.0\nunknown_price = 'allow'\n"
TOML += "[judge.budgets.task_completion]\nusd_per_month = 7.0\n"
ROOT = Path(__file__).parents[2]
HOSTILE = 'refund"} 1\nspotcheck_jobs{scorer="x\\'


def a_project(store: Store, **environ: str) -> Project:
    addresses = {"SPOTCHECK_JUDGE_MODEL": "m", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    return Project(Settings.read(addresses | environ, TOML), store)


def scrape(made: MetricsCollector) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every value by metric and labels, as Prometheus' own parser reads it."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(made.text().decode()):
        assert family.documentation
        for sample in family.samples:
            values = found.setdefault(sample.name.removeprefix("spotcheck_"), {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in values
            values[labels] = sample.value
    return found


def one(values: Mapping[tuple[tuple[str, str], ...], float], **labels: str) -> float:
    return values[tuple(sorted(labels.items()))]


def fill(store: Store, project: Project, now: datetime) -> None:
    """Something of everything but trends."""
    ledger = Ledger(store)
    scorer, rule = ledger.register(judge(), heuristic())
    night = project.nights.last_over(now)
    ledger.add_runs(10, night=night)
    ledger.draw([scorer, rule], night=night, now=now - timedelta(minutes=5))
    jobs = ledger.claim([scorer], limit=4, now=now).jobs
    broken = given_up(jobs[2])._replace(reason="scorer_error: KeyError: 'my name is Ann'")
    ledger.settle([outcome(jobs[0], criteria=["a"]), outcome(jobs[1], None), broken], now=now)
    note(store, a_reading(at=now)._replace(waiting=2, per_second=7.5), {"m": Calls(100, 3, 2)})
    with store.write() as connection:
        accounts.book(connection, project.nights.of(now), scorer.pk, spent=1.5, reserved=0.25, presumed=0.5)
        workers.record_heartbeat(connection, "host:1", ["judge", "control"], 1, store.now(connection))
        meta.set_meta(connection, LAST_TICK, (now - timedelta(seconds=30)).isoformat())
        for size, state in ((7, "running"), (5, "running"), (3, "done")):
            held = batches.start_batch(connection, "server", "m", store.now(connection), deadline_at=now)
            batches.record_progress(connection, held, state=state, jobs=size)


def test_the_queue_the_judge_the_money_and_the_outcomes_are_told(store: Store) -> None:
    now, project = datetime.now(UTC), a_project(store)
    fill(store, project, now)
    found = scrape(MetricsCollector(project))
    lane = {"lane": "judge", "scorer": "task_completion"}
    assert one(found["store_up"]) == 1
    assert one(found["queue_jobs"], **lane, state="due") == 6
    assert one(found["queue_jobs"], **lane, state="leased") == 1
    assert 300 <= one(found["queue_oldest_due_age_seconds"], lane="judge") < 400
    assert one(found["judge_calls_total"], model="m", outcome="answered") == 100
    assert one(found["judge_calls_total"], model="m", outcome="refused") == 3
    assert one(found["judge_in_flight"], model="m") == 3
    assert one(found["judge_in_line"], model="m") == 2
    assert one(found["judge_limit"], model="m") == 16
    assert one(found["judge_starts_per_second_limit"], model="m") == 7.5
    assert one(found["judge_latency_seconds"], model="m") == 0.3
    assert one(found["judge_paused"], model="m") == 0
    money_of = {"scorer": "task_completion", "model": "m"}
    assert one(found["spent_today_usd"], **money_of) == 1.5
    assert one(found["reserved_usd"], **money_of) == 0.25
    assert one(found["presumed_today_usd"], **money_of) == 0.5
    assert one(found["cap_usd"], period="day") == 5.0
    assert one(found["rubric_cap_usd"], scorer="task_completion", period="month") == 7.0
    assert one(found["rubric_spent_month_usd"], scorer="task_completion") == 1.5
    assert ("period", "month") not in {label for labels in found["cap_usd"] for label in labels}
    assert one(found["jobs"], **lane, state="scored") == 1
    assert one(found["jobs"], **lane, state="failed") == 1
    assert one(found["jobs"], lane="heuristic", scorer="tool_success", state="queued") == 10
    reasons = {"scorer": "task_completion"}
    assert one(found["jobs_by_reason"], **reasons, state="unscored", reason="refusal") == 1
    assert one(found["jobs_by_reason"], **reasons, state="failed", reason="scorer_error") == 1
    assert one(found["batches"], state="running") == 2
    assert one(found["batch_jobs"], state="running") == 12
    assert one(found["workers_alive"], lane="control") == 1
    assert one(found["workers_alive"], lane="heuristic") == 0
    assert 30 <= one(found["last_tick_age_seconds"]) < 90
    assert b"Ann" not in MetricsCollector(project).text()


def test_every_metric_is_in_the_documents_and_nothing_else_is(store: Store) -> None:
    project = a_project(store)
    fill(store, project, datetime.now(UTC))
    (scorer,) = Ledger(store).register(judge())
    with store.write() as connection:
        connection.execute(insert(core(TrendRow)), [a_point(scorer.pk, "refund")])
    documented = re.findall(r"\bspotcheck_(\w+)", (ROOT / "docs" / "watching.md").read_text(encoding="utf-8"))
    assert set(documented) == set(scrape(MetricsCollector(project)))


def test_an_empty_project_is_told(store: Store) -> None:
    found = scrape(MetricsCollector(a_project(store)))
    assert one(found["store_up"]) == 1
    assert one(found["queue_oldest_due_age_seconds"], lane="judge") == 0
    assert "last_tick_age_seconds" not in found
    assert "trend_mean" not in found


def test_a_judge_in_trouble_is_paused(store: Store) -> None:
    note(store, a_reading(at=datetime.now(UTC), trouble="refuses the key sk-s3cret"))
    made = MetricsCollector(a_project(store))
    assert one(scrape(made)["judge_paused"], model="m") == 1
    assert b"s3cret" not in made.text()


def a_point(scorer_pk: int, task_type: str | None, **over: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"week": "2026-W47", "dimension": "task_type", "task_type": task_type}
    fields |= {"scorer_pk": scorer_pk, "criterion": None, "population": 10, "sampled": 5, "scored": 4, "unscored": 1}
    return fields | {"mean": 0.75, "low": 0.5, "high": 1.0, "raw_mean": 0.7} | over


def test_the_newest_week_is_told_with_its_interval_whatever_a_task_type_is_called(store: Store) -> None:
    (scorer,) = Ledger(store).register(judge())
    points = [
        a_point(scorer.pk, HOSTILE),
        a_point(scorer.pk, None, mean=0.8),
        a_point(scorer.pk, "refund", criterion="polite"),
        a_point(scorer.pk, "unscored", mean=None, low=None, high=None),
        a_point(scorer.pk, "refund", week="2026-W46"),
    ]
    with store.write() as connection:
        connection.execute(insert(core(TrendRow)), points)
    found = scrape(MetricsCollector(a_project(store)))
    series = {"scorer": "task_completion", "scorer_version": scorer.key.series}
    assert set(found["trend_mean"].values()) == {0.75, 0.8}
    assert one(found["trend_mean"], **series) == 0.8
    (hostile,) = (dict(labels)["task_type"] for labels in found["trend_mean"] if len(labels) == 3)
    assert hostile == HOSTILE.replace("\n", "␊")
    assert set(found["trend_low"].values()) == {0.5}
    assert one(found["trends_left_out"]) == 0
    assert one(found["trend_week_timestamp_seconds"]) == datetime(2026, 11, 16, tzinfo=UTC).timestamp()
    assert "jobs" not in found


def test_many_task_types_and_reasons_are_cut_off_and_counted(store: Store) -> None:
    ledger, now = Ledger(store), datetime.now(UTC)
    project = a_project(store)
    (scorer,) = ledger.register(judge())
    night = project.nights.last_over(now)
    count = REASONS_MOST + 5
    ledger.add_runs(count, night=night)
    ledger.draw([scorer], night=night, now=now)
    jobs = ledger.claim([scorer], limit=count, now=now).jobs
    ledger.settle([given_up(job)._replace(reason=f"r{number}") for number, job in enumerate(jobs)], now=now)
    types = TRENDS_MOST + 7
    with store.write() as connection:
        rows = [a_point(scorer.pk, f"t-{number}", population=number) for number in range(types)]
        connection.execute(insert(core(TrendRow)), rows)
    found = scrape(MetricsCollector(project))
    assert len(found["trend_mean"]) == TRENDS_MOST
    assert one(found["trends_left_out"]) == 7
    kept = {dict(labels)["task_type"] for labels in found["trend_mean"]}
    assert "t-0" not in kept, "those with the fewest runs are left out"
    assert len(found["jobs_by_reason"]) == REASONS_MOST + 1
    assert one(found["jobs_by_reason"], scorer="task_completion", state="failed", reason="other") == 5


def test_a_text_is_kept_for_a_few_seconds_whoever_asks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MetricsCollector(a_project(store))
    made.text()
    said: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda c, cursor, sql, *rest: said.append(sql))
    askers = [threading.Thread(target=made.text) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert said == []
    monkeypatch.setattr(metrics, "FRESH_S", 0.0)
    made.text()
    cheap, said[:] = list(said), []
    assert cheap
    assert not [sql for sql in cheap if "FROM trend" in sql], "the dear part is kept for longer"


def test_no_fork_may_come_between_and_no_connection_stays(store: Store) -> None:
    alone = threading.Lock()
    opened: list[bool] = []
    event.listen(store.engine, "before_cursor_execute", lambda *_: opened.append(alone.locked()))
    MetricsCollector(a_project(store), alone=alone).text()
    assert opened
    assert all(opened)
    assert not alone.locked()
    assert store._engine is None


def test_a_database_that_is_away_is_told_and_the_rest_is_absent(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/gone/spotcheck.db")
    found = scrape(MetricsCollector(a_project(store)))
    assert one(found["store_up"]) == 0
    assert set(found) == {"info", "store_up"}


def test_nothing_but_our_metrics_is_told(store: Store) -> None:
    text = MetricsCollector(a_project(store)).text()
    assert all(line.startswith((b"# ", b"spotcheck_")) for line in text.splitlines())
    assert render([]) == b""
