"""`spotcheck ingest`: run files into the store."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import orjson
import typer

from worker.cli.door import Json, note, now, progress, project, say, show_json
from worker.errors import EXIT_REJECTED, IngestError, SettingsError
from worker.flow.project import Project
from worker.flow.take import Tally, take
from worker.ingest import jsonl
from worker.ingest.jsonl import Rejected

_SHOWN = 5


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Run files, plain or gzip; - is stdin.")],
    form: Annotated[str, typer.Option("--format", help="auto or jsonl.")] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when a line was rejected.")] = False,
    as_json: Json = False,
) -> None:
    """Take in runs: one JSON object a line (spotcheck.run/1), plain or gzip.

    Safe to repeat: what is known already is counted as duplicate, a run with other content becomes a new revision.
    Rejected lines go to FILE.rejected.jsonl with line number and reason; the rest goes on.

    Examples: spotcheck ingest runs.jsonl.gz · zcat old/*.gz | spotcheck ingest -
    """
    if form not in ("auto", "jsonl"):
        raise SettingsError(f"--format {form!r} is not known; use auto or jsonl")
    opened = project()
    total = Tally()
    sides: list[str] = []
    for path in paths:
        tally, side = _file(opened, path)
        total += tally
        sides += [str(side)] if side else []
    if as_json:
        show_json({**total._asdict(), "rejected_files": sides})
    else:
        say(
            f"{total.accepted:,} accepted, {total.revised:,} revised, {total.duplicate:,} known already, "
            f"{total.rejected:,} rejected"
        )
        if not any(total):
            say("nothing to take: the input is empty")
    if strict and total.rejected:
        raise typer.Exit(EXIT_REJECTED)


def _file(opened: Project, path: str) -> tuple[Tally, Path | None]:
    name = "stdin" if path == "-" else path
    side = Path("stdin.rejected.jsonl" if path == "-" else f"{Path(path).name}.rejected.jsonl")
    with ExitStack() as stack:
        stream = _open(path, stack)
        bar = stack.enter_context(progress(f"ingest {name}"))
        rejects = _Rejects(name, side, stack)
        tally = take(
            opened,
            jsonl.read(stream, now=now(), limits=opened.settings.intake),
            now(),
            on_rejected=rejects.keep,
            on_batch=lambda running: bar.set(sum(running), None),
        )
    if rejects.count > _SHOWN:
        note(f"… and {rejects.count - _SHOWN:,} more")
    if rejects.count:
        note(f"{rejects.count:,} rejected lines are kept in {side}")
    return tally, side if rejects.count else None


def _open(path: str, stack: ExitStack) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(path).open("rb"))
    except IsADirectoryError:
        raise SettingsError(f"{path} is a folder; name the files in it") from None
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except OSError as error:
        raise IngestError(f"{path} cannot be read: {error.strerror}") from None


class _Rejects:
    """The side file, opened at the first rejected line."""

    def __init__(self, name: str, side: Path, stack: ExitStack) -> None:
        self.count = 0
        self._name, self._side, self._stack = name, side, stack
        self._write: Callable[[bytes], object] | None = None

    def keep(self, rejected: Rejected) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            note(f"{self._name}:{rejected.number}: {rejected.reason}")
        if self._write is None:
            self._write = self._stack.enter_context(self._side.open("wb")).write
        line = {"line": rejected.number, "reason": rejected.reason, "raw": rejected.raw.decode("utf-8", "replace")}
        self._write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
