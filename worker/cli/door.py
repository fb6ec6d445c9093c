"""What all commands share: the opened project, results to stdout, words to stderr, dates, progress, stopping."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from types import FrameType
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from worker.errors import SettingsError
from worker.flow.project import Project
from worker.settings import read_here

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="The same answer for machines.")]
Since = Annotated[str | None, typer.Option("--since", metavar="D", help="First night, YYYY-MM-DD.")]
Until = Annotated[str | None, typer.Option("--until", metavar="D", help="Last night, included.")]


def project() -> Project:
    """The project of this folder and environment, with its schema in order."""
    settings, _, _ = read_here()
    return Project(settings).open()


def now() -> datetime:
    """The clock; only doors read it."""
    return datetime.now(UTC)


def show_json(answer: Any) -> None:  # noqa: ANN401 any JSON value
    """One JSON document on stdout."""
    sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str))
    sys.stdout.buffer.flush()


def say(text: str = "") -> None:
    """A line of the result; its text is data, never markup."""
    out.print(text, markup=False)


def note(text: str) -> None:
    """A line beside the result."""
    err.print(text, markup=False)


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


class Stopping:
    """Ctrl-C once: finish or give back what is in hand. Twice: leave at once; leases run out, nothing is lost."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    @contextmanager
    def listening(self) -> Iterator["Stopping"]:
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
            raise KeyboardInterrupt
        self._asked.set()
        note("stopping: giving back what is in hand (Ctrl-C again leaves at once; nothing is lost)")


@contextmanager
def progress(what: str) -> Iterator["Bar"]:
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
        yield Bar(bar, what)


class Bar:
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
