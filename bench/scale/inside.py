"""What a command line hides: single acts of the engine, timed in a process of their own without its start.

`python -m bench.scale.inside ACT` runs in a project's folder and prints one JSON object. Times are seconds.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, event

from bench.scale.history import FIRST, NIGHTS
from worker.jobs.processor import JobProcessor
from worker.pipeline.nightly import due_nights, finish
from worker.pipeline.operations.watch import watch
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.queries.trends import TrendsRequest, read_points
from worker.records.job import LANES
from worker.settings import read_here
from worker.store.engine import Store
from worker.store.queue import backlog, workers
from worker.store.results import counts, findings
from worker.store.runs import runs

LAST = FIRST + timedelta(days=NIGHTS - 1)
NOW = datetime.combine(LAST, datetime.min.time(), UTC) + timedelta(days=1, hours=9)
"""The morning after the last night: what beat would see."""
REPEATS = 5
_BIG = ("run", "job", "score", "sample", "payload")


def main(act: str) -> None:
    """Do one act and say how long it took."""
    project = Project(read_here()[0]).open()
    answer = _ACTS[act](project)
    project.store.close()
    sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE, default=str))


def _analyse(project: Project) -> dict[str, Any]:
    """What autovacuum does by itself on PostgreSQL; on SQLite nothing is analysed, as in the product."""
    if project.store.dialect == "postgresql":
        with project.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    return {}


def _size(project: Project) -> dict[str, Any]:
    if project.settings.sqlite_path is not None:
        return {"bytes": sum(path.stat().st_size for path in project.settings.sqlite_path.parent.glob("*.db*"))}
    with project.store.read() as connection:
        return {"bytes": connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()}


def _scan(project: Project) -> dict[str, Any]:
    """The bare index scan beside the draws: count each stratum, and the keys below a rate, over all nights."""
    sql = "SELECT night, task_type, flagged, count(*), sum(CASE WHEN sample_key < 0.05 THEN 1 ELSE 0 END) FROM run "
    sql += "GROUP BY night, task_type, flagged"

    def scan() -> None:
        with project.store.read() as connection:
            connection.exec_driver_sql(sql).all()

    return {"s": _median(scan, 3)}


def _score(project: Project) -> dict[str, Any]:
    """Drain every due heuristic in this process."""
    since = time.perf_counter()
    jobs = 0
    with JobProcessor(project) as processor:
        while settled := processor.drain_all(LANES, stop=lambda: False).settled:  # a turn ends after a minute
            jobs += settled
    return {"jobs": jobs, "s": time.perf_counter() - since}


def _finish(project: Project) -> dict[str, Any]:
    """Summarise and compare whatever is ready."""
    since = time.perf_counter()
    found = finish(project, NOW)
    return {"findings": len(found), "s": time.perf_counter() - since}


def _minute(project: Project) -> dict[str, Any]:
    """What runs every minute, with nothing new to do: after a first round that may have had something."""
    acts: dict[str, Callable[[], object]] = {
        "tick: nights due": lambda: due_nights(project, NOW),
        "tick: watch": lambda: watch(project, NOW),
        "reconcile": lambda: reconcile(project, NOW, lambda lane, due: None),
        "queue": lambda: _queue(project),
        "status": lambda: _status(project, LAST - timedelta(days=13)),
    }
    found = {}
    for name, act in acts.items():
        since = time.perf_counter()
        act()
        found[f"{name}, first"] = time.perf_counter() - since
        found[name] = _median(act, REPEATS)
    return found


def _questions(project: Project) -> dict[str, Any]:
    """What people ask, without the start of Python: at first, and once more."""
    with project.store.read() as connection:
        some_run = runs.list_runs(connection, task_type=None, status=None, since=None, until=None, limit=1)[0]["run_id"]

    def trend() -> object:
        return read_points(project, TrendsRequest())

    def drift() -> object:
        with project.store.read() as connection:
            return findings.list_findings(connection)

    def listed() -> object:
        with project.store.read() as connection:
            return runs.list_runs(connection, task_type="refund", status="errored", since=None, until=None, limit=20)

    def found() -> object:
        with project.store.read() as connection:
            return runs.find_runs(connection, some_run)

    acts = {"trends": trend, "drift": drift, "runs": listed, "show": found}
    # `trends` gives a list, the other acts whatever they give
    told: dict[str, Any] = {"points": len(trend())}  # type: ignore[arg-type]
    return told | {name: _median(act, REPEATS) for name, act in acts.items()}


def _queue(project: Project) -> None:
    with project.store.read() as connection:
        at = project.store.now(connection)
        for lane in LANES:
            backlog.lane_backlog(connection, at, lane)
        workers.live_workers(connection, at)


def _status(project: Project, since: date) -> None:
    registered = [each for each, _ in project.scorers.register()]
    with project.store.read() as connection:
        rows = counts.night_counts(connection, since, LAST, registered, project.nights.start())
    assert all(row.reconciles for row in rows), "the counts do not reconcile"


def _plans(project: Project) -> dict[str, Any]:
    """Which big tables each act reads in full."""
    plans = _Plans(project.store)
    told = {}
    for name, act in (("every minute", _minute), ("questions", _questions)):
        plans.whole.clear()
        act(project)
        told[name] = {sql: sorted(lines) for sql, lines in plans.whole.items()}
    return told


class _Plans:
    """Asks the database how it would run every query that passes, and keeps those that read a big table in full."""

    def __init__(self, store: Store) -> None:
        self.whole: dict[str, set[str]] = {}
        self._is_sqlite = store.dialect == "sqlite"
        event.listen(store.engine, "before_cursor_execute", self._explain)

    def _explain(self, _: Connection, cursor: Any, statement: str, parameters: Any, *rest: object) -> None:
        if not statement.startswith(("SELECT", "WITH")):
            return
        own = cursor.connection.cursor()
        own.execute(f"EXPLAIN {'QUERY PLAN ' if self._is_sqlite else ''}{statement}", parameters)
        lines = [str(row[3] if self._is_sqlite else row[0]).strip() for row in own.fetchall()]
        own.close()
        bad = {line for line in lines if self._is_whole(line)}
        if bad:
            self.whole.setdefault(" ".join(statement.split())[:160], set()).update(bad)

    def _is_whole(self, line: str) -> bool:
        words = line.split()
        if self._is_sqlite:
            return words[0] == "SCAN" and words[1] in _BIG
        return any(f"Seq Scan on {table} " in line or f"Seq Scan on {table}" == line for table in _BIG)


def _median(act: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        since = time.perf_counter()
        act()
        took.append(time.perf_counter() - since)
    return statistics.median(took)


_ACTS: dict[str, Callable[[Project], dict[str, Any]]] = {
    "analyse": _analyse,
    "size": _size,
    "scan": _scan,
    "score": _score,
    "finish": _finish,
    "minute": _minute,
    "questions": _questions,
    "plans": _plans,
}


def command(act: str) -> Sequence[str]:
    """The command line of an act."""
    return (sys.executable, "-m", "bench.scale.inside", act)


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    main(sys.argv[1])
