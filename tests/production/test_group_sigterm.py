"""SIGTERM to a worker's whole process group, as `kill -TERM -- -PGID`, a shell or a service manager sends it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.judge import PatientJudge
from tests.support.judge_workers import CHILDREN, JudgeWorkers, children

pytestmark = pytest.mark.slow
CONCURRENCY, LATENCY_S, WORK_S = 8, 0.2, 1.5
STOP_S = 5.0
"""A promise: from SIGTERM to the end of the worker, whatever the judge does."""
FAR_TOO_LONG_S = 60.0
Made = Callable[[PatientJudge, int], JudgeWorkers]


@pytest.fixture(params=["folder", "redis"])
def workers_of(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A project on SQLite whose workers are woken through a folder or through Redis."""
    urls = {"SPOTCHECK_BROKER_URL": request.getfixturevalue("redis_url")()} if request.param == "redis" else {}
    return lambda judge, runs: JudgeWorkers(tmp_path, urls, runs=runs, concurrency=CONCURRENCY, judge=judge)


@contextmanager
def at_work(judge_workers: JudgeWorkers, judge: PatientJudge, code: int = 0) -> Iterator[tuple[int, set[int]]]:
    """A worker in the middle of its calls, its children, and its end within the time that was promised."""
    before = judge.answered
    with judge_workers.worker() as process:
        forked = children(process.pid)
        assert len(forked) == CHILDREN
        judge_workers.until(lambda: judge.answered > before, "the judge is asked")
        time.sleep(WORK_S)  # in the middle of it
        yield process.pid, forked
        told_at = time.monotonic()
        assert process.wait(FAR_TOO_LONG_S) == code, judge_workers.said()[-3000:]
        took_s = time.monotonic() - told_at
    assert took_s <= STOP_S, judge_workers.said()[-3000:]
    judge_workers.until(lambda: not any(is_running(pid) for pid in forked), "its children are gone")


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only waits for somebody to read how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stopped_in_order(workers_of: Made, times: int) -> None:
    judge = PatientJudge(LATENCY_S)
    with workers_of(judge, times * 400) as judge_workers:
        for _ in range(times):
            with at_work(judge_workers, judge) as (pid, _forked):
                os.killpg(pid, signal.SIGTERM)
            states = judge_workers.states()
            assert states["leased"] == 0, "what was in hand is finished or given back"
            assert judge.answered == states["scored"], "no answer is lost, and none is paid twice"
            assert judge_workers.server.requests.count == judge.answered, "no call was cut off"
        assert states["scored"] < judge_workers.runs, "there was work until the last"
        said = judge_workers.said()
    assert "Traceback" not in said
    assert "SIGTERM" not in said, "no child died of it"


def test_a_group_stops_in_order(workers_of: Made) -> None:
    stopped_in_order(workers_of, 2)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_group_stops_in_order_fifty_times(workers_of: Made) -> None:
    stopped_in_order(workers_of, 50)


@pytest.mark.parametrize(("told", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_worker_whose_children_do_not_move_ends_all_the_same_and_says_so(
    workers_of: Made, told: signal.Signals, code: int
) -> None:
    judge = PatientJudge(LATENCY_S)
    with workers_of(judge, 400) as judge_workers:
        with at_work(judge_workers, judge, code) as (pid, forked):
            for child in forked:
                os.kill(child, signal.SIGSTOP)
            os.killpg(pid, told)
        said = judge_workers.said()
        assert judge_workers.states()["leased"] > 0, "others take it up when the leases run out"
    assert said.count("Nothing is lost: what was in hand is taken up again") == 1
    assert all(str(child) in said for child in forked)


def test_a_worker_whose_children_died_with_a_lock_ends_all_the_same(workers_of: Made) -> None:
    judge = PatientJudge(LATENCY_S)
    with workers_of(judge, 400) as judge_workers, at_work(judge_workers, judge) as (pid, forked):
        for child in forked:
            os.kill(child, signal.SIGKILL)
        os.killpg(pid, signal.SIGTERM)
