"""Results to stdout, words to stderr; everything shown is data.

Lines are written plainly: importing rich costs 20 ms of CPU, and only what is live needs it (`screen`).
"""

import json
import os
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any, TextIO

import orjson

_PLAIN = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_PLAIN |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_ESCAPED = {code: f"\\u{code:04x}" for code in _PLAIN if code >= 0x7F}
_PLAIN |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # half a character, which no terminal can be sent
_USUAL = 80
"""Columns of a terminal that does not tell."""
_LEAST_TEXT = 20
"""Characters of a text that are on a line, however narrow the terminal is."""


def show_json(answer: Any, *, in_a_line: bool = False) -> None:  # noqa: ANN401 any JSON value
    """One JSON document on stdout, to be read, or as one line of several."""
    form = orjson.OPT_APPEND_NEWLINE if in_a_line else orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        said = orjson.dumps(answer, option=form, default=str)
    except orjson.JSONEncodeError:  # half a character in some text, which UTF-8 cannot carry, but JSON's escapes can
        said = json.dumps(answer, indent=None if in_a_line else 2, default=_as_text).encode() + b"\n"
    if sys.stdout.isatty():  # the same JSON, but what a terminal may take for an order is escaped
        said = said.decode().translate(_ESCAPED).encode()
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


def _as_text(value: object) -> object:
    """What JSON has no form for, as orjson writes it."""
    return value.isoformat() if isinstance(value, date) else str(value)


def say(text: str = "") -> None:
    """A line of the result; its text is data, never markup and never an order to the terminal."""
    _write(sys.stdout, plain(text))


def note(text: str, level: str = "info") -> None:
    """A line beside the result; of a process that logs JSON, one more line of its log."""
    _write_note(_log_line(text, level) if _log_line else plain(text))


def _write(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def _to_stderr(line: str) -> None:
    _write(sys.stderr, line)


_write_note: Callable[[str], None] = _to_stderr


def write_notes_through(write: Callable[[str], None]) -> None:
    """From here on notes go this way: something live may stand on the screen, and is drawn below them."""
    global _write_note
    _write_note = write


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
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL
    except OSError:
        return _USUAL


def wrapped(text: str, rest: str = "    ") -> list[str]:
    """A line of a result on as many lines as the terminal's width needs; whole in a pipe.

    No word is broken: an id or a path that is cut cannot be copied.

    Args:
        text: Without line breaks.
        rest: Begins each further line.
    """
    room = columns()
    if room is None or len(text) <= room:
        return [text]
    width = max(room, len(rest) + _LEAST_TEXT)
    return textwrap.wrap(text, width, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False) or [text]


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "night"), counted(1_200, "run")
        ('1 night', '1,200 runs')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
