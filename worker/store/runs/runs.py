"""Storing runs with their texts, and reading them back."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping, Select, bindparam, func, select, text, update

from worker.core.drift.operational import OTHER_TOOLS
from worker.core.tool_failure import failure
from worker.records import Run, Step
from worker.store import bulk, meta
from worker.store.insert import insert_ignore
from worker.store.payload import pack, unpack
from worker.store.tables import NightRow, PayloadRow, ReferenceRow, RunRow, core

run, payload, night_table, reference = (core(row) for row in (RunRow, PayloadRow, NightRow, ReferenceRow))
_DECIDED = ("revision", "content_sha", "night", "sample_key", "flagged", "flags", "received_at")
_COUNTED = ("steps", "tool_calls", "tool_errors", "tools")
_AS_SENT = tuple(column.name for column in run.columns if column.name not in ("pk", *_DECIDED, *_COUNTED))
_FACTS = (*_DECIDED, *_COUNTED, *_AS_SENT)
"""The columns of a run but for its key."""
_READ_BACK = tuple(name for name in _FACTS if name in Run.model_fields and name != "steps")
_as_sent = attrgetter(*_AS_SENT)
_PAYLOAD = ("run_pk", "revision", "content_sha", "received_at", "body")
_NEVER_MOVED = ("night", "task_type", "flagged", "flags", "sample_key", "status", "agent")
"""Columns fixed once the run's night is drawn: they decide its inclusion probability and which scorers apply to it."""
_TOOLS_A_RUN, _TOOL_NAME_CHARS = 50, 100
_IN_CHUNK = 500
"""Ids in one IN list; SQLite allows 32,766 variables."""
_STEPS = TypeAdapter(tuple[Step, ...])
_Identity = tuple[str, str]
"""Source and run id."""


class Incoming(NamedTuple):
    """A run to be stored."""

    run: Run
    sha: str
    """Hash of its content: another hash under the same id is a new revision."""
    payload: bytes
    """Its texts as JSON."""
    night: date
    sample_key: float
    flags: tuple[str, ...]


class Counts(NamedTuple):
    """How many runs of a batch were new, new revisions, or stored already."""

    accepted: int
    revised: int
    duplicate: int


def take(connection: Connection, batch: Sequence[Incoming], now: datetime) -> Counts:
    """Store a batch of runs: an unknown id is a new run, different content under a known id a new revision.

    Sending a batch twice stores nothing twice, and a replaced revision does not come back. Within one batch the last
    revision of a run is the current one; all are kept. Safe for two batches at once. Uses run_identity.
    """
    _note_detector(connection)
    stored = _stored(connection, batch)
    first: dict[_Identity, Incoming] = {}
    for item in batch:
        if _identity(item) not in stored:
            first.setdefault(_identity(item), item)
    # sorted, so that two batches at once cannot deadlock
    fresh = [item for _, item in sorted(first.items())]
    added = _add(connection, fresh, now)
    accepted = len(fresh)
    if added is None:
        rows = [_facts(item, 1, now) for item in fresh]
        accepted = connection.execute(insert_ignore(connection, run), rows).rowcount
        added = _stored(connection, batch)
    stored |= added
    stored_hashes = _stored_hashes(connection, batch, stored)
    revisions: dict[int, dict[str, Any]] = {}
    payloads: list[tuple[Any, ...]] = []
    revised = 0
    for item in batch:
        identity = _identity(item)
        pk, revision, sha = stored[identity]
        if first.get(identity) is not item or sha != item.sha:
            if (identity, item.sha) in stored_hashes:
                continue
            revised += 1
            revision += 1
            revisions[pk] = _facts(item, revision, now)
        stored_hashes.add((identity, item.sha))
        stored[identity] = (pk, revision, item.sha)
        payloads.append((pk, revision, item.sha, now, pack(item.payload)))
    _revise(connection, revisions)
    if not bulk.add(connection, payload, _PAYLOAD, payloads):
        rows = [dict(zip(_PAYLOAD, row, strict=True)) for row in payloads]
        connection.execute(insert_ignore(connection, payload), rows)
    return Counts(accepted, revised, len(batch) - accepted - revised)


TOOL_FAILURES_SINCE = "tool_failures_since"


def _note_detector(connection: Connection) -> None:
    """Remember once from which night on failed tool calls are counted by results too, and not by steps' errors alone.

    Runs of before were counted otherwise, and their counts stay; nobody may take the difference for a change of tools.
    """
    if meta.get_meta(connection, TOOL_FAILURES_SINCE) is None:
        newest = connection.execute(select(func.max(run.c.night))).scalar_one()
        since = "" if newest is None else (newest + timedelta(days=1)).isoformat()
        meta.set_meta_once(connection, TOOL_FAILURES_SINCE, since)


def tool_failures_since(connection: Connection) -> date:
    """The first night whose failed tool calls are all counted by `core.tool_failure`."""
    since = meta.get_meta(connection, TOOL_FAILURES_SINCE)
    return date.fromisoformat(since) if since else date.min


def _add(
    connection: Connection, fresh: Sequence[Incoming], now: datetime
) -> dict[_Identity, tuple[int, int, str]] | None:
    """Bulk-insert runs that were unknown a moment ago, under keys allocated beforehand.

    Returns:
        Key, revision and hash of each; None, with nothing stored, when another batch has stored one of them meanwhile.
    """
    keys = _next_keys(connection, len(fresh))
    rows = [(key, *_values(item, 1, now)) for key, item in zip(keys, fresh, strict=True)]
    if not bulk.add(connection, run, ("pk", *_FACTS), rows):
        return None
    return {_identity(item): (key, 1, item.sha) for key, item in zip(keys, fresh, strict=True)}


def _next_keys(connection: Connection, count: int) -> Sequence[int]:
    """`count` new primary keys, ascending; on SQLite the write lock prevents another writer from using the same."""
    if not count:
        return ()
    if connection.dialect.name == "sqlite":
        last = connection.execute(select(func.coalesce(func.max(run.c.pk), 0))).scalar_one()
        return range(last + 1, last + 1 + count)
    numbers = text("SELECT nextval(pg_get_serial_sequence('run', 'pk')) FROM generate_series(1, :count)")
    return connection.execute(numbers, {"count": count}).scalars().all()


def _identity(item: Incoming) -> _Identity:
    return item.run.source, item.run.run_id


def _stored(connection: Connection, batch: Sequence[Incoming]) -> dict[_Identity, tuple[int, int, str]]:
    """Key, revision and hash of the batch's runs that are stored; their rows are locked against another batch."""
    ids = sorted({item.run.run_id for item in batch})
    stored: dict[_Identity, tuple[int, int, str]] = {}
    statement = (
        select(run.c.source, run.c.run_id, run.c.pk, run.c.revision, run.c.content_sha)
        .where(run.c.run_id.in_(bindparam("ids", expanding=True)))
        .order_by(run.c.run_id, run.c.source)
        .with_for_update(key_share=True)
    )
    for start in range(0, len(ids), _IN_CHUNK):
        for source, run_id, pk, revision, sha in connection.execute(statement, {"ids": ids[start : start + _IN_CHUNK]}):
            stored[source, run_id] = (pk, revision, sha)
    return stored


def _stored_hashes(
    connection: Connection, batch: Sequence[Incoming], stored: Mapping[_Identity, tuple[int, int, str]]
) -> set[tuple[_Identity, str]]:
    """Stored (identity, hash) pairs of these runs; older revisions are read only where the newest one differs."""
    hashes = {(identity, sha) for identity, (_, _, sha) in stored.items()}
    differ = {
        stored[_identity(item)][0]: _identity(item) for item in batch if (_identity(item), item.sha) not in hashes
    }
    pks = list(differ)
    for start in range(0, len(pks), _IN_CHUNK):
        statement = select(payload.c.run_pk, payload.c.content_sha)
        rows = connection.execute(statement.where(payload.c.run_pk.in_(pks[start : start + _IN_CHUNK])))
        hashes |= {(differ[pk], sha) for pk, sha in rows}
    return hashes


def _facts(item: Incoming, revision: int, now: datetime) -> dict[str, Any]:
    return dict(zip(_FACTS, _values(item, revision, now), strict=True))


def _values(item: Incoming, revision: int, now: datetime) -> tuple[Any, ...]:
    """The column values of a run, in the order of `_FACTS`."""
    sent = item.run
    tools = [(step, failure(step) is not None) for step in sent.steps if step.kind == "tool"]
    return (
        *(revision, item.sha, item.night, item.sample_key, bool(item.flags), ",".join(item.flags), now),
        *(len(sent.steps), len(tools), sum(failed for _, failed in tools), _tools(tools)),
        *_as_sent(sent),
    )


def _tools(calls: Sequence[tuple[Step, bool]]) -> str | None:
    """JSON by tool name: calls, failed calls; None without tool calls. Names come from outside, so both are bounded."""
    if not calls:
        return None
    counts: dict[str, list[int]] = {}
    for call, is_failed in calls:
        name = call.name[:_TOOL_NAME_CHARS] or "(unnamed)"
        if name not in counts and len(counts) >= _TOOLS_A_RUN:
            name = OTHER_TOOLS
        count = counts.setdefault(name, [0, 0])
        count[0] += 1
        count[1] += is_failed
    return orjson.dumps(counts).decode()


def _revise(connection: Connection, revisions: Mapping[int, dict[str, Any]]) -> None:
    if not revisions:
        return
    drawn = set(
        connection.execute(
            select(run.c.pk)
            .join(night_table, night_table.c.night == run.c.night)
            .where(run.c.pk.in_(list(revisions)), night_table.c.drawn_at.is_not(None))
        ).scalars()
    )
    for pk, facts in revisions.items():
        values = {key: value for key, value in facts.items() if pk not in drawn or key not in _NEVER_MOVED}
        connection.execute(update(run).where(run.c.pk == pk).values(**values))


def load(connection: Connection, pks: Sequence[int]) -> dict[int, Run]:
    """Whole runs at their newest revision, by key; a run that is unknown or whose texts were pruned is absent."""
    runs: dict[int, Run] = {}
    for start in range(0, len(pks), _IN_CHUNK):
        statement = _whole().where(run.c.pk.in_(pks[start : start + _IN_CHUNK]))
        for row in connection.execute(statement).mappings():
            runs[row["pk"]] = _run(row)
    return runs


def keys_of(connection: Connection, identities: Sequence[_Identity]) -> dict[_Identity, int]:
    """Keys of runs by (source, run id); an unknown run is absent."""
    keys: dict[_Identity, int] = {}
    ids = sorted({run_id for _, run_id in identities})
    for start in range(0, len(ids), _IN_CHUNK):
        statement = select(run.c.source, run.c.run_id, run.c.pk)
        for source, run_id, pk in connection.execute(statement.where(run.c.run_id.in_(ids[start : start + _IN_CHUNK]))):
            keys[source, run_id] = pk
    return keys


def find_runs(connection: Connection, run_id: str, source: str | None = None) -> list[tuple[int, Run]]:
    """The runs with this id and their keys, newest first; several only where several sources use the id.

    A run whose texts were pruned has no input, output, steps or tags.
    """
    statement = _whole(outer=True).where(run.c.run_id == run_id).order_by(run.c.ended_at.desc(), run.c.pk)
    if source is not None:
        statement = statement.where(run.c.source == source)
    return [(row["pk"], _run(row)) for row in connection.execute(statement).mappings()]


def _whole(*, outer: bool = False) -> Select[Any]:
    joined = run.join(payload, (payload.c.run_pk == run.c.pk) & (payload.c.revision == run.c.revision), isouter=outer)
    return select(run, payload.c.body).select_from(joined)


def _run(row: RowMapping) -> Run:
    body = orjson.loads(unpack(row["body"])) if row["body"] is not None else None
    facts = {name: row[name] for name in _READ_BACK}
    if body is None:
        return Run.model_construct(**facts, input=None, output=None, steps=(), tags={}, vendor_ids={})
    return Run.model_construct(
        **facts,
        input=body["input"],
        output=body["output"],
        steps=_STEPS.validate_python(body["steps"]),  # parses the times; faster than constructing each step
        tags=body["tags"],
        vendor_ids=body["vendor_ids"],
    )


def list_runs(
    connection: Connection,
    *,
    task_type: str | None,
    status: str | None,
    since: date | None,
    until: date | None,
    limit: int,
    agent_version: str | None = None,
    offset: int = 0,
) -> Sequence[RowMapping]:
    """At most `limit` runs without their texts, newest first; None for no filter, bounds included."""
    columns = [column for column in run.columns if column.name not in ("content_sha", "sample_key")]
    statement = select(*columns).order_by(run.c.night.desc(), run.c.ended_at.desc(), run.c.pk)
    statement = statement.limit(limit).offset(offset)
    for column, value in ((run.c.task_type, task_type), (run.c.status, status), (run.c.agent_version, agent_version)):
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(run.c.night >= since)
    if until is not None:
        statement = statement.where(run.c.night <= until)
    return connection.execute(statement).mappings().all()


def night_span(connection: Connection) -> tuple[date, date] | None:
    """The first and the last night with runs; None without runs. Reads two entries of run_by_key."""
    # two subqueries: with both in one query SQLite reads the whole index
    ends = (select(of(run.c.night)).scalar_subquery() for of in (func.min, func.max))
    first, last = connection.execute(select(*ends)).one()
    return None if first is None else (first, last)


def nights_around(connection: Connection, first: date, last: date) -> tuple[date | None, bool, date | None]:
    """The nearest night with runs before some nights, whether any of these has runs, and the nearest after them.

    Reads three entries of run_by_key; bounds included.
    """
    inside = select(func.min(run.c.night)).where(run.c.night.between(first, last)).scalar_subquery()
    before = select(func.max(run.c.night)).where(run.c.night < first).scalar_subquery()
    after = select(func.min(run.c.night)).where(run.c.night > last).scalar_subquery()
    earlier, found, later = connection.execute(select(before, inside, after)).one()
    return earlier, found is not None, later


def undrawn_nights(connection: Connection, before: date) -> list[date]:
    """Nights before `before` that have runs and were never drawn, oldest first. Uses run_by_facts."""
    drawn = select(night_table.c.night).where(night_table.c.drawn_at.is_not(None))
    with_runs = select(run.c.night).where(run.c.night < before, run.c.night.not_in(drawn)).distinct()
    return sorted(connection.execute(with_runs).scalars())


def task_types(connection: Connection) -> set[str]:
    """Every task type of the stored runs. Reads the whole index run_by_key: about 0.1 s for a million runs."""
    return set(connection.execute(select(run.c.task_type).distinct()).scalars())


def tags_of(connection: Connection, pks: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The tags of runs by key; a run whose texts were pruned is absent. Unpacks each run's texts."""
    found = {}
    joined = run.join(payload, (payload.c.run_pk == run.c.pk) & (payload.c.revision == run.c.revision))
    for start in range(0, len(pks), _IN_CHUNK):
        statement = select(run.c.pk, payload.c.body).select_from(joined)
        for pk, body in connection.execute(statement.where(run.c.pk.in_(list(pks[start : start + _IN_CHUNK])))):
            found[pk] = orjson.loads(unpack(body))["tags"]
    return found
