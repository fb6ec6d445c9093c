"""Commands that are killed and repeated until they are done, beside a worker that dies too; and what the dead held."""

import os
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from random import Random

from sqlalchemy import select, text, update

from tests.support.counting_judge import CountingJudge, Question
from tests.support.killed_commands import Command, Write
from tests.support.processes import ProcessShell, until
from worker.project.project import Project
from worker.store.queue import workers
from worker.store.tables import JobRow, RunRow, ScorerRow, WorkerRow, core

PATIENCE_S = 120.0
Meanwhile = Callable[[int], None]
"""What happens during a command; it is told the command's process."""
_COMMAND, _MEANWHILE, _BESIDE = "command", "meanwhile", "beside"
"""What PostgreSQL calls the connections of a command, of one that runs during it, and of the process beside."""
job, run, scorer, worker_table = core(JobRow), core(RunRow), core(ScorerRow), core(WorkerRow)


class Killing:
    """Runs commands of a project and kills them at a random write, or at a random request to the judge."""

    def __init__(
        self,
        project: Project,
        folder: Path,
        environ: Mapping[str, str],
        judge: CountingJudge,
        chance: Random,
        *,
        requests: int,
        held: int,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            project: Whose ledger.
            folder: Where commands run.
            environ: Their environment.
            judge: Whom they ask.
            chance: Decides when who dies.
            requests: About as many of a command are answered; it dies at one of them.
            held: Judge jobs that a process may hold at most.
        """
        self.project, self.folder, self.environ, self.judge, self.chance = project, folder, environ, judge, chance
        self.requests, self.held = requests, held
        self.log = folder / "commands.log"
        self.kills = 0
        self.lost: dict[Question, set[tuple[int, int]]] = defaultdict(set)
        """Job and attempt of each question that a process held when it was killed: its call may have been paid."""
        self.beside: Beside | None = None
        self._most_writes: dict[str, int] = {}
        """By command, the most writing statements that one of its processes has begun."""

    def said(self) -> str:
        """The end of what all commands have printed."""
        return self.log.read_text(encoding="utf-8")[-4000:]

    def until_done(
        self,
        *arguments: str,
        deaths: int,
        writes: int = 40,
        meanwhile: Sequence[Meanwhile] = (),
        during: int = 0,
        begins: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Repeat a command until it ends by itself.

        Args:
            arguments: Of `spotcheck`.
            deaths: How often it is killed, where it lives so long.
            writes: Statements that write, about: it dies at one of them, until more are known.
            meanwhile: Each is done once, at some request to the judge or as the command begins; where that request does
                not come, after the command.
            during: The process of the command that runs meanwhile; 0 for none.
            begins: Called before each repetition.
            ended: Called after each.
        """
        for left in range(deaths, -1, -1):
            begins()
            code = self._once(arguments, writes, meanwhile, during, is_doomed=left > 0)
            meanwhile = ()
            ended()
            if code == 0:
                return
            assert left > 0, self.said()
            assert code == -signal.SIGKILL, self.said()

    def start(self, arguments: Sequence[str], dies_at: Write | None = None, *, name: str = _COMMAND) -> Command:
        """Begin a command."""
        return Command(arguments, self.folder, {**self.environ, "PGAPPNAME": name}, self.log, dies_at)

    def _once(
        self, arguments: Sequence[str], writes: int, meanwhile: Sequence[Meanwhile], during: int, *, is_doomed: bool
    ) -> int:
        """One process, and how it ended. It may not live to see the moment at which it is to die."""
        at_request = is_doomed and not during and self.chance.random() < 0.5
        most = self._most_writes.get(arguments[0], writes)
        dies_at = Write(1 + self.chance.randrange(most), self.chance.random() < 0.5)
        name = _MEANWHILE if during else _COMMAND
        left = dict(enumerate(meanwhile))
        bells = []
        heard, bell = Pipe(duplex=False)
        with heard, bell:
            for place in left:
                if (number := self.chance.randrange(self.requests)) > 0:
                    bells.append(self.judge.at_request(number, partial(bell.send, place)))
                else:
                    bell.send(place)
            command = self.start(arguments, dies_at if is_doomed and not at_request else None, name=name)
            if at_request:
                number = 1 + self.chance.randrange(self.requests)
                bells.append(self.judge.at_request(number, partial(_kill, command.pid)))
            try:
                while heard in wait([command.sentinel, heard], PATIENCE_S):
                    left.pop(heard.recv())(command.pid)
                code = command.code(PATIENCE_S)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.said()}") from None
            finally:
                command.kill()
                self.judge.forget(bells)
        self._most_writes[arguments[0]] = max(most, command.writes)
        if code == -signal.SIGKILL:
            self.account_for_the_dead(name, during)
        for one in left.values():
            one(command.pid)
        return code

    def account_for_the_dead(self, name: str, living: int = 0) -> None:
        """Write down what a killed process held, and let the time pass after which others take it over.

        Args:
            name: What its connections are called.
            living: A command that goes on.
        """
        self.kills += 1
        if self.project.store.dialect == "postgresql":  # the server undoes, or ends, what it has begun
            until(lambda: not self._connections(name), "the server lets go of the dead")
        alive = [living, *([] if self.beside is None else self.beside.processes())]
        with self.project.store.write() as connection:
            held = connection.execute(
                select(job.c.pk, job.c.attempt, job.c.lane, job.c.lease_owner, run.c.run_id, scorer.c.version)
                .join(run, run.c.pk == job.c.run_pk)
                .join(scorer, scorer.c.pk == job.c.scorer_pk)
                .where(job.c.state == "leased")
            ).all()
            dead = [row for row in held if int(row.lease_owner.split(":")[1]) not in alive]
            past = self.project.store.now(connection) - timedelta(seconds=1)
            owned = (job.c.state == "leased", job.c.lease_owner.in_({row.lease_owner for row in dead}))
            connection.execute(update(job).where(*owned).values(lease_until=past))
            gone = worker_table.c.pid.not_in(alive)
            connection.execute(update(worker_table).where(gone).values(seen_at=past - timedelta(minutes=10)))
        asking = [row for row in dead if row.lane == "judge"]
        assert all(count <= self.held for count in Counter(row.lease_owner for row in asking).values())
        for row in asking:
            self.lost[row.run_id, row.version].add((row.pk, row.attempt))

    def _connections(self, name: str) -> int:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = :n"
        with self.project.store.read() as connection:
            return int(connection.execute(text(statement), {"n": name}).scalar_one())


class Beside:
    """`spotcheck worker -B` or `spotcheck up` beside the commands, in a session of its own."""

    def __init__(self, killing: Killing, arguments: Sequence[str]) -> None:
        self._killing, self._arguments = killing, arguments
        self._shell = ProcessShell(killing.folder, {**killing.environ, "PGAPPNAME": _BESIDE})
        self._start()

    def _start(self) -> None:
        with (self._killing.folder / "beside.log").open("ab") as log:
            self._process: subprocess.Popen[bytes] = self._shell.start(
                *self._arguments, stdout=log, stderr=log, start_new_session=True
            )

    def processes(self) -> list[int]:
        """It and its children; empty after its death."""
        if self._process.returncode is not None:
            return []
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [self._process.pid, *(int(child) for listed in threads for child in listed.read_text().split())]

    def until_alive(self) -> None:
        """Wait for its first heartbeat."""
        until(self._is_alive, "the process beside comes up", PATIENCE_S)

    def _is_alive(self) -> bool:
        log = self._killing.folder / "beside.log"
        assert self._process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
        store = self._killing.project.store
        with store.read() as connection:
            alive = workers.live_workers(connection, store.now(connection))
        return self._process.pid in {row["pid"] for row in alive}

    def kill(self) -> None:
        """SIGKILL to it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """SIGKILL, and none in its place."""
        self.kill()
        self._killing.account_for_the_dead(_BESIDE)

    def kill_and_start_again(self, living: int) -> None:
        """SIGKILL, and another one in its place, while a command lives."""
        self.kill()
        self._killing.account_for_the_dead(_BESIDE, living)
        self._start()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
