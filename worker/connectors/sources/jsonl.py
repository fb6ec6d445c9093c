"""Run files: one JSON object a line (`spotcheck.run/1`), plain or gzip."""

from collections.abc import Iterator
from datetime import datetime
from typing import IO

import orjson

from worker.connectors.sources.lines import lines
from worker.connectors.sources.source import Accepted, Rejected, parsed
from worker.settings.sections_sampling import IntakeSection

name = "jsonl"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HINTS = {
    b"[": "; one array over several lines? jq -c '.[]' makes a line of each run",
    b"{": "; one run over several lines? jq -c . makes one line of it",
}
"""What a line that ends too early probably is the beginning of."""


def looks_like(beginning: bytes) -> bool:
    """Whether the first line begins as a JSON object."""
    return beginning.lstrip().startswith(b"{")


def read(stream: IO[bytes], *, now: datetime, limits: IntakeSection) -> Iterator[Accepted | Rejected]:
    """Runs and rejected lines, in the order of the file. Blank lines are passed over.

    Args:
        stream: Bytes, plain or gzip (told by the first two bytes), read once and to its end.
        now: The time of receipt, aware UTC.
        limits: The longest line, and sizes within a run.

    Yields:
        One item a line. A stream that breaks ends with one Rejected that says so; what came before it stands.
    """
    for line in lines(stream, limits.max_line_bytes):
        if line.problem is not None:
            yield Rejected(line.number, line.problem, line.raw)
            continue
        try:
            value = orjson.loads(line.raw)
        except orjson.JSONDecodeError as error:
            yield Rejected(line.number, _not_json(line.raw, error), line.raw)
        else:
            yield parsed(line.number, line.raw, value, source=name, now=now, limits=limits)


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
