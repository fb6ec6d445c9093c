"""Options that commands share, and reading them."""

import difflib
from collections.abc import Collection
from datetime import date
from typing import Annotated

import typer

from worker.cli.output import inline
from worker.errors import SettingsError

Json = Annotated[bool, typer.Option("--json", help="The same answer for machines.")]
Since = Annotated[str | None, typer.Option("--since", metavar="D", help="First night, YYYY-MM-DD.")]
Until = Annotated[str | None, typer.Option("--until", metavar="D", help="Last night, included.")]


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
