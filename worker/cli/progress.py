"""A progress bar on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from worker.cli.screen import err_console


@contextmanager
def progress(what: str) -> Iterator["ProgressBar"]:
    """A progress bar on stderr; nothing but a last line where stderr is no terminal."""
    console = err_console()
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
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
