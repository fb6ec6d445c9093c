"""The reply cache: judges' answers kept for some days, so that the same question is not paid twice."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select

from worker.store.insert import insert_into
from worker.store.payload import pack, unpack
from worker.store.tables import AnswerRow, core

answer = core(AnswerRow)
MAX_BYTES = 64 * 1024
"""Longest answer that is kept; a verdict usually has one or two thousand bytes."""
_IN_CHUNK = 500


def get_many(connection: Connection, keys: Sequence[str], since: datetime) -> dict[str, bytes]:
    """The cached answers not older than `since`, by key, as they were given to `put_many`; others are absent."""
    replies: dict[str, bytes] = {}
    for start in range(0, len(keys), _IN_CHUNK):
        statement = select(answer.c.key, answer.c.reply).where(
            answer.c.key.in_(list(keys[start : start + _IN_CHUNK])), answer.c.created_at >= since
        )
        replies |= {key: unpack(body) for key, body in connection.execute(statement)}
    return replies


def put_many(connection: Connection, replies: Mapping[str, bytes], now: datetime) -> int:
    """Store answers by key, replacing older ones; answers over `MAX_BYTES` are left out.

    Rows are locked in the order of their keys, so that two workers with the same answers cannot deadlock.

    Returns:
        How many were stored.
    """
    rows = [
        {"key": key, "reply": pack(reply), "created_at": now}
        for key, reply in sorted(replies.items())
        if len(reply) <= MAX_BYTES
    ]
    if rows:
        insert = insert_into(connection, answer)
        new = {name: insert.excluded[name] for name in ("reply", "created_at")}
        connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_=new), rows)
    return len(rows)


def is_any_older(connection: Connection, than: datetime) -> bool:
    """Whether an answer is older than a time. Uses ix_answer_created_at."""
    return connection.execute(select(answer.c.key).where(answer.c.created_at < than).limit(1)).first() is not None


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete answers older than `before`, oldest first, at most `limit`; rows locked by another process are skipped.

    Returns:
        How many were deleted. Uses ix_answer_created_at.
    """
    oldest = (
        select(answer.c.key)
        .where(answer.c.created_at < before)
        .order_by(answer.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(answer).where(answer.c.key.in_(oldest))).rowcount
