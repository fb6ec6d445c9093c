"""A drawn night, a judge that answers when it is let, and a worker with prefork children: what several tests share."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from tests.support.judge import HeldJudge
from tests.support.processes import ProcessShell, database, environment, until
from tests.support.project import document, ingest
from worker.demo.judge.server import JudgeServer
from worker.pipeline.draw import draw_night
from worker.project.project import Project
from worker.settings import Settings
from worker.store.queue import workers
from worker.store.tables import JobRow, ScoreRow, core

CHILDREN = 2
PATIENCE_S = 120.0
job, score = core(JobRow), core(ScoreRow)


class JudgeWorkers:
    """A project whose judge jobs wait, and `spotcheck worker -Q judge -c 2` for them."""

    def __init__(
        self,
        folder: Path,
        urls: Mapping[str, str],
        *,
        runs: int,
        concurrency: int,
        policy: str = "",
        judge: HeldJudge | None = None,
    ) -> None:
        self.policy = policy
        self.runs, self.concurrency = runs, concurrency
        self.judge = judge or HeldJudge()
        self.server = JudgeServer(self.judge)
        self.folder, self.log = folder, folder / "worker.log"
        self._urls = urls

    def __enter__(self) -> "JudgeWorkers":
        toml = (
            "[sampling]\nrate = 1.0\n[scoring]\nheuristics = []\nlease_s = 30\n"
            f"[judge]\nconcurrency = {self.concurrency}\ntimeout_s = 60\n{self.policy}"
        )
        (self.folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
        self.server.__enter__()
        # what is left open is told when it is thrown away
        environ = environment(self.server.base_url, {**self._urls, "PYTHONWARNINGS": "default::ResourceWarning"})
        self.shell = ProcessShell(self.folder, environ)
        here = environ | {"SPOTCHECK_DATABASE_URL": database(self.folder, environ)}
        self.project = Project(Settings.read(here, toml)).open()
        now = datetime.now(UTC)
        self.night = self.project.nights.last_over(now) - timedelta(days=1)
        ingest(self.project, (document(f"case-{number}", self.night) for number in range(self.runs)))
        draw_night(self.project, self.night, now)
        return self

    def __exit__(self, *exc: object) -> None:
        self.judge.open.set()
        self.server.__exit__(*exc)
        self.project.store.close()

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The worker, seen alive and woken; killed with its children at the end."""
        arguments = ("-Q", "judge", "-c", str(CHILDREN), "-n", "judge@workers")
        with self.log.open("ab") as log:
            process = self.shell.start("worker", *arguments, stdout=log, stderr=log, start_new_session=True)
        try:
            self.until(lambda: process.poll() is not None or self.alive() == [process.pid], "the worker comes up")
            assert process.poll() is None, self.said()[-3000:]
            self.wake()
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def wake(self) -> None:
        """Tell the worker that there may be work, as beat does twice a minute."""
        with self.shell.start("score", "--json") as waking:
            waking.communicate(timeout=PATIENCE_S)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            until(condition, what, PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()[-3000:]}") from None

    def until_all_calls_hang(self) -> None:
        """Every child has as many calls under way as it may have."""
        self.until(lambda: self.judge.waiting == CHILDREN * self.concurrency, "all calls are under way")

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def alive(self) -> list[int]:
        with self.project.store.read() as connection:
            return [row["pid"] for row in workers.live_workers(connection, self.project.store.now(connection))]

    def states(self) -> Counter[str]:
        statement = select(job.c.state, func.count().label("jobs")).group_by(job.c.state)
        with self.project.store.read() as connection:
            return Counter({row.state: row.jobs for row in connection.execute(statement)})

    def owners(self) -> set[int]:
        """Processes that hold jobs."""
        with self.project.store.read() as connection:
            held = connection.execute(select(job.c.lease_owner).where(job.c.state == "leased").distinct()).scalars()
            return {int(str(owner).split(":")[1]) for owner in held}

    def attempts(self) -> Counter[int]:
        """Jobs by the attempts that were spent on them."""
        statement = select(job.c.attempt, func.count().label("jobs")).group_by(job.c.attempt)
        with self.project.store.read() as connection:
            return Counter({row.attempt: row.jobs for row in connection.execute(statement)})

    def assert_that_every_job_has_one_outcome(self) -> None:
        with self.project.store.read() as connection:
            jobs = connection.execute(select(job.c.run_pk, job.c.state)).all()
            aggregates = connection.execute(select(score.c.run_pk).where(score.c.criterion.is_(None))).scalars()
            scored = Counter(aggregates)
        assert Counter(row.state for row in jobs) == {"scored": self.runs}
        assert scored == dict.fromkeys((row.run_pk for row in jobs), 1)
        assert len(scored) == self.runs
        assert not self.server.requests.failures


def children(pid: int) -> set[int]:
    """Processes that a process has forked."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
