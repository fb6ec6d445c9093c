"""Answers that judges gave, kept for some days, so that the same question is not paid twice."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from worker.store.payload import pack, unpack
from worker.store.tables import AnswerRow, core

answer = core(AnswerRow)
MAX_BYTES = 64 * 1024
"""Of one answer; a verdict has one or two thousand, and what is longer is not worth a row."""
_IN_CHUNK = 500


def get_many(connection: Connection, keys: Sequence[str], since: datetime) -> dict[str, bytes]:
    """The answers that are known and not older than `since`, as they were given to `put_many`, by key."""
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), _IN_CHUNK):
        statement = select(answer.c.key, answer.c.reply).where(
            answer.c.key.in_(list(keys[start : start + _IN_CHUNK])), answer.c.created_at >= since
        )
        found |= {key: unpack(body) for key, body in connection.execute(statement)}
    return found


def put_many(connection: Connection, replies: Mapping[str, bytes], now: datetime) -> int:
    """Keep answers by key; a new one takes the place of an old one, and what is too long is left out.

    Locks its rows in the order of their keys, so that two workers with the same answers wait for one another at most.

    Returns:
        How many are kept.
    """
    rows = [
        {"key": key, "reply": pack(reply), "created_at": now}
        for key, reply in sorted(replies.items())
        if len(reply) <= MAX_BYTES
    ]
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        insert = dialect.insert(answer)
        new = {name: insert.excluded[name] for name in ("reply", "created_at")}
        connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_=new), rows)
    return len(rows)


def is_any_older(connection: Connection, than: datetime) -> bool:
    """Whether there is something to prune. Uses ix_answer_created_at."""
    return connection.execute(select(answer.c.key).where(answer.c.created_at < than).limit(1)).first() is not None


def prune(connection: Connection, before: datetime, most: int) -> int:
    """Forget answers older than `before`, the oldest first, at most so many; those that another prunes are its own.

    Returns:
        How many are gone. Uses ix_answer_created_at.
    """
    oldest = (
        select(answer.c.key)
        .where(answer.c.created_at < before)
        .order_by(answer.c.created_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(answer).where(answer.c.key.in_(oldest))).rowcount
