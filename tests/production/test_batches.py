"""The batch lane with real workers: one makes the batch and is killed, another takes it in."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.batch_server import BatchOffice
from tests.support.judge_workers import JudgeWorkers
from worker.store.tables import BatchRow, core

pytestmark = pytest.mark.slow
RUNS = 60
POLICY = 'lane = "batch"\n[judge.batch]\ngather_s = 0\npoll_s = 1\n'
batch = core(BatchRow)


@pytest.fixture
def judge_workers(
    tmp_path: Path, postgres_url: Callable[[], str], redis_url: Callable[[], str]
) -> Iterator[JudgeWorkers]:
    urls = {"SPOTCHECK_DATABASE_URL": postgres_url(), "SPOTCHECK_BROKER_URL": redis_url()}
    with JudgeWorkers(tmp_path, urls, runs=RUNS, concurrency=8, policy=POLICY) as made:
        made.judge.open.set()
        yield made


def test_a_batch_outlives_the_worker_that_made_it_and_what_it_lacks_is_asked_at_once(
    judge_workers: JudgeWorkers,
) -> None:
    office = BatchOffice(judge_workers.server)
    with judge_workers.worker() as process:
        judge_workers.until(lambda: bool(office.batches), "a batch is made")
        os.killpg(process.pid, signal.SIGKILL)
    assert len(office.lines("batch_0001")) == RUNS - 1, "one was asked at once, to learn what the server can do"
    asked = judge_workers.server.requests.by_path["/v1/chat/completions"]
    office.end("expired", only=lambda number: number % 2 == 0)
    answered = -(-(RUNS - 1) // 2)
    with (
        judge_workers.project.store.write() as connection
    ):  # whoever is killed while it holds a batch keeps it for a minute
        connection.execute(update(batch).values(look_at=judge_workers.project.store.now(connection)))
    with judge_workers.worker() as process:
        judge_workers.until(lambda: judge_workers.states()["scored"] >= 1 + answered, "the batch is taken in")
        judge_workers.wake()
        judge_workers.until(lambda: judge_workers.states() == {"scored": RUNS}, "the rest is asked at once")
        process.terminate()
        assert process.wait(60) == 0
    judge_workers.assert_that_every_job_has_one_outcome()
    assert len(office.batches) == 1
    assert judge_workers.server.requests.by_path["/v1/chat/completions"] == asked + RUNS - 1 - answered
