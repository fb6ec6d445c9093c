"""Stderr for what is live: a progress bar, a panel."""

from functools import cache, partial

from rich.console import Console

from worker.cli.output import write_notes_through


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader is gone: the command decides, not rich."""
        raise BrokenPipeError


@cache
def err_console() -> Console:
    """The one console on stderr. From the first call on notes go through it, and so stand above what is live."""
    console = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    write_notes_through(partial(console.print, markup=False))
    return console
