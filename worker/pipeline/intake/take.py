"""Outside to store: runs taken in batches, keys and flags decided, rejected records told."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from typing import NamedTuple

import orjson

from worker.connectors.sources.document import ParsedRun
from worker.connectors.sources.source import Accepted, Rejected
from worker.core.intake.notices import Noticed
from worker.core.intake.pricing import model_of, priced
from worker.core.sampling import flags, sample_key
from worker.pipeline.activate import active_policy
from worker.pipeline.alert import alert_costly_runs
from worker.pipeline.draw import decide_late
from worker.project.contexts import reference_of
from worker.project.project import Project
from worker.records import Reference, Run
from worker.store.runs import draws, operational, references, runs
from worker.store.runs.runs import Incoming

BATCH = 1_000
_BATCH_BYTES = 32_000_000
"""Largest sum of payloads in a batch, but for one run: a thousand records of sixteen megabytes would not fit."""


class IntakeCounts(NamedTuple):
    """What became of a source's records."""

    accepted: int = 0
    revised: int = 0
    """Known runs that were sent with other content."""
    duplicate: int = 0
    rejected: int = 0

    def __add__(self, other: object) -> "IntakeCounts":
        """Both together."""
        if not isinstance(other, IntakeCounts):
            return NotImplemented
        return IntakeCounts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def take(
    project: Project,
    records: Iterable[Accepted | Rejected],
    now: datetime,
    *,
    on_rejected: Callable[[Rejected], None],
    on_batch: Callable[[IntakeCounts], None] = lambda _: None,
    noticed: Noticed | None = None,
) -> IntakeCounts:
    """Store runs as they come; a batch is one transaction, and repeating a source changes nothing.

    Args:
        project: Where to.
        records: What a source yields.
        now: Time of receipt.
        on_rejected: Told of each record that is no run.
        on_batch: Told the running totals after each batch.
        noticed: Counts what of the runs was not understood, or otherwise than written; of all of them together.

    Returns:
        The totals.
    """
    references = _references(project)
    counts = IntakeCounts()
    nights: set[date] = set()
    for batch in _batches(records):
        accepted = []
        for record in batch:
            if isinstance(record, Rejected):
                on_rejected(record)
                counts += IntakeCounts(rejected=1)
            else:
                accepted.append(_incoming(project, record.parsed, references, noticed))
                if noticed is not None and record.parsed.notices:
                    noticed.merge(record.parsed.notices)
        if accepted:
            with project.store.write() as connection:
                counts += IntakeCounts(*runs.take(connection, accepted, now))
                alert_costly_runs(project, connection, accepted, now)
            batch_nights = {item.night for item in accepted}
            _note_changed(project, batch_nights - nights)
            nights |= batch_nights
        on_batch(counts)
    _note_changed(project, nights)  # again: figures may have been summed between two batches
    _decide_late(project, nights, now)
    return counts


def _note_changed(project: Project, nights: set[date]) -> None:
    """Say that the nights' sums are out of date.

    Apart from the runs' transaction: two processes that take in the same night would wait for one another.
    """
    if nights:
        with project.store.write() as connection:
            operational.mark_stale(connection, nights)


def _decide_late(project: Project, nights: set[date], now: datetime) -> None:
    """Runs of nights that are drawn already are decided by the stored thresholds, however old the night is."""
    with project.store.read() as connection:
        drawn = draws.drawn_subset(connection, sorted(nights))
    policy = active_policy(project)
    for night in sorted(drawn):
        decide_late(project, night, now, policy)


def _references(project: Project) -> dict[str, Reference | None]:
    with project.store.read() as connection:
        return {task: reference_of(row) for task, row in references.latest_references(connection).items()}


def _incoming(
    project: Project, parsed: ParsedRun, references: dict[str, Reference | None], noticed: Noticed | None
) -> Incoming:
    run, payload = parsed.run, parsed.payload
    unpriced = None
    if run.cost_usd is None:
        found = priced(run, project.prices.price, model_of(run))
        run = found.run
        if found.step_costs:
            payload = _with_costs(payload, found.step_costs)
        unpriced = found.unpriced
        if noticed is not None and (found.model or found.unpriced):
            noticed.add("priced" if found.model else "unpriced", "run", found.model or found.unpriced or "")
    if noticed is not None:
        _notice_gaps(run, noticed, has_unpriced=unpriced is not None)
    return Incoming(
        run=run,
        sha=parsed.sha,
        payload=payload,
        night=project.nights.of(run.ended_at),
        sample_key=sample_key(run.run_id),
        flags=flags(run, references.get(run.task_type)),
    )


def _notice_gaps(run: Run, noticed: Noticed, *, has_unpriced: bool) -> None:
    """Count what the run lacks for being judged and for its cost; a model without a price is told apart."""
    if not run.input and not run.output:
        noticed.lacks("content")
    elif not run.output and run.status == "completed":
        noticed.lacks("output")
    if run.cost_usd is None and not has_unpriced:
        noticed.lacks("cost")


def _with_costs(payload: bytes, costs: dict[int, float]) -> bytes:
    """A payload with what was found for its steps."""
    document = orjson.loads(payload)
    for place, cost in costs.items():
        document["steps"][place]["cost_usd"] = cost
    return orjson.dumps(document)


def _batches(records: Iterable[Accepted | Rejected]) -> Iterator[list[Accepted | Rejected]]:
    batch: list[Accepted | Rejected] = []
    held = 0
    for record in records:
        batch.append(record)
        held += len(record.raw) if isinstance(record, Rejected) else len(record.parsed.payload)
        if len(batch) == BATCH or held > _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
