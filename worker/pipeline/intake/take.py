"""Outside to store: runs taken in batches, keys and flags decided, rejected lines kept beside."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from typing import NamedTuple

from worker.connectors.sources.document import ParsedRun
from worker.connectors.sources.source import Accepted, Rejected
from worker.core.sampling import flags, sample_key
from worker.pipeline.alert import alert_costly_runs
from worker.pipeline.draw import decide_late
from worker.project.project import Project
from worker.project.scorers import reference_of
from worker.records import Reference
from worker.store.runs import draws, operational, references, runs
from worker.store.runs.runs import Incoming

BATCH = 1_000
_BATCH_BYTES = 32_000_000
"""Held at most, but for one run: a thousand lines of sixteen megabytes each would not fit."""


class IntakeCounts(NamedTuple):
    """What became of a source's lines."""

    accepted: int = 0
    revised: int = 0
    """Known runs that were sent with other content."""
    duplicate: int = 0
    rejected: int = 0

    def __add__(self, other: object) -> "IntakeCounts":
        """Both together."""
        if not isinstance(other, IntakeCounts):
            return NotImplemented
        return IntakeCounts(*(one + two for one, two in zip(self, other, strict=True)))


def take(
    project: Project,
    lines: Iterable[Accepted | Rejected],
    now: datetime,
    *,
    on_rejected: Callable[[Rejected], None],
    on_batch: Callable[[IntakeCounts], None] = lambda _: None,
) -> IntakeCounts:
    """Store runs as they come; a batch is one transaction, and repeating a source changes nothing.

    Args:
        project: Where to.
        lines: From a reader of `ingest`.
        now: Time of receipt.
        on_rejected: Told of each line that is no run.
        on_batch: Told the running totals after each batch.

    Returns:
        The totals.
    """
    references = _references(project)
    tally = IntakeCounts()
    touched: set[date] = set()
    for batch in _batches(lines):
        accepted = []
        for line in batch:
            if isinstance(line, Rejected):
                on_rejected(line)
                tally += IntakeCounts(rejected=1)
            else:
                accepted.append(_incoming(project, line.parsed, references))
        if accepted:
            with project.store.write() as connection:
                tally += IntakeCounts(*runs.take(connection, accepted, now))
                alert_costly_runs(project, connection, accepted, now)
            _owe(project, {item.night for item in accepted} - touched)
            touched |= {item.night for item in accepted}
        on_batch(tally)
    _owe(project, touched)  # again: figures may have been summed between two batches
    _decide_late(project, touched, now)
    return tally


def _owe(project: Project, nights: set[date]) -> None:
    """Apart from the runs' transaction: two that take in the same night would otherwise wait for one another."""
    if nights:
        with project.store.write() as connection:
            operational.mark_stale(connection, nights)


def _decide_late(project: Project, nights: set[date], now: datetime) -> None:
    """Runs of nights that are drawn already are decided by the stored thresholds, however old the night is."""
    with project.store.read() as connection:
        drawn = draws.drawn_subset(connection, sorted(nights))
    for night in sorted(drawn):
        decide_late(project, night, now, [])


def _references(project: Project) -> dict[str, Reference | None]:
    with project.store.read() as connection:
        return {task: reference_of(row) for task, row in references.latest_references(connection).items()}


def _incoming(project: Project, taken: ParsedRun, references: dict[str, Reference | None]) -> Incoming:
    run = taken.run
    return Incoming(
        run=run,
        sha=taken.sha,
        payload=taken.payload,
        night=project.nights.of(run.ended_at),
        sample_key=sample_key(run.run_id),
        flags=flags(run, references.get(run.task_type)),
    )


def _batches(lines: Iterable[Accepted | Rejected]) -> Iterator[list[Accepted | Rejected]]:
    batch: list[Accepted | Rejected] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line.raw) if isinstance(line, Rejected) else len(line.parsed.payload)
        if len(batch) == BATCH or held > _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
