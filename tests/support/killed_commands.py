"""Commands as processes of their own that end by SIGKILL at a chosen write to the database, wherever that stands.

Each is forked from a server process that has the program loaded, which spares what loading takes: stories of kills
repeat hundreds of commands.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, event

from worker.cli import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "pytest",
        "sqlite3",
        "h11",
        "httpcore2",
        "genai_prices.data_snapshot",
        "openai.resources.chat",
        "celery.result",
        "celery.app.amqp",
        "sqlalchemy.dialects.sqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
        "worker.cli.app",
        "worker.cli.commands.backfill",
        "worker.cli.commands.nightly",
        "worker.cli.commands.rubric",
        "worker.core.rubric.parse",
        "worker.judge.client",
        "worker.judge.transport",
        "worker.scorers.registry",
        "worker.scorers.rubric.scorer",
    ]
)
"""What commands of these stories import; one that is missing makes them slower and nothing else."""
_WRITES = ("INSERT", "UPDATE", "DELETE", "LOCK")


class Write(NamedTuple):
    """A statement of a command that writes: where the command is killed."""

    number: int
    """1 for its first one, over all its transactions."""
    is_done: bool
    """Whether it is killed after the statement, whose transaction is still open, rather than before it."""


class Command:
    """A command that runs, in a session of its own."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str], log: Path, dies_at: Write | None
    ) -> None:
        self._writes, self._is_over = RawValue("i", 0), False
        given = (list(arguments), str(folder), dict(environ), str(log), self._writes, dies_at)
        self._process: ForkServerProcess = _FORKS.Process(target=_run, args=given, daemon=False)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.sentinel = self._process.sentinel
        """Ready for reading once the process has ended; for `multiprocessing.connection.wait`."""

    @property
    def writes(self) -> int:
        """How many writing statements it has begun."""
        return int(self._writes.value)

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended."""
        if not self._is_over:
            self._process.kill()

    def code(self, patience_s: float) -> int:
        """How it ended, -9 for a SIGKILL.

        Args:
            patience_s: A command that takes longer is killed, and fails the test.
        """
        self._process.join(patience_s)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise AssertionError(f"the command did not end within {patience_s:g} s")
        code = self._process.exitcode
        self._process.close()
        self._is_over = True
        return code


def _run(
    arguments: list[str], folder: str, environ: dict[str, str], log: str, writes: Any, dies_at: Write | None
) -> None:
    """The command itself, in the forked process."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.write(2, f"$ spotcheck {' '.join(arguments)}  [{os.getpid()}, dies at {dies_at}]\n".encode())

    def begins(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(_WRITES):
            writes.value += 1
            if dies_at == (writes.value, False):
                os.kill(os.getpid(), signal.SIGKILL)

    def ended(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(_WRITES) and dies_at == (writes.value, True):
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", begins)
    event.listen(Engine, "after_cursor_execute", ended)
    sys.argv = ["spotcheck", *arguments]
    main()
