"""The command line in this process: a folder, an environment, and what a command answered."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from typer.testing import CliRunner

from worker.cli import app as door


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


class Shell:
    """Runs commands in a folder with an environment of its own; a command that raises instead of exiting fails."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder, self.environ = folder, dict(environ or {})

    def __call__(self, *arguments: object, stdin: bytes | str = b"", **environ: str) -> Said:
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(
                door.app,
                [str(argument) for argument in arguments],
                input=stdin,
                env={**self.environ, **environ},
                catch_exceptions=False,
            )
        return Said(done.exit_code, done.stdout, done.stderr)

    def refused(self, *arguments: object, code: int = 2, **environ: str) -> str:
        """The one line on stderr of a command that must fail, with nothing on stdout."""
        said = self(*arguments, **environ)
        assert said.code == code, said
        assert said.out == ""
        assert said.err.count("\n") == 1, said.err
        assert "Traceback" not in said.err
        return said.err.strip()
