"""`spotcheck ingest`: run files into the store."""

import base64
import itertools
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer

from worker.cli.context import now, project
from worker.cli.files import DISK_FULL, is_full
from worker.cli.options import Json
from worker.cli.output import counted, inline, note, say, show_json
from worker.cli.progress import progress
from worker.connectors.sources import registry
from worker.connectors.sources.lines import beginning, buffered
from worker.connectors.sources.source import Rejected
from worker.errors import EXIT_REJECTED, ExportError, SettingsError
from worker.pipeline.intake.take import IntakeCounts, take
from worker.project.project import Project

_SHOWN = 5


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Run files, plain or gzip; - is stdin.")],
    form: Annotated[str, typer.Option("--format", help=f"{registry.formats()}.")] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when any line was rejected.")] = False,
    as_json: Json = False,
) -> None:
    """Take in runs from files, plain or gzip: spotcheck.run/1, one JSON object a line, or another --format.

    Safe to repeat: what is known already is counted as duplicate, a run with other content becomes a new revision.
    Of a key that stands twice in one object the last counts, as in every JSON reader.
    Rejected lines go to FILE.rejected.jsonl in this folder, with line number and reason; the rest goes on. Taking
    the same file again replaces them; those of another file or of stdin are never overwritten. Exit 3 when every line
    was rejected; with --strict when one was.

    Examples: spotcheck ingest runs.jsonl.gz · zcat old/*.gz | spotcheck ingest -
    """
    registry.check(form)
    for path in paths:
        _check_path(path)  # a wrong name is told before anything is taken
    opened = project(creates=True)
    total = IntakeCounts()
    side_files: list[str] = []
    has_text = False
    for path in paths:
        counts, side, has_some = _take_file(opened, path, form)
        has_text |= has_some
        total += counts
        side_files += [str(side)] if side else []
    if as_json:
        show_json({**total._asdict(), "rejected_files": side_files})
    elif any(total):
        say(
            f"{total.accepted:,} accepted, {total.revised:,} revised, {total.duplicate:,} known already, "
            f"{total.rejected:,} rejected"
        )
    else:
        why = "there is a header, and no run below it" if has_text else "the input is empty"
        say(f"nothing to take: {why}")
    took = total.accepted + total.revised + total.duplicate
    if total.rejected and (strict or not took):  # nothing was taken: that is a failure, asked for or not
        raise typer.Exit(EXIT_REJECTED)


def _take_file(opened: Project, path: str, form: str) -> tuple[IntakeCounts, Path | None, bool]:
    """Take a file in; gives the counts, the file of what was rejected, and whether anything stood in it."""
    name = "stdin" if path == "-" else path
    with ExitStack() as stack:
        stream = _open(path, stack)
        if stream.isatty():
            note("reading runs from the terminal; Ctrl-D ends them")
        bar = stack.enter_context(progress(f"ingest {inline(name)}"))
        side_file = stack.enter_context(_SideFile(path))

        def on_batch(running: IntakeCounts) -> None:
            bar.set(sum(running), None)
            side_file.flush()

        whole = buffered(stream)
        has_text = bool(beginning(whole).strip())
        records = registry.read(whole, form, now=now(), limits=opened.settings.intake)
        counts = take(opened, records, now(), on_rejected=side_file.keep, on_batch=on_batch)
    if side_file.count > _SHOWN:
        note(f"… and {side_file.count - _SHOWN:,} more")
    if side_file.count:
        note(f"{counted(side_file.count, 'rejected line')} kept in {side_file.side}")
    return counts, side_file.side, has_text


def _check_path(path: str) -> None:
    """Complain about a path without opening it: a pipe can be opened only once."""
    if path == "-":
        return
    try:
        is_folder = stat.S_ISDIR(Path(path).stat().st_mode)
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if is_folder:
        raise SettingsError(f"{path} is a folder; name the files in it")
    if not os.access(path, os.R_OK):
        raise SettingsError(f"{path} cannot be read: you may not")


def _open(path: str, stack: ExitStack) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> SettingsError:
    return SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


class _SideFile:
    """The file beside that keeps what was rejected; opened at the first rejected record."""

    def __init__(self, path: str) -> None:
        self.count = 0
        self.side: Path | None = None
        self._name = "stdin" if path == "-" else path
        self._source = None if path == "-" else os.fsencode(Path(path).resolve()).decode(errors="replace")
        self._stream: IO[bytes] | None = None

    def keep(self, rejected: Rejected) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            note(f"{self._name}:{rejected.number}: {rejected.reason}")
        if self._stream is None:
            self._stream = self._open_side()
        line = {"line": rejected.number, "reason": rejected.reason, "file": self._source, **_raw(rejected.raw)}
        with self._kept_whole():
            self._stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Put on disk what was rejected so far: what comes from a pipe does not come again."""
        if self._stream is not None:
            with self._kept_whole():
                self._stream.flush()

    def __enter__(self) -> "_SideFile":
        return self

    def __exit__(self, *_: object) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._kept_whole():
                stream.close()

    @contextmanager
    def _kept_whole(self) -> Iterator[None]:
        """Remove a side file that the disk has no room for, since repeating the command writes it; a pipe's is kept.

        Raises:
            ExportError: There is no room for it.
        """
        try:
            yield
        except OSError as error:
            if self._source is not None and self.side is not None:
                with suppress(OSError):
                    self.side.unlink()
            why = DISK_FULL if is_full(error) else error.strerror
            raise ExportError(f"{self.side} cannot be written: {why}") from None

    def _open_side(self) -> IO[bytes]:
        name = Path(self._name).name
        for number in itertools.count(1):
            side = Path(f"{name}.rejected.jsonl" if number == 1 else f"{name}.{number}.rejected.jsonl")
            if not side.exists() or (self._source is not None and _source_of(side) == self._source):
                break
        try:
            stream = side.open("wb")
        except OSError as error:
            if is_full(error):
                raise ExportError(f"{side} cannot be written: {DISK_FULL}") from None
            raise SettingsError(
                f"{side} cannot be written ({error.strerror}), and rejected lines must not be lost; "
                "run it in a folder that you may write to"
            ) from None
        self.side = side
        return stream


def _raw(raw: bytes) -> dict[str, str]:
    """The rejected record as JSON can hold it, without loss: as text, or as base64 where it is no UTF-8."""
    try:
        return {"raw": raw.decode()}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}


def _source_of(side: Path) -> str | None:
    """The run file whose rejected records a side file holds; None where it does not say."""
    try:
        with side.open("rb") as lines:
            first: Any = orjson.loads(lines.readline())
    except (OSError, ValueError):
        return None
    return first.get("file") if isinstance(first, dict) else None
