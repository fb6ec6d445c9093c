"""Promise 5, by force: workers die, are stopped, and the broker forgets; nothing is lost and nothing is done twice.

Both stacks, with real worker processes: SQLite with the filesystem broker, PostgreSQL with Redis.
"""

import io
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
import redis
from sqlalchemy import func, select

from tests.support.judge import PacedJudge
from tests.support.processes import ProcessShell, database, environment, until
from worker.connectors.sources import jsonl
from worker.demo.judge.server import JudgeServer
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import take
from worker.pipeline.nightly import open_jobs
from worker.project.project import Project
from worker.queries.judgments import run_judgments
from worker.settings import Settings
from worker.store.queue import workers
from worker.store.results import counts
from worker.store.tables import JobRow, SampleRow, ScoreRow, core

pytestmark = pytest.mark.slow

RUNS, CONCURRENCY, LATENCY_S, LEASE_S = 200, 8, 0.1, 5
ANSWERED_AT_FIRST = 2 * RUNS // 3
"""So many answers come before a worker ends; the night is never over by then, however slow the machine."""
HELD = 2 * CONCURRENCY + 1 + 50
"""Jobs that a process may hold, which a kill loses: calls under way, as many again ready, and answers not stored yet,
50 or half a second's on a machine that keeps up."""
TOML = f"""\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present", "completed"]
rubrics = ["task_completion"]
lease_s = {LEASE_S}
[judge]
concurrency = {CONCURRENCY}
"""
job, score, sample = core(JobRow), core(ScoreRow), core(SampleRow)


class Stack(NamedTuple):
    """A project with its night drawn, and the means to start workers for it."""

    project: Project
    shell: ProcessShell
    judge: JudgeServer
    night: date
    judging: tuple[str, ...]
    """Arguments of the worker that judges."""
    processes: int
    """Its processes that may judge at the same time."""
    beside: tuple[str, ...] | None
    """Arguments of the worker beside it; None where one does everything."""
    judge_again: threading.Event
    """Set it, and the judge answers the calls that it holds back after the first two thirds."""

    @contextmanager
    def worker(self, arguments: tuple[str, ...]) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker process that was seen alive, the leader of its own group; killed at the end."""
        with self._started(arguments) as process:
            until(lambda: self._is_alive(process), "the worker comes up")
            yield process

    @contextmanager
    def _started(self, arguments: tuple[str, ...]) -> Iterator["subprocess.Popen[bytes]"]:
        with (self.shell.folder / "workers.log").open("ab") as log:
            process = self.shell.start("worker", *arguments, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _is_alive(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, (self.shell.folder / "workers.log").read_text(encoding="utf-8")[-3000:]
        with self.project.store.read() as connection:
            alive = workers.live_workers(connection, self.project.store.now(connection))
        return process.pid in {row["pid"] for row in alive}

    @contextmanager
    def others(self) -> Iterator[None]:
        """The worker that is not harmed, where there is one."""
        with ExitStack() as ends:
            if self.beside is not None:
                ends.enter_context(self._started(self.beside))
            yield

    def states(self, lane: str = "judge") -> Counter[str]:
        """Jobs of a lane by state."""
        statement = select(job.c.state, func.count().label("jobs")).where(job.c.lane == lane).group_by(job.c.state)
        with self.project.store.read() as connection:
            return Counter({row.state: row.jobs for row in connection.execute(statement)})

    def until_a_third_is_settled(self) -> None:
        until(lambda: self.states()["scored"] >= RUNS // 3, "a third is settled")

    def finish(self) -> None:
        """`spotcheck score --wait`, as a person would after a crash."""
        answer = self.shell.timed("score", "score", "--wait", "--json")
        assert answer["open"] == 0

    def assert_that_every_run_has_one_outcome_per_scorer(self) -> None:
        with self.project.store.read() as connection:
            drawn = connection.execute(select(func.count()).select_from(sample)).scalar_one()
            jobs = connection.execute(select(job.c.run_pk, job.c.scorer_pk, job.c.state)).all()
            scores = connection.execute(
                select(score.c.score_id, score.c.run_pk, score.c.scorer_pk, score.c.criterion)
            ).all()
            rows = counts.night_counts(
                connection, self.night, self.night, [entry for entry, _ in self.project.scorers.register()], self.night
            )
        assert drawn == RUNS
        assert Counter(row.state for row in jobs) == {"scored": 3 * RUNS}
        assert len({row[:2] for row in jobs}) == 3 * RUNS
        assert len({row.score_id for row in scores}) == len(scores)
        assert len({row[1:] for row in scores}) == len(scores)
        aggregates = {(row.run_pk, row.scorer_pk) for row in scores if row.criterion is None}
        assert aggregates == {row[:2] for row in jobs}
        assert len(rows) == 3
        assert all(row.reconciles and row.scored == RUNS and row.pending == 0 for row in rows)
        judged = {one.run_pk: run_judgments(self.project, one.run_pk) for one in jobs}
        assert len(judged) == RUNS
        for found in judged.values():  # what was asked is stored with what came of it, or not at all
            assert [one.hash_ok for one in found if one.kind == "judge"] == [True]
        assert not self.judge.requests.failures


def documents(night: date) -> Iterator[bytes]:
    for number in range(RUNS):
        ended = datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(seconds=60 * number)
        yield orjson.dumps(
            {
                "run_id": f"run-{number}",
                "task_type": "refund",
                "status": "completed",
                "ended_at": ended.isoformat(),
                "input": f"Please refund order {number}, the lamp came broken.",
                "output": f"I have refunded order {number}; the money arrives in three days.",
            }
        )


@pytest.fixture(params=["sqlite", "production"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A night of 200 drawn runs whose jobs wait for workers, on each stack in turn."""
    urls: dict[str, str] = {}
    judging: tuple[str, ...] = ("-c", "2", "-n", "all@kill")
    processes, beside = 2, None
    if request.param == "production":
        urls["SPOTCHECK_DATABASE_URL"] = request.getfixturevalue("postgres_url")()
        urls["SPOTCHECK_BROKER_URL"] = request.getfixturevalue("redis_url")()
        judging = ("-Q", "judge", "-c", "1", "-n", "judge@kill")
        processes, beside = 1, ("-Q", "control,heuristics", "-c", "1", "-B", "-n", "control@kill")
    (tmp_path / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    paced = PacedJudge(ANSWERED_AT_FIRST, LATENCY_S)
    with JudgeServer(paced) as judge:
        environ = environment(judge.base_url, urls)
        settings = Settings.read(environ | {"SPOTCHECK_DATABASE_URL": database(tmp_path, environ)}, TOML)
        project = Project(settings).open()
        now = datetime.now(UTC)
        night = project.nights.last_over(now) - timedelta(days=1)
        lines = jsonl.read(io.BytesIO(b"\n".join(documents(night))), now=now, limits=settings.intake)
        assert take(project, lines, now, on_rejected=print).accepted == RUNS
        project.nights.first_tick(now)
        draw_night(project, night, now)
        yield Stack(project, ProcessShell(tmp_path, environ), judge, night, judging, processes, beside, paced.open)
        paced.open.set()
        project.store.close()


def test_a_night_survives_kill_nine_of_a_worker(stack: Stack) -> None:
    with stack.others():
        with stack.worker(stack.judging) as doomed:
            with stack.shell.start("score", "--json"):
                pass
            stack.until_a_third_is_settled()
            os.killpg(doomed.pid, signal.SIGKILL)
            doomed.wait()
        lost = stack.states()["leased"]
        assert 0 < lost <= HELD * stack.processes
        stack.judge_again.set()
        with stack.worker(stack.judging):
            stack.finish()
    stack.assert_that_every_run_has_one_outcome_per_scorer()
    assert RUNS <= stack.judge.requests.count <= RUNS + lost


def test_a_worker_that_is_told_to_stop_gives_back_what_it_holds(stack: Stack) -> None:
    with stack.others():
        with stack.worker(stack.judging) as stopped:
            with stack.shell.start("score", "--json"):
                pass
            stack.until_a_third_is_settled()
            stopped.terminate()
            assert stopped.wait(30) == 0
        states = stack.states()
        assert states["leased"] == 0
        assert 0 < states["queued"] < RUNS
        stack.judge_again.set()
        with stack.worker(stack.judging):
            stack.finish()
    stack.assert_that_every_run_has_one_outcome_per_scorer()
    assert stack.judge.requests.count <= RUNS + CONCURRENCY * stack.processes


def test_a_broker_that_forgets_everything_costs_time_and_nothing_else(stack: Stack) -> None:
    with stack.others():
        with stack.worker(stack.judging) as stopped:
            with stack.shell.start("score", "--json"):
                pass
            stack.until_a_third_is_settled()
            stopped.terminate()
            assert stopped.wait(30) == 0
        forget(stack)
        assert stack.states()["queued"] > 0
        stack.judge_again.set()
        with stack.worker(stack.judging):
            if stack.beside is None:  # no beat: a person says it
                stack.finish()
            until(lambda: open_jobs(stack.project) == 0, "beat's reconcile wakes the worker")
    stack.assert_that_every_run_has_one_outcome_per_scorer()


def forget(stack: Stack) -> None:
    """All messages are gone, those that workers hold unacknowledged too."""
    url = stack.project.settings.broker
    if url.startswith("redis://"):
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return
    for message in (Path(url.removeprefix("filesystem://")) / "queue").iterdir():
        message.unlink()
