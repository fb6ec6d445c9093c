"""Results to stdout, words to stderr, tables; everything shown is data."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table


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
    err.print(_log_line(text, level) if _log_line else plain(text), markup=False)


def raw_note(text: str) -> None:
    """The same at once, past every lock and buffer: for a signal handler."""
    said = _log_line(text, "warning") if _log_line else "\n" * os.isatty(2) + text
    with suppress(OSError):
        os.write(2, said.encode("utf-8", "replace") + b"\n")


_log_line: Callable[[str, str], str] | None = None
"""Makes a line of a JSON log of a text and its level; None in a command whose notes are for people."""


def begin() -> None:
    """A command starts; one before it in this process, as in tests, leaves nothing behind."""
    write_notes_as(None)


def write_notes_as(log_line: Callable[[str, str], str] | None) -> None:
    """From here on notes are lines of a log, made by this function; None writes them as they are."""
    global _log_line
    _log_line = log_line


def inline(text: str) -> str:
    r"""Text on one line, whatever is in it: a name must not look like a line of ours.

    Example:
        >>> inline("refund\nno finding is open")
        'refund no finding is open'
    """
    return " ".join(text.split())


def plain(text: str) -> str:
    r"""Text that a terminal only shows: an agent's escape sequences must not move the reader's cursor.

    Example:
        >>> plain("a\x1b[2Jb")
        'a␛[2Jb'
    """
    return text.translate(_PLAIN)


def columns() -> int | None:
    """Columns there are to fill: the terminal's, or COLUMNS; None where a pipe takes any width."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit():
        return int(given)
    return out.width if out.is_terminal else None


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
