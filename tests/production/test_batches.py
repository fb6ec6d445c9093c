"""The batch lane with real workers: one makes the batch and is killed, another takes it in."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.batch_server import BatchOffice
from tests.support.crew import Crew
from worker.store.tables import BatchRow, core

pytestmark = pytest.mark.slow
RUNS = 60
POLICY = 'lane = "batch"\n[judge.batch]\ngather_s = 0\npoll_s = 1\n'
batch = core(BatchRow)


@pytest.fixture
def crew(tmp_path: Path, postgres_url: Callable[[], str], redis_url: Callable[[], str]) -> Iterator[Crew]:
    urls = {"SPOTCHECK_DATABASE_URL": postgres_url(), "SPOTCHECK_BROKER_URL": redis_url()}
    with Crew(tmp_path, urls, runs=RUNS, concurrency=8, policy=POLICY) as made:
        made.judge.open.set()
        yield made


def test_a_batch_outlives_the_worker_that_made_it_and_what_it_lacks_is_asked_at_once(crew: Crew) -> None:
    office = BatchOffice(crew.server)
    with crew.worker() as process:
        crew.until(lambda: bool(office.batches), "a batch is made")
        os.killpg(process.pid, signal.SIGKILL)
    assert len(office.lines("batch_0001")) == RUNS - 1, "one was asked at once, to learn what the server can do"
    asked = crew.server.requests.by_path["/v1/chat/completions"]
    office.end("expired", only=lambda number: number % 2 == 0)
    answered = -(-(RUNS - 1) // 2)
    with crew.project.store.write() as connection:  # whoever is killed while it holds a batch keeps it for a minute
        connection.execute(update(batch).values(look_at=crew.project.store.now(connection)))
    with crew.worker() as process:
        crew.until(lambda: crew.states()["scored"] >= 1 + answered, "the batch is taken in")
        crew.wake()
        crew.until(lambda: crew.states() == {"scored": RUNS}, "the rest is asked at once")
        process.terminate()
        assert process.wait(60) == 0
    crew.assert_that_every_job_has_one_outcome()
    assert len(office.batches) == 1
    assert crew.server.requests.by_path["/v1/chat/completions"] == asked + RUNS - 1 - answered
