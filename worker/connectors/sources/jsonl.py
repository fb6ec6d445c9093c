"""Run files: one JSON object a line (`spotcheck.run/1`), plain or gzip."""

from collections.abc import Iterator
from datetime import datetime
from typing import IO

import orjson

from worker.connectors.sources import tolerant
from worker.connectors.sources.lines import Line, beginning, buffered, lines
from worker.connectors.sources.source import Accepted, Rejected, parsed, rejected
from worker.core.intake import formats
from worker.settings.sections_sampling import IntakeSection

name = "jsonl"
_HINTS = {
    b"[": "; one array over several lines? jq -c '.[]' makes a line of each run",
    b"{": "; one run over several lines? jq -c . makes one line of it",
}
"""What a line that ends too early probably is the beginning of."""
_OPEN = (b"{", b"[", b",")
"""What the first line of a document over several lines ends with; another line was cut off as it was written."""
_TOO_DEEP = "nested too deeply"


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
        One item a line. A stream that is plainly something else gives one Rejected for all of it. A stream that breaks
        ends with one that says so; what came before it stands.
    """
    whole = buffered(stream)
    if what := formats.of_beginning(beginning(whole)):
        yield rejected(1, what, b"", whole=True)
        return
    for line in lines(whole, limits.max_line_bytes):
        if line.problem is not None:
            yield rejected(line.number, formats.of_cut_line(line.raw) or line.problem, line.raw)
            continue
        try:
            value = orjson.loads(line.raw)
        except orjson.JSONDecodeError as error:
            yield _once_more(line, error, now, limits)
        else:
            if line.number == 1 and _is_array_of_objects(value):
                yield rejected(1, formats.ARRAY, line.raw)
            else:
                yield parsed(line.number, line.raw, value, source=name, now=now, limits=limits)


def _is_array_of_objects(value: object) -> bool:
    return isinstance(value, list) and isinstance(next(iter(value), None), dict)


def _once_more(line: Line, error: orjson.JSONDecodeError, now: datetime, limits: IntakeSection) -> Accepted | Rejected:
    """What the tolerant reader makes of an object that orjson refuses; a line that is no JSON keeps orjson's reason."""
    if not _is_deep(error) and tolerant.may_read(line.raw):
        try:
            value, repairs = tolerant.loads(line.raw)
        except RecursionError:
            return rejected(line.number, _TOO_DEEP, line.raw)
        except ValueError:
            pass
        else:
            return parsed(line.number, line.raw, value, source=name, now=now, limits=limits, repairs=repairs)
    return rejected(line.number, _not_json(line.raw, error), line.raw)


def _is_deep(error: orjson.JSONDecodeError) -> bool:
    return "allocate memory" in error.msg or "depth limit" in error.msg  # how orjson says it


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8 text: byte 0x{raw[wrong.start]:02x} at position {wrong.start}"
    if _is_deep(error):
        return _TOO_DEEP
    is_cut = "end of data" in error.msg or ("control character" in error.msg and error.pos >= len(raw.rstrip()))
    hint = ""
    if is_cut and raw.rstrip().endswith(_OPEN):
        hint = _HINTS.get(raw.lstrip()[:1], "")
    elif is_cut and raw.lstrip()[:1] in (b"{", b"["):
        return (
            f"not JSON: the line ends in the middle, after {error.pos:,} characters: it was cut off as it was written"
        )
    if raw.lstrip()[:2] == b"{'":
        hint = "; in single quotes this is Python's repr, and json.dumps writes JSON"
    elif raw.lstrip()[:1] == b"{" and "after document" in error.msg:
        hint = "; several objects on one line? jq -c . makes a line of each"
    return f"not JSON: {error.msg} at character {error.pos + 1}{hint}"
