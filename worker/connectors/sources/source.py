"""A source: one format or system that runs come from. The protocol, and what every source yields."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import IO, NamedTuple, Protocol

from worker.connectors.sources import document
from worker.connectors.sources.document import ParsedRun
from worker.core.intake.formats import of_document
from worker.errors import IngestError
from worker.settings.sections_sampling import IntakeSection

EXCERPT_BYTES = 200
"""What is kept of a rejected record, so that a file of nothing else needs no memory and no second copy."""


class Rejected(NamedTuple):
    """A record that is not a run."""

    number: int
    """Its line, or its place in the order of reading; from 1."""
    reason: str
    """One line for a person: the field, what was found, what is allowed."""
    raw: bytes
    """Its beginning, at most `EXCERPT_BYTES`; empty when there is none."""
    whole: bool = False
    """Whether this is about the whole stream, which is plainly something else, and nothing more of it is read."""


class Accepted(NamedTuple):
    """A record that is a run."""

    number: int
    """As in `Rejected`."""
    parsed: ParsedRun


class Source(Protocol):
    """What a module in `worker/connectors/sources/` defines; `registry.SOURCES` lists the modules.

    `pipeline.intake.take` stores whatever is yielded, in bounded batches, so a source that pulls from a server yields
    the same two records.
    """

    @property
    def name(self) -> str:
        """What `--format` calls it, and the `source` of runs that do not name theirs.

        Never renamed: a run is known by its source and id, so that another name would make every run a new one.
        """
        ...

    def looks_like(self, beginning: bytes) -> bool:
        """Whether a stream that begins so is probably of this format.

        Args:
            beginning: The first bytes, unpacked; some thousand, fewer when the stream is short, none when it is empty.
        """
        ...

    def read(self, stream: IO[bytes], *, now: datetime, limits: IntakeSection) -> Iterator[Accepted | Rejected]:
        """Runs and rejected records, in the order of the stream; raises for nothing that a stream may hold.

        Args:
            stream: Bytes, read once and to its end. Read it through `lines`, which unpacks gzip, bounds the memory and
                turns a stream that breaks into a last line that says so.
            now: The time of receipt, aware UTC.
            limits: The longest record, and sizes within a run.
        """
        ...


def parsed(
    number: int,
    raw: bytes,
    value: object,
    *,
    source: str,
    now: datetime,
    limits: IntakeSection,
    repairs: Mapping[str, str] = MappingProxyType({}),
) -> Accepted | Rejected:
    """One record from one document with the fields of `spotcheck.run/1`.

    Args:
        number: The record's place.
        raw: The record as it came; its beginning is kept when it is rejected.
        value: The document; a run needs `run_id`, `task_type`, `status` and `ended_at`, other fields become tags.
        source: The `source` of a run whose document does not name one.
        now: The time of receipt, aware UTC.
        limits: Sizes beyond which texts are cut and steps left out.
        repairs: What was repaired to read the document, and what became of it.
    """
    try:
        return Accepted(number, document.read(value, source=source, now=now, limits=limits, repairs=repairs))
    except IngestError as error:
        return rejected(number, of_document(value) or str(error), raw)


def rejected(number: int, reason: str, raw: bytes, *, whole: bool = False) -> Rejected:
    """A record that is no run, with its beginning."""
    return Rejected(number, reason, raw[:EXCERPT_BYTES], whole)
