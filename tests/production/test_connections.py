"""No database connection is held across a judge call: however many hang, the database is as free as without them."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.support.judge_workers import CHILDREN, JudgeWorkers
from worker.judge.limits.adaptive import START_LIMIT

pytestmark = pytest.mark.slow
LOOKS, BETWEEN_S = 8, 1.0
A_PROCESS = 2
"""Connections that one process may keep: its pool."""
WRITE_ONCE = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO spotcheck_probe VALUES (1)")
connection.execute("COMMIT")
"""


class Session(NamedTuple):
    """A connection to the database that is not ours."""

    pid: int
    state: str
    began: str | None
    """When its transaction did; None outside of one."""


def sessions(url: str) -> list[Session]:
    asked = (
        "SELECT pid, coalesce(state, ''), xact_start::text FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        return [Session(*row) for row in connection.execute(asked).fetchall()]


@pytest.mark.parametrize("concurrency", [2, START_LIMIT])
def test_calls_that_hang_hold_no_transaction_and_no_more_connections_than_a_pool(
    tmp_path: Path, postgres_url: Callable[[], str], redis_url: Callable[[], str], concurrency: int
) -> None:
    url = postgres_url()
    urls = {"SPOTCHECK_DATABASE_URL": url, "SPOTCHECK_BROKER_URL": redis_url()}
    with JudgeWorkers(tmp_path, urls, runs=300, concurrency=concurrency) as judge_workers, judge_workers.worker():
        judge_workers.until_all_calls_hang()
        held = judge_workers.states()["leased"]
        judge_workers.project.store.close()  # the test's own
        looks = []
        for _ in range(LOOKS):
            looks.append(sessions(url))
            time.sleep(BETWEEN_S)  # several looks over the time of the calls
        assert judge_workers.judge.waiting == CHILDREN * concurrency, "they hung all the while"
        assert held >= CHILDREN * concurrency
        transactions = [
            {(session.pid, session.began) for session in look if session.began is not None} for look in looks
        ]
        for before, after in pairwise(transactions):
            assert not before & after, "a transaction outlives a look"
        assert any(not look for look in transactions), "and mostly there is none"
        idle = [session for look in looks for session in look if session.state.startswith("idle in transaction")]
        assert len({session.began for session in idle}) == len(idle), "none waits in one"
        # the parent's heartbeat closes what it opens
        assert max(len(look) for look in looks) <= CHILDREN * A_PROCESS + 1


def test_on_sqlite_another_process_writes_at_once_while_calls_hang(tmp_path: Path) -> None:
    with JudgeWorkers(tmp_path, {}, runs=300, concurrency=START_LIMIT) as judge_workers:
        path = tmp_path / "spotcheck.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE spotcheck_probe (at INTEGER)")
        connection.close()
        with judge_workers.worker():
            judge_workers.until_all_calls_hang()
            for _ in range(LOOKS):
                subprocess.run([sys.executable, "-c", WRITE_ONCE, str(path)], check=True, timeout=60)
                time.sleep(BETWEEN_S)  # several writes over the time of the calls
            assert judge_workers.judge.waiting == CHILDREN * judge_workers.concurrency
            assert judge_workers.states()["leased"] >= CHILDREN * judge_workers.concurrency
