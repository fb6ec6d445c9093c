"""The sources there are, and which of them a stream is for."""

import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO

from worker.connectors.sources import jsonl
from worker.connectors.sources.lines import beginning, buffered
from worker.connectors.sources.source import Accepted, Rejected, Source
from worker.errors import SettingsError
from worker.settings.sections_sampling import IntakeSection

SOURCES: Sequence[Source] = (jsonl,)
"""One module a source. The order is the order in which they are asked whether a stream is theirs."""
AUTO = "auto"
"""What `--format` is called when the stream itself shall say it."""


def formats() -> str:
    """The names that `--format` takes, as a sentence has them: auto, this or that."""
    *others, last = (AUTO, *sorted(source.name for source in SOURCES))
    return f"{', '.join(others)} or {last}"


def check(form: str) -> None:
    """Refuse a format that no source has.

    Raises:
        SettingsError: Says which there are, and what was probably meant.
    """
    known = [AUTO, *(source.name for source in SOURCES)]
    if form not in known:
        close = difflib.get_close_matches(form, known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError(f"--format {form!r} is not known; use {formats()}{meant}")


def read(stream: IO[bytes], form: str, *, now: datetime, limits: IntakeSection) -> Iterator[Accepted | Rejected]:
    """Runs and rejected records of a stream.

    Args:
        stream: Bytes, plain or gzip.
        form: A source's name, or `auto`: the first source that says so of the stream's beginning; `jsonl`, which says
            line by line what is wrong, where none does.
        now: The time of receipt, aware UTC.
        limits: The longest record, and sizes within a run.
    """
    whole = buffered(stream)
    if form == AUTO:
        begins = beginning(whole)
        source = next((source for source in SOURCES if source.looks_like(begins)), jsonl)
    else:
        source = next(source for source in SOURCES if source.name == form)
    return source.read(whole, now=now, limits=limits)
