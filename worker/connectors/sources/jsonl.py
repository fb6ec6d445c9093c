"""Run files: JSON lines, plain or gzip, from a path or a stream; read line by line in bounded memory."""

import gzip
import io
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import IO, NamedTuple, cast

import orjson

from worker.connectors.sources import document
from worker.connectors.sources.document import ParsedRun
from worker.errors import IngestError
from worker.settings.sections_sampling import IntakeSection

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
"""What some editors put before the first line of a UTF-8 file."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HINTS = {
    b"[": "; one array over several lines? jq -c '.[]' makes a line of each run",
    b"{": "; one run over several lines? jq -c . makes one line of it",
}
"""What a line that ends too early probably is the beginning of."""
_KEPT_OF_REJECTED = 4_000_000
"""Bytes kept of a rejected line in the side file."""


class Rejected(NamedTuple):
    """A line that is not a run."""

    number: int
    """From 1."""
    reason: str
    raw: bytes
    """The line; only its beginning when it was longer than allowed."""


class Accepted(NamedTuple):
    """A line that is a run."""

    number: int
    taken: ParsedRun


def read(stream: IO[bytes], *, now: datetime, limits: IntakeSection) -> Iterator[Accepted | Rejected]:
    """Runs and rejected lines, in the order of the file. Blank lines are passed over.

    Args:
        stream: Bytes, plain or gzip (told by the first two bytes), read once and to its end.
        now: The time of receipt, aware UTC.
        limits: The longest line, and sizes within a run.

    Yields:
        One item a line. A stream that breaks ends with one Rejected that says so; what came before it stands.
    """
    number = 0
    try:
        for number, raw, is_whole in _lines(stream, limits.max_line_bytes):
            line = raw.removeprefix(_BOM) if number == 1 else raw
            if line.strip():
                yield _line(number, line, is_whole, now, limits)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Rejected(number + 1, f"the gzip stream breaks off here ({error}); the lines before it were taken", b"")
    except OSError as error:  # a dying disk, a network folder that went away
        said = error.strerror or type(error).__name__
        yield Rejected(number + 1, f"the file breaks off here ({said}); the lines before it were taken", b"")


def _line(number: int, raw: bytes, is_whole: bool, now: datetime, limits: IntakeSection) -> Accepted | Rejected:
    if not is_whole:
        reason = f"longer than {limits.max_line_bytes:,} bytes (setting intake.max_line_bytes)"
        return Rejected(number, reason, raw[:_KEPT_OF_REJECTED])
    try:
        return Accepted(number, document.read(orjson.loads(raw), now=now, limits=limits))
    except orjson.JSONDecodeError as error:
        return Rejected(number, _not_json(raw, error), raw)
    except IngestError as error:
        return Rejected(number, str(error), raw)


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> str:
    if raw.startswith(_UTF16) or (len(raw) > 8 and raw.count(0) > len(raw) // 3):
        return "this looks like UTF-16; run files are UTF-8, and iconv -f UTF-16 -t UTF-8 makes it so"
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8 text: byte 0x{raw[wrong.start]:02x} at position {wrong.start}"
    if "allocate memory" in error.msg or "depth limit" in error.msg:  # how orjson says it
        return "nested too deeply"
    hint = _HINTS.get(raw.lstrip()[:1], "") if "end of data" in error.msg else ""
    return f"not JSON: {error.msg} at character {error.pos + 1}{hint}"


def _lines(stream: IO[bytes], limit: int) -> Iterator[tuple[int, bytes, bool]]:
    """Lines with their numbers; of an overlong line only the beginning, in bounded memory."""
    source = _plain(stream)
    number = 0
    while raw := source.readline(limit + 1):
        number += 1
        is_whole = len(raw) <= limit or raw.endswith(b"\n")
        yield number, raw, is_whole
        while not raw.endswith(b"\n") and not is_whole and (raw := source.readline(1 << 20)):
            pass


def _plain(stream: IO[bytes]) -> IO[bytes]:
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    if buffered.peek(2)[:2] == _GZIP:
        return cast(IO[bytes], gzip.GzipFile(fileobj=buffered))
    return buffered
