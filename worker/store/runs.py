"""Runs in and out of the store."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, RowMapping, Select, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.records import Run, Step
from worker.store.packing import pack, unpack
from worker.store.tables import NightRow, PayloadRow, ReferenceRow, RunRow, core

run, payload, night_table, reference = (core(row) for row in (RunRow, PayloadRow, NightRow, ReferenceRow))
_FACTS = [column.name for column in run.columns if column.name != "pk"]
_NEVER_MOVED = ("night", "task_type", "flagged", "flags", "sample_key")
"""Fixed once the run's night is drawn: they decide its inclusion probability."""
_IN_CHUNK = 500
"""Ids in one IN list; SQLite allows 32,766 variables."""


class Incoming(NamedTuple):
    """A run on its way into the store."""

    run: Run
    sha: str
    payload: bytes
    night: date
    sample_key: float
    flags: tuple[str, ...]


class Counts(NamedTuple):
    """What became of a batch."""

    accepted: int
    revised: int
    duplicate: int


def insert_ignore(connection: Connection, table: Any) -> Any:  # noqa: ANN401 the two dialects share no public type
    """An INSERT that passes over rows whose unique key exists."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def take(connection: Connection, batch: Sequence[Incoming], now: datetime) -> Counts:
    """Store a batch; what is known already is left alone, what differs becomes a new revision.

    The same batch twice stores nothing twice. Within one batch the last revision of a run wins, and each is kept.
    Uses the index run_identity.
    """
    known = _known(connection, batch)
    fresh: dict[tuple[str, str], dict[str, Any]] = {}
    payloads: list[tuple[tuple[str, str], int, bytes]] = []
    revisions: dict[int, dict[str, Any]] = {}
    duplicate = revised = 0
    for item in batch:
        identity = (item.run.source, item.run.run_id)
        pk, revision, sha = known.get(identity, (None, 0, ""))
        if sha == item.sha:
            duplicate += 1
            continue
        facts = _facts(item, revision + 1, now)
        known[identity] = (pk, revision + 1, item.sha)
        payloads.append((identity, revision + 1, pack(item.payload)))
        if pk is not None:
            revisions[pk] = facts
        elif identity in fresh:
            fresh[identity] = facts
        else:
            fresh[identity] = facts
            continue
        revised += 1
    if fresh:
        connection.execute(insert_ignore(connection, run), list(fresh.values()))
    _revise(connection, revisions)
    _store_payloads(connection, batch, known, payloads, now)
    return Counts(accepted=len(fresh), revised=revised, duplicate=duplicate)


def _known(connection: Connection, batch: Sequence[Incoming]) -> dict[tuple[str, str], tuple[int | None, int, str]]:
    ids = list({item.run.run_id for item in batch})
    found: dict[tuple[str, str], tuple[int | None, int, str]] = {}
    statement = select(run.c.source, run.c.run_id, run.c.pk, run.c.revision, run.c.content_sha).where(
        run.c.run_id.in_(bindparam("ids", expanding=True))
    )
    for start in range(0, len(ids), _IN_CHUNK):
        for source, run_id, pk, revision, sha in connection.execute(statement, {"ids": ids[start : start + _IN_CHUNK]}):
            found[source, run_id] = (pk, revision, sha)
    return found


def _facts(item: Incoming, revision: int, now: datetime) -> dict[str, Any]:
    one = item.run
    tools = [step for step in one.steps if step.kind == "tool"]
    facts = {name: getattr(one, name) for name in _FACTS if name in Run.model_fields}
    return facts | {
        "revision": revision,
        "content_sha": item.sha,
        "night": item.night,
        "sample_key": item.sample_key,
        "flagged": bool(item.flags),
        "flags": ",".join(item.flags),
        "received_at": now,
        "steps": len(one.steps),
        "tool_calls": len(tools),
        "tool_errors": sum(1 for step in tools if step.error is not None),
    }


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


def _store_payloads(
    connection: Connection,
    batch: Sequence[Incoming],
    known: Mapping[tuple[str, str], tuple[int | None, int, str]],
    payloads: Sequence[tuple[tuple[str, str], int, bytes]],
    now: datetime,
) -> None:
    if not payloads:
        return
    pks = known
    if any(known[identity][0] is None for identity, _, _ in payloads):
        pks = _known(connection, batch)
    rows = [
        {"run_pk": pks[identity][0], "revision": revision, "body": body, "received_at": now}
        for identity, revision, body in payloads
    ]
    connection.execute(insert_ignore(connection, payload), rows)


def load(connection: Connection, pks: Sequence[int]) -> dict[int, Run]:
    """Whole runs at their newest revision, by key; a pruned or unknown one is absent."""
    found: dict[int, Run] = {}
    for start in range(0, len(pks), _IN_CHUNK):
        statement = _whole().where(run.c.pk.in_(pks[start : start + _IN_CHUNK]))
        for row in connection.execute(statement).mappings():
            found[row["pk"]] = _run(row)
    return found


def find(connection: Connection, run_id: str, source: str | None = None) -> list[tuple[int, Run]]:
    """The runs of this id, newest first; more than one only where several sources use it. Texts may be pruned."""
    statement = _whole(outer=True).where(run.c.run_id == run_id).order_by(run.c.ended_at.desc())
    if source is not None:
        statement = statement.where(run.c.source == source)
    return [(row["pk"], _run(row)) for row in connection.execute(statement).mappings()]


def _whole(*, outer: bool = False) -> Select[Any]:
    joined = run.join(payload, (payload.c.run_pk == run.c.pk) & (payload.c.revision == run.c.revision), isouter=outer)
    return select(run, payload.c.body).select_from(joined)


def _run(row: RowMapping) -> Run:
    body = orjson.loads(unpack(row["body"])) if row["body"] is not None else None
    facts = {name: row[name] for name in _FACTS if name in Run.model_fields and name != "steps"}
    if body is None:
        return Run.model_construct(**facts, input=None, output=None, steps=(), tags={}, vendor_ids={})
    # validated when it was taken: construct only, which is ten times as fast on long runs
    steps = tuple(Step.model_construct(**step) for step in body["steps"])
    return Run.model_construct(
        **facts,
        input=body["input"],
        output=body["output"],
        steps=steps,
        tags=body["tags"],
        vendor_ids=body["vendor_ids"],
    )


def listing(
    connection: Connection,
    *,
    task_type: str | None,
    status: str | None,
    since: date | None,
    until: date | None,
    limit: int,
) -> Sequence[RowMapping]:
    """Runs without their texts, newest night first."""
    columns = [column for column in run.columns if column.name not in ("content_sha", "sample_key")]
    statement = select(*columns).order_by(run.c.night.desc(), run.c.ended_at.desc(), run.c.pk).limit(limit)
    for column, value in ((run.c.task_type, task_type), (run.c.status, status)):
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(run.c.night >= since)
    if until is not None:
        statement = statement.where(run.c.night <= until)
    return connection.execute(statement).mappings().all()


def span(connection: Connection) -> tuple[date, date] | None:
    """The first and the last night that have runs; None without any. Reads two ends of run_by_key."""
    first, last = connection.execute(select(func.min(run.c.night), func.max(run.c.night))).one()
    return None if first is None else (first, last)


def recent_values(connection: Connection, since: date, until: date, most: int) -> dict[str, list[RowMapping]]:
    """Cost, steps and latency of runs of these nights by task type: all, or those with the smallest keys.

    A uniform subset where a task type has more than `most` runs, so that the work does not grow with the traffic.
    Uses run_by_key a night.
    """
    by_task: dict[str, list[RowMapping]] = {}
    sizes = connection.execute(
        select(run.c.task_type, func.count()).where(run.c.night.between(since, until)).group_by(run.c.task_type)
    ).all()
    for task_type, size in sorted(sizes):
        statement = select(run.c.cost_usd, run.c.steps, run.c.latency_ms).where(
            run.c.night.between(since, until), run.c.task_type == task_type
        )
        if size > most:
            statement = statement.where(run.c.sample_key < most / size)
        by_task[task_type] = list(connection.execute(statement).mappings())
    return by_task


def store_references(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep what was usual before a night; a night's references, once stored, stay."""
    values = list(rows)
    if values:
        connection.execute(insert_ignore(connection, reference), values)


def references(connection: Connection, nights: Sequence[date]) -> dict[tuple[date, str], RowMapping]:
    """What was usual, by night and task type."""
    statement = select(reference).where(reference.c.night.in_(list(nights)))
    return {(row["night"], row["task_type"]): row for row in connection.execute(statement).mappings()}


def latest_references(connection: Connection) -> dict[str, RowMapping]:
    """The newest known reference of each task type."""
    newest = select(func.max(reference.c.night)).scalar_subquery()
    statement = select(reference).where(reference.c.night == newest)
    return {row["task_type"]: row for row in connection.execute(statement).mappings()}
