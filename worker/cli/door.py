"""What all commands share: the opened project, results to stdout, words to stderr, dates, progress, stopping."""

import difflib
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from worker import logs
from worker.clock import VARIABLE as CLOCK
from worker.clock import read_clock
from worker.errors import SettingsError
from worker.flow.project import Project
from worker.settings import Settings, read_here
from worker.store.engine import Store


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """`spotcheck runs | head`: the door decides, not rich."""
        raise BrokenPipeError


out = _Console(highlight=False, soft_wrap=True, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_PLAIN = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_PLAIN |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_ESCAPED = {code: f"\\u{code:04x}" for code in _PLAIN if code >= 0x7F}
_NARROW, _WIDE = 20, 100_000

Json = Annotated[bool, typer.Option("--json", help="The same answer for machines.")]
Since = Annotated[str | None, typer.Option("--since", metavar="D", help="First night, YYYY-MM-DD.")]
Until = Annotated[str | None, typer.Option("--until", metavar="D", help="Last night, included.")]


_opened: list[Store] = []


def project(*, creates: bool = False) -> Project:
    """The project of this folder and environment, with its schema in order; closed when the command ends.

    Args:
        creates: For commands that put something in: a database that is not there is made. All others only read, and
            say that there is none: an all-clear from the wrong folder would be a lie.
    """
    return unopened().open(creates=creates)


def unopened() -> Project:
    """The project without a look at its database."""
    found = Project(read_here()[0])
    if warning := found.settings.clock.warning():
        note(warning)
    _opened.append(found.store)
    return found


def close() -> None:
    """Close every store that this command opened."""
    while _opened:
        _opened.pop().close()


def now() -> datetime:
    """The clock, real or a rehearsal's; only doors read it."""
    return read_clock(os.environ.get(CLOCK, "")).now()


def show_json(answer: Any, *, in_a_line: bool = False) -> None:  # noqa: ANN401 any JSON value
    """One JSON document on stdout, to be read, or as one line of several."""
    form = orjson.OPT_APPEND_NEWLINE if in_a_line else orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    said = orjson.dumps(answer, option=form, default=str)
    if sys.stdout.isatty():  # the same JSON, but what a terminal may take for an order is escaped
        said = said.decode().translate(_ESCAPED).encode()
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


def say(text: str = "") -> None:
    """A line of the result; its text is data, never markup and never an order to the terminal."""
    out.print(plain(text), markup=False)


def note(text: str, level: str = "info") -> None:
    """A line beside the result; of a process that logs JSON, one more line of its log."""
    err.print(_log_line(text, level) if _logging else plain(text), markup=False)


def raw_note(text: str) -> None:
    """The same at once, past every lock and buffer: for a signal handler."""
    said = _log_line(text, "warning") if _logging else "\n" * os.isatty(2) + text
    with suppress(OSError):
        os.write(2, said.encode("utf-8", "replace") + b"\n")


_logging: list[Settings] = []
"""The settings of a process whose notes are lines of a JSON log."""


def begin() -> None:
    """A command starts; one before it in this process, as in tests, leaves nothing behind."""
    _logging.clear()


def as_log_lines() -> bool:
    """From here on this process is one that stays: its notes go with its log.

    Returns:
        Whether that is JSON.
    """
    settings = read_here()[0]
    if settings.log == "json":
        _logging[:] = [settings]
        logs.set_up(settings, "INFO")  # for what is said before Celery sets up its own
        logging.captureWarnings(True)
    return bool(_logging)


def _log_line(text: str, level: str) -> str:
    return logs.json_line(_logging[0], text, level)


def inline(text: str) -> str:
    r"""Text on one line, whatever is in it: a name must not look like a line of ours.

    Example:
        >>> inline("refund\nno finding is open")
        'refund no finding is open'
    """
    return " ".join(text.split())


DISK_FULL = "the disk is full; free some space, then repeat the command: nothing is lost"


def is_full(error: OSError) -> bool:
    """Whether there was no room for a file: the disk's, one's share of it, or the longest file that is allowed."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file so that it replaces `path` whole, or leaves what was there as it was.

    A pipe or a device is written to itself, and so is a file in a folder that takes no other.
    """
    target = path.resolve()
    if (target.exists() and not target.is_file()) or not os.access(target.parent, os.W_OK):
        yield path
        return
    part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield part
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def plain(text: str) -> str:
    r"""Text that a terminal only shows: an agent's escape sequences must not move the reader's cursor.

    Example:
        >>> plain("a\x1b[2Jb")
        'a␛[2Jb'
    """
    return text.translate(_PLAIN)


def columns() -> int | None:
    """Columns there are to fill: the terminal's, or COLUMNS; None where a pipe takes any width."""
    return out.width if out.is_terminal or os.environ.get("COLUMNS", "").isdigit() else None


def add_row(table: Table, *cells: str) -> None:
    """A row of data on one line; like `say`, it gives no orders."""
    table.add_row(*(plain(" ".join(cell.split("\n"))) for cell in cells))


def show_table(table: Table, least: int = _NARROW) -> None:
    """A table of the result; in a pipe nothing is cut, nor are its first `least` columns anywhere."""
    _Console(width=max(least, columns() or _WIDE), highlight=False, emoji=False).print(table, markup=False)


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "night"), counted(1_200, "run")
        ('1 night', '1,200 runs')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def near(name: str, known: Collection[str]) -> str:
    """What was probably meant, or what there is, as the end of a sentence."""
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"; did you mean {inline(close[0])}?"
    return f"; known are {inline(', '.join(sorted(known)[:20]))}" if known else ""


def night(text: str | None, option: str) -> date | None:
    """A night from an option.

    Raises:
        SettingsError: It is no date.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} {text!r} is not a date; write it like 2026-11-23") from None


def window(since: str | None, until: str | None) -> tuple[date | None, date | None]:
    """The first and the last night from their options.

    Raises:
        SettingsError: One is no date, or they are the wrong way round.
    """
    first, last = night(since, "--since"), night(until, "--until")
    if first is not None and last is not None and first > last:
        raise SettingsError(f"--since {first} is after --until {last}")
    return first, last


def leave(_number: int, _frame: FrameType | None) -> None:
    """Once more Ctrl-C, while a command is tidying up: leave at once. The database is whole at any moment."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)


class StopRequest:
    """Ctrl-C once: finish or give back what is in hand. Twice: leave at once; leases run out, nothing is lost."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take Ctrl-C and SIGTERM as a request."""
        before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
        for sign in before:
            signal.signal(sign, self._on_signal)
        try:
            yield self
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked.is_set():
            signal.signal(signal.SIGINT, leave)
            raise KeyboardInterrupt
        self._asked.set()
        note("stopping: giving back what is in hand (Ctrl-C again leaves at once; nothing is lost)")


@contextmanager
def progress(what: str) -> Iterator["ProgressBar"]:
    """A progress bar on stderr; nothing but a last line where stderr is no terminal."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        yield ProgressBar(bar, what)


class ProgressBar:
    """One line of progress."""

    def __init__(self, bar: Progress, what: str) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=None)

    def set(self, done: int, total: int | None) -> None:
        """How far it is."""
        self._bar.update(self._task, completed=done, total=total)

    def label(self, text: str) -> None:
        """What is being done now."""
        self._bar.update(self._task, description=text)
