"""The queries that run most go through the indexes that were made for them; SQLite tells how it would read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests.store.world import NIGHT, NOW, World, heuristic, incoming, small_run
from worker.records import Stratum
from worker.store import counts, draws, ledger, runs, schema, summary
from worker.store.engine import Store

STRATUM = Stratum("refund", False)


class Plans:
    """Asks SQLite how it would run every query that passes."""

    def __init__(self, store: Store) -> None:
        self.lines: list[str] = []
        event.listen(store.engine, "before_cursor_execute", self._explain)

    def _explain(self, _: Connection, cursor: Any, statement: str, parameters: Any, *rest: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            own = cursor.connection.cursor()
            own.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            self.lines += [row[3] for row in own.fetchall()]

    def of(self, table: str) -> list[str]:
        return [line for line in self.lines if line.split()[1] == table]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Store]:
    """A SQLite store with a few hundred runs on each of three nights, and a queue."""
    store = Store(f"sqlite:///{tmp_path}/spotcheck.db")
    schema.ensure(store)
    world = World(store)
    scorers = world.register(heuristic())
    for task_type in ("refund", "billing"):
        world.add_runs(200, task_type=task_type)
    world.draw(scorers)
    with store.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    yield store
    store.close()


def test_a_claim_reads_the_queue_in_order(filled: Store) -> None:
    plans = Plans(filled)
    with filled.write() as connection:
        ledger.claim(
            connection,
            now=NOW,
            lane="heuristic",
            scorer_pks=[1],
            owner="me",
            limit=5,
            lease_s=60.0,
            max_attempts=3,
        )
    leases, queue, *rest = plans.lines
    assert "job_leases" in leases
    assert queue.startswith("SEARCH job USING INDEX job_queue (lane=?)")
    assert rest in ([], ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"])


def test_a_claim_reads_the_queue_in_order_before_anything_was_analysed(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/spotcheck.db")
    schema.ensure(store)
    plans = Plans(store)
    with store.write() as connection:
        ledger.claim(
            connection, now=NOW, lane="judge", scorer_pks=[1, 2], owner="me", limit=5, lease_s=60.0, max_attempts=3
        )
    store.close()
    assert "job_leases" in plans.lines[0]
    assert "job_queue" in plans.lines[1]


def test_the_smallest_keys_are_read_off_their_index(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        assert len(draws.smallest_keys(connection, NIGHT, STRATUM, 4)) == 4
        draws.count_below(connection, NIGHT, STRATUM, 0.1)
    smallest, below = plans.lines
    assert smallest == "SEARCH run USING COVERING INDEX run_by_key (night=? AND task_type=? AND flagged=?)"
    assert below.startswith("SEARCH run USING COVERING INDEX run_by_key (night=? AND task_type=? AND flagged=? AND")


def test_populations_are_counted_in_an_index_alone(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        draws.populations(connection, NIGHT)
    assert len(plans.lines) == 1
    assert plans.lines[0].startswith("SEARCH run USING COVERING INDEX run_by_")


def test_the_span_reads_two_ends_of_an_index(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        runs.span(connection)
    assert len(plans.of("run")) == 2
    assert all(line.startswith("SEARCH run USING COVERING INDEX") for line in plans.of("run"))


def test_counts_never_touch_the_texts_and_read_only_their_nights(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        counts.counts(connection, NIGHT, NIGHT, [], NIGHT)
    assert plans.of("payload") == []
    assert [line for line in plans.lines if line.startswith("SCAN") and " run" in line] == []
    assert [line for line in plans.lines if line.startswith("SCAN job")] == []
    assert [line for line in plans.lines if line.startswith("SCAN score") and "scorer" not in line] == []
    assert any("run_by_facts" in line and "COVERING" in line for line in plans.of("run"))


def test_taking_runs_finds_the_known_ones_by_identity(filled: Store) -> None:
    plans = Plans(filled)
    with filled.write() as connection:
        runs.take(connection, [incoming(small_run("new"))], NOW)
    assert plans.of("run")
    assert all(line == "SEARCH run USING INDEX sqlite_autoindex_run_1 (run_id=?)" for line in plans.of("run"))


def test_points_of_some_weeks_are_found_by_week(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        summary.points(connection, dimension="task_type", scorer_name=None, task_type=None, since_week="2026-W40")
    assert any("USING INDEX trend_by_week" in line for line in plans.of("trend"))


def test_a_stale_night_is_found_by_counting_in_indexes_alone(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        assert summary.stale_nights(connection, NIGHT)
    for table in ("job", "run"):
        assert all("USING COVERING INDEX" in line for line in plans.of(table)), table
        assert plans.of(table)
