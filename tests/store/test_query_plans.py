"""The queries that run most go through the indexes that were made for them; the database tells how it would read."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests.support import servers, stores
from tests.support.ledger import NIGHT, NOW, Ledger, heuristic, incoming, small_run
from tests.support.trends import trend_points as trends
from worker.jobs.processor import JobProcessor
from worker.pipeline.draw import draw_night
from worker.pipeline.nightly import due_nights, finish, open_jobs
from worker.pipeline.operations.watch import watch
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.queries.status import StatusReader
from worker.records import Stratum
from worker.records.job import LANES
from worker.settings import Settings
from worker.store.engine import Store
from worker.store.queue import claiming, progress
from worker.store.results import cells, counts
from worker.store.results import trends as weekly_points
from worker.store.runs import draws, runs

STRATUM = Stratum("refund", False)
BIG = ("run", "payload", "sample", "job", "score")
"""Tables that grow with the traffic and are never pruned away."""


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


@pytest.fixture(scope="module")
def filled_once(sqlite_ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with a few hundred runs on one night, and a queue."""
    folder = tmp_path_factory.mktemp("filled")
    store = Store(stores.sqlite_copy(sqlite_ready, folder))
    ledger = Ledger(store)
    scorers = ledger.register(heuristic())
    for task_type in ("refund", "billing"):
        ledger.add_runs(200, task_type=task_type)
    ledger.draw(scorers)
    with store.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    store.close()
    return folder / stores.NAME


@pytest.fixture
def filled(filled_once: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of its own for each test."""
    store = Store(stores.sqlite_copy(filled_once, tmp_path))
    yield store
    store.close()


def test_a_claim_reads_the_queue_in_order(filled: Store) -> None:
    plans = Plans(filled)
    with filled.write() as connection:
        claiming.claim(
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
    assert queue.startswith("SEARCH job USING INDEX job_queue (lane=? AND account=?)")
    assert rest in ([], ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"])


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_claim_reads_the_queue_in_order_before_anything_was_analysed(store: Store) -> None:
    plans = Plans(store)
    with store.write() as connection:
        claiming.claim(
            connection, now=NOW, lane="judge", scorer_pks=[1, 2], owner="me", limit=5, lease_s=60.0, max_attempts=3
        )
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
        runs.night_span(connection)
    assert len(plans.of("run")) == 2
    assert all(line.startswith("SEARCH run USING COVERING INDEX") for line in plans.of("run"))


def test_counts_never_touch_the_texts_and_read_only_their_nights(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        counts.night_counts(connection, NIGHT, NIGHT, [], NIGHT)
    assert plans.of("payload") == []
    assert [line for line in plans.lines if line.startswith("SCAN") and " run" in line] == []
    assert [line for line in plans.lines if line.startswith("SCAN job")] == []
    assert [line for line in plans.lines if line.startswith("SCAN score") and "scorer" not in line] == []
    assert any("run_by_facts" in line and "COVERING" in line for line in plans.of("run"))


def test_taking_runs_finds_the_known_ones_by_identity(filled: Store) -> None:
    plans = Plans(filled)
    with filled.write() as connection:
        runs.take(connection, [incoming(small_run("new"))], NOW)
    known, last_key = plans.of("run")
    assert known == "SEARCH run USING INDEX sqlite_autoindex_run_1 (run_id=?)"
    assert last_key == "SEARCH run"  # the end of the table


def test_points_of_some_weeks_are_found_by_week(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        weekly_points.points(connection, dimension="task_type", scorer_name=None, task_type=None, since_week="2026-W40")
    assert any("USING INDEX trend_by_week" in line for line in plans.of("trend"))


def test_a_stale_night_is_found_by_counting_in_indexes_alone(filled: Store) -> None:
    plans = Plans(filled)
    with filled.read() as connection:
        assert cells.stale_nights(connection, NIGHT)
    for table in ("job", "run"):
        assert all("USING COVERING INDEX" in line for line in plans.of(table)), table
        assert plans.of(table)


class WholeReads:
    """Asks the database how it would run every query that passes, and notes those that no index narrows.

    PostgreSQL reads small tables whole by choice; forbidden to, it still must where there is no index to go by. What it
    chooses at size, `python -m bench.scale` shows.
    """

    def __init__(self, store: Store) -> None:
        self.found: dict[str, str] = {}
        self.seen = 0
        self._of = self._of_sqlite if store.dialect == "sqlite" else self._of_postgres
        if store.dialect == "postgresql":
            event.listen(store.engine, "begin", self._forbid)
        event.listen(store.engine, "before_cursor_execute", self._explain)

    @staticmethod
    def _forbid(connection: Connection) -> None:
        for way in ("seqscan", "hashjoin", "mergejoin"):
            connection.exec_driver_sql(f"SET enable_{way} = off")

    def _explain(self, _: Connection, cursor: Any, statement: str, parameters: Any, *rest: object) -> None:
        if statement.startswith(("SELECT", "WITH", "INSERT INTO sample", "INSERT INTO job")):
            self.seen += 1
            own = cursor.connection.cursor()
            for line in self._of(own, statement, parameters):
                self.found[" ".join(statement.split())] = line
            own.close()

    @staticmethod
    def _of_sqlite(cursor: Any, statement: str, parameters: Any) -> Iterator[str]:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        for *_, line in cursor.fetchall():
            words = line.split()
            if words[0] == "SCAN" and words[1] in BIG and not {"job_queue", "job_leases"} & set(words):
                yield line

    @staticmethod
    def _of_postgres(cursor: Any, statement: str, parameters: Any) -> Iterator[str]:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        nodes = [cursor.fetchone()[0][0]["Plan"]]
        while nodes:
            node = nodes.pop()
            if node["Node Type"] == "Limit":  # the end of an index, or the first of few
                continue
            nodes += node.get("Plans", [])
            is_partial = node.get("Index Name") in ("job_queue", "job_leases")
            is_narrowed = is_partial or "Index Cond" in node or node["Node Type"] == "Bitmap Heap Scan"
            if node["Node Type"].endswith("Scan") and node.get("Relation Name") in BIG and not is_narrowed:
                yield f"{node['Node Type']} on {node['Relation Name']}"


LIVED = "[scoring]\nrubrics = []\n[sampling]\nrate = 0.5\n"


def live(store: Store) -> None:
    """Three nights drawn, scored by heuristics, summarised and watched, and a past that is longer."""
    project = Project(Settings.read({}, LIVED), store)
    ledger = Ledger(store)
    nights = [NIGHT - timedelta(days=back) for back in (2, 1, 0)]
    ledger.take(
        incoming(small_run(f"{night}-{task}-{number}", night=night, task_type=task), night=night)
        for night in nights
        for task in ("refund", "billing")
        for number in range(20)
    )
    for back in range(30, 70):
        night = NIGHT - timedelta(days=back)
        ledger.take(incoming(small_run(f"{night}-{number}", night=night), night=night) for number in range(60))
    project.nights.first_tick(NOW - timedelta(days=2))
    for night in nights:
        draw_night(project, night, NOW)
    with JobProcessor(project) as processor:
        processor.drain_all(LANES, stop=lambda: False)
    finish(project, NOW)
    watch(project, NOW)
    assert open_jobs(project) == 0
    with store.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    store.close()


@pytest.fixture(scope="module")
def lived_sqlite(sqlite_ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has lived, as a file to be copied."""
    folder = tmp_path_factory.mktemp("lived")
    live(Store(stores.sqlite_copy(sqlite_ready, folder)))
    return folder / stores.NAME


@pytest.fixture(scope="module")
def lived_postgres(databases: servers.Databases, postgres_ready: str) -> Iterator[str]:
    """A project that has lived, as a PostgreSQL database to be copied."""
    url = databases(postgres_ready)
    live(Store(url))
    yield url
    databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project with three nights behind it that everybody has worked on, for each test its own."""
    if request.param == "sqlite":
        store = Store(stores.sqlite_copy(request.getfixturevalue("lived_sqlite"), tmp_path))
        yield Project(Settings.read({}, LIVED), store)
        store.close()
        return
    databases: servers.Databases = request.getfixturevalue("databases")
    url = databases(request.getfixturevalue("lived_postgres"))
    store = Store(url)
    yield Project(Settings.read({}, LIVED), store)
    store.close()
    databases.drop(url)


def _status(project: Project) -> object:
    registered = [entry for entry, _ in project.scorers.register()]
    with project.store.read() as connection:
        return counts.night_counts(connection, NIGHT - timedelta(13), NIGHT, registered, project.nights.start())


def _outcomes(project: Project) -> object:
    with project.store.read() as connection:
        return progress.outcomes(connection, NIGHT)


@pytest.mark.parametrize(
    "act",
    [
        lambda project: due_nights(project, NOW),
        lambda project: reconcile(project, NOW, lambda lane, due: None),
        lambda project: watch(project, NOW),
        open_jobs,
        _status,
        lambda project: StatusReader(project).read(),
        _outcomes,
        lambda project: trends(project, by="task_type", scorer=None, task_type=None, weeks=8),
    ],
    ids=["nights due", "reconcile", "watch", "queue", "status", "engine", "outcomes", "trends"],
)
def test_what_runs_every_minute_reads_no_growing_table_whole(lived: Project, act: Callable[[Project], object]) -> None:
    whole = WholeReads(lived.store)
    act(lived)
    assert whole.found == {}
    assert whole.seen > 0


def test_late_runs_are_decided_without_reading_a_growing_table_whole(lived: Project) -> None:
    Ledger(lived.store).take(incoming(small_run(f"late-{number}")) for number in range(20))
    whole = WholeReads(lived.store)
    done = reconcile(lived, NOW, lambda lane, due: None)
    assert done.jobs_added > 0
    assert whole.found == {}


def test_the_plans_would_show_a_table_that_is_read_whole(lived: Project) -> None:
    whole = WholeReads(lived.store)
    with lived.store.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM score WHERE outcome = 'scored'")
    assert list(whole.found) == ["SELECT count(*) FROM score WHERE outcome = 'scored'"]


def test_nothing_is_written_where_nothing_came(lived: Project) -> None:
    said: list[str] = []
    event.listen(lived.store.engine, "before_cursor_execute", lambda c, cursor, sql, *rest: said.append(sql))
    reconcile(lived, NOW, lambda lane, due: None)
    assert said
    assert [sql for sql in said if not sql.startswith(("SELECT", "BEGIN"))] == []
