"""Rejected records: the reasons told once each, and a small file beside that names the places."""

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from worker.cli.files import DISK_FULL, is_full
from worker.cli.output import counted, note
from worker.connectors.sources.source import EXCERPT_BYTES, Rejected
from worker.errors import ExportError, SettingsError

MOST_LINES = 10_000
MOST_BYTES = 5_000_000
"""A rejects file grows no further; what is beyond is counted."""
_SHOWN = 10
_FIRST_LINES = 3
_MOST_REASONS = 200
"""Different reasons that are kept; values in them come from outside."""
_LONGEST_NAME = 200
_FIRST_LINE_BYTES = 65_536
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d.,:+\-TZe]*")
"""What of a reason differs from line to line while the reason is the same."""


class _Reason(NamedTuple):
    said: str
    """As it was said the first time."""
    number: int
    lines: tuple[int, ...]
    """The first few."""
    is_told: bool = False
    """Whether it was said already, while more came."""


class Reasons:
    """Why records of one input were rejected: each reason once, with its number and its first lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: dict[str, _Reason] = {}
        self.whole: str | None = None
        """Why the whole input is none, where it is plainly something else."""

    def add(self, rejected: Rejected) -> None:
        """Count one."""
        if rejected.whole:
            self.whole = rejected.reason
        key = _VALUES.sub("…", rejected.reason)
        if key not in self._found and len(self._found) >= _MOST_REASONS:
            key = ""
        known = self._found.get(key, _Reason(rejected.reason if key else "other reasons", 0, ()))
        lines = known.lines if len(known.lines) == _FIRST_LINES else (*known.lines, rejected.number)
        self._found[key] = known._replace(number=known.number + 1, lines=lines)

    def tell_new(self) -> None:
        """A note for each that was not said yet: who writes to a pipe need not wait for its end."""
        for key, reason in list(self._found.items())[:_SHOWN]:
            if not reason.is_told and self.whole is None:
                note(f"{self.name}:{reason.lines[0]}: {reason.said}")
                self._found[key] = reason._replace(is_told=True)

    def tell(self) -> None:
        """A note for each of the ten most frequent, in the order of the input."""
        if self.whole is not None:
            note(f"{self.name}: {self.whole}")
            return
        reasons = list(self._found.values())
        frequent = sorted(reasons, key=lambda reason: -reason.number)
        shown = set(frequent[:_SHOWN])
        for reason in (one for one in reasons if one in shown):
            said = [] if reason.is_told else [reason.said]
            if reason.number > 1:
                said.append(_likewise(reason))
            if said:
                note(f"{self.name}:{reason.lines[0]}: {'; '.join(said)}")
        if more := frequent[_SHOWN:]:
            lines = counted(sum(reason.number for reason in more), "line")
            note(f"… and {counted(len(more), 'more reason')} ({lines}); --json has every reason")

    def as_json(self) -> list[dict[str, Any]]:
        """Every reason with its number and first lines, in the order of the input."""
        return [
            {"file": self.name, "reason": reason.said, "count": reason.number, "lines": reason.lines}
            for reason in self._found.values()
        ]


class RejectsFile:
    """The file beside that says where and why records were rejected; opened at the first of them.

    It holds an excerpt of each record, is bounded in lines and bytes, and is always a new file of its own: nothing that
    has its name already is written to, but for the rejects file of the same input, which is replaced.
    """

    def __init__(self, path: str) -> None:
        self.count = 0
        self.side: Path | None = None
        self._name = "stdin" if path == "-" else path
        self._source = None if path == "-" else os.fsencode(Path(path).resolve()).decode(errors="replace")
        self._stream: IO[bytes] | None = None
        self._bytes = 0
        self._kept = 0

    def keep(self, rejected: Rejected) -> None:
        """Write where and why, while there is room."""
        if rejected.whole:
            return
        self.count += 1
        if self._kept >= MOST_LINES or self._bytes >= MOST_BYTES:
            return
        if self._stream is None:
            self._stream = self._open_side()
        line = {
            "line": rejected.number,
            "reason": rejected.reason,
            "file": self._source,
            "excerpt": _text(rejected.raw[:EXCERPT_BYTES]),
        }
        packed = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        with self._kept_whole():
            self._stream.write(packed)
        self._bytes += len(packed)
        self._kept += 1

    def flush(self) -> None:
        """Put on disk what was rejected so far."""
        if self._stream is not None:
            with self._kept_whole():
                self._stream.flush()

    def tell(self) -> None:
        """A note that says where the places are."""
        if self._kept:
            which = "" if self._kept == self.count else f"the first {self._kept:,} of "
            note(f"{which}{counted(self.count, 'rejected line')}: places and reasons are in {self.side}")

    def __enter__(self) -> "RejectsFile":
        return self

    def __exit__(self, *_: object) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._kept_whole():
                stream.close()

    @contextmanager
    def _kept_whole(self) -> Iterator[None]:
        """Remove a file that the disk has no room for, since repeating the command writes it; a pipe's is kept.

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
        """A new file, under the first name that is free or held by the rejects file of the same input."""
        name = Path(self._name).name[:_LONGEST_NAME]
        try:
            for number in itertools.count(1):
                side = Path(f"{name}.rejected.jsonl" if number == 1 else f"{name}.{number}.rejected.jsonl")
                if self._source is not None and _source_of(side) == self._source:
                    side.unlink()  # not written over: another file may be linked to it
                with suppress(FileExistsError):
                    stream = side.open("xb")  # never through a link, to a pipe or a device
                    self.side = side
                    return stream
        except OSError as error:
            if is_full(error):
                raise ExportError(f"{side} cannot be written: {DISK_FULL}") from None
            raise SettingsError(
                f"{side} cannot be written ({error.strerror}), and rejected lines must not be lost; "
                "run it in a folder that you may write to"
            ) from None
        raise AssertionError("there is always another number")


def each(*tell: Callable[[Rejected], None]) -> Callable[[Rejected], None]:
    """One that tells all of these."""

    def all_of_them(rejected: Rejected) -> None:
        for one in tell:
            one(rejected)

    return all_of_them


def _likewise(reason: _Reason) -> str:
    more = reason.number - 1
    others = ", ".join(f"{number:,}" for number in reason.lines[1:])
    return f"likewise {counted(more, 'more line')} ({others}{', …' if more >= _FIRST_LINES else ''})"


def _text(raw: bytes) -> str:
    """The beginning of a record as JSON can hold it."""
    return raw.decode("utf-8", "replace")


def _source_of(side: Path) -> str | None:
    """The input whose rejected records a plain file names; None where there is no such file, or it does not say."""
    try:
        found = os.open(side, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        return None
    with os.fdopen(found, "rb") as lines:
        try:
            first: Any = orjson.loads(lines.readline(_FIRST_LINE_BYTES))
        except (OSError, ValueError):
            return None
    return first.get("file") if isinstance(first, dict) else None
