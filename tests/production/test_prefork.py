"""`spotcheck worker -Q judge -c 2`: two forked children at one lane, and a stop in the middle of their work."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.judge_workers import CHILDREN, JudgeWorkers, children

pytestmark = pytest.mark.slow
RUNS, CONCURRENCY = 400, 8
STOP_S = 5.0
"""A promise: from SIGTERM to the end of the worker, whatever the judge does."""
TRIES = 3
TROUBLE = re.compile(
    r"Traceback|Event loop|different loop|Unclosed|ResourceWarning|never awaited|never retrieved|fork\(\)"
    r"|multi-?threaded|unraisable|Exception ignored|SIGSEGV|WorkerLostError|bad file descriptor|SSL SYSCALL",
    re.IGNORECASE,
)


@pytest.fixture
def judge_workers(
    tmp_path: Path, postgres_url: Callable[[], str], redis_url: Callable[[], str]
) -> Iterator[JudgeWorkers]:
    urls = {"SPOTCHECK_DATABASE_URL": postgres_url(), "SPOTCHECK_BROKER_URL": redis_url()}
    with JudgeWorkers(tmp_path, urls, runs=RUNS, concurrency=CONCURRENCY) as made:
        yield made


def trouble(judge_workers: JudgeWorkers) -> list[str]:
    return [line for line in judge_workers.said().splitlines() if TROUBLE.search(line)]


def test_two_children_share_a_night_and_end_without_a_word(judge_workers: JudgeWorkers) -> None:
    with judge_workers.worker() as process:
        judge_workers.until_all_calls_hang()
        forked = children(process.pid)
        assert len(forked) == CHILDREN
        assert judge_workers.owners() == forked, "each child has claimed for itself"
        judge_workers.judge.open.set()
        judge_workers.until(lambda: judge_workers.states() == {"scored": RUNS}, "the night is scored")
        process.terminate()
        assert process.wait(60) == 0
    judge_workers.assert_that_every_job_has_one_outcome()
    assert judge_workers.attempts() == {1: RUNS}
    assert judge_workers.server.requests.count == RUNS
    assert judge_workers.server.requests.max_in_flight <= CHILDREN * CONCURRENCY
    assert trouble(judge_workers) == []


def test_sigterm_in_the_middle_of_calls_ends_within_five_seconds_and_loses_nothing(judge_workers: JudgeWorkers) -> None:
    took_s: list[float] = []
    # one machine in a hundred stands still for seconds: the promise is broken when it is broken every time
    while len(took_s) < TRIES and (not took_s or took_s[-1] > STOP_S):
        with judge_workers.worker() as process:
            judge_workers.until_all_calls_hang()
            forked = children(process.pid)
            told_at = time.monotonic()
            process.terminate()  # to the parent alone, as systemd's KillMode=mixed and docker do
            assert process.wait(60) == 0
            took_s.append(time.monotonic() - told_at)
        assert not any(Path(f"/proc/{pid}").exists() for pid in forked)
        assert judge_workers.states() == {"queued": RUNS}, "what was in hand is given back"
        assert judge_workers.attempts() == {0: RUNS}, "and nobody's attempt is spent"
        assert judge_workers.alive() == []
        judge_workers.until(lambda: judge_workers.judge.waiting == 0, "the calls were hung up")
    assert min(took_s) <= STOP_S, took_s
    asked = judge_workers.server.requests.count
    assert asked == len(took_s) * CHILDREN * CONCURRENCY
    judge_workers.judge.open.set()
    with judge_workers.worker() as process:
        judge_workers.until(lambda: judge_workers.states() == {"scored": RUNS}, "the night is scored")
        process.terminate()
        assert process.wait(60) == 0
    judge_workers.assert_that_every_job_has_one_outcome()
    assert judge_workers.server.requests.count == asked + RUNS
    assert trouble(judge_workers) == []
