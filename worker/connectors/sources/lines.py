"""Lines of a stream, plain or gzip, in bounded memory; trouble with the stream is a line that says so."""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
"""What some editors put before the first line of a UTF-8 file."""
_KEPT_OF_REJECTED = 1_000
"""Bytes kept of a line that is too long."""


class Line(NamedTuple):
    """A line, or why there is none."""

    number: int
    """From 1."""
    raw: bytes
    """With its end, without a byte order mark; the beginning only where the line is too long."""
    problem: str | None = None
    """Why this cannot be read: too long, or the stream breaks off here. One line for a person."""


def lines(stream: IO[bytes], limit: int, *, keeps_blank: bool = False) -> Iterator[Line]:
    """Every line, in order.

    Args:
        stream: Bytes, plain or gzip (told by the first two bytes).
        limit: Longest line, bytes; `intake.max_line_bytes`.
        keeps_blank: Whether a blank line says something; else it is passed over, and only counted.

    Yields:
        One a line. A stream that breaks ends with one whose `problem` says so; an overlong line has a `problem`, and
        the lines after it go on.
    """
    number = 0
    try:
        unpacked = _unpacked(stream)
        while raw := unpacked.readline(limit + 1):
            number += 1
            if len(raw) > limit and not raw.endswith(b"\n"):
                yield Line(
                    number, raw[:_KEPT_OF_REJECTED], f"longer than {limit:,} bytes (setting intake.max_line_bytes)"
                )
                _skip(unpacked)
                continue
            line = raw.removeprefix(_BOM) if number == 1 else raw
            if keeps_blank or line.strip():
                yield Line(number, line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Line(number + 1, b"", f"the gzip stream breaks off here ({error}); the lines before it were taken")
    except OSError as error:  # a dying disk, a network folder that went away
        reason = error.strerror or type(error).__name__
        yield Line(number + 1, b"", f"the file breaks off here ({reason}); the lines before it were taken")


def buffered(stream: IO[bytes]) -> io.BufferedReader:
    """The stream with a buffer, so that its beginning can be looked at and stays to be read."""
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))


def beginning(stream: io.BufferedReader) -> bytes:
    """The first bytes of a stream, unpacked where it is gzip; they stay to be read.

    Returns:
        Some thousand bytes, fewer of a short stream or a slow pipe; none where they cannot be read or unpacked.
    """
    try:
        packed = stream.peek(io.DEFAULT_BUFFER_SIZE)
        if packed[:2] == _GZIP:
            packed = zlib.decompressobj(wbits=31).decompress(packed, io.DEFAULT_BUFFER_SIZE)
    except (zlib.error, OSError):
        return b""  # reading it will say what is wrong
    return packed.removeprefix(_BOM)


def _unpacked(stream: IO[bytes]) -> IO[bytes]:
    source = buffered(stream)
    return cast(IO[bytes], gzip.GzipFile(fileobj=source)) if source.peek(2)[:2] == _GZIP else source


def _skip(stream: IO[bytes]) -> None:
    """Pass over the rest of a line, a megabyte at a time."""
    while (raw := stream.readline(1 << 20)) and not raw.endswith(b"\n"):
        pass
