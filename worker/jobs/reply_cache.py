"""Kept answers: the same question to the same judge is not paid for twice within some days.

That happens where a run is asked about again though nothing changed for the judge: a night that a rubric with another
threshold takes over, a backfill, a replay. Only answers that held a verdict are kept. They are written in the
transaction that settles their job, so that none is lost that was paid for, and looked up for all questions of a claim
in one query.
"""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import orjson
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from worker.errors import StoreError
from worker.project.project import Project
from worker.records import CACHED, Question, Reply, Scoring
from worker.store.queue import replies
from worker.store.queue.job import Job

log = logging.getLogger("spotcheck")
_NOT_ASKED = frozenset({"prompt_hash", "digest_version", "is_repeated", "service_tier"})
"""Fields of a question that are not sent, or decide only how it is bought."""
_REUSING = ("production", "backfill", "bridge", "asked")
"""Purposes for which an answer of before is as good as a new one; anchors are asked to see the judge change."""
_ROUTING = frozenset({"prompt_cache_key"})
"""Parameters that decide which machine answers, not what."""
PRUNED_AT_ONCE = 2_000


def can_reuse(job: Job) -> bool:
    """Whether a job may be given what was answered before: not an anchor, and no repetition."""
    return job.purpose in _REUSING and job.replicate == 0


def answers_to_keep(
    server: str, scoring: Scoring | None, keys: Mapping[int, str] = MappingProxyType({})
) -> dict[str, bytes]:
    """The answers behind a scoring that are worth keeping, packed, by key; not those that were kept before.

    Args:
        server: The judge's address.
        scoring: None holds nothing.
        keys: Keys that were made already, by `id` of the question.
    """
    result: dict[str, bytes] = {}
    while scoring is not None:
        for question, reply in scoring.answers:
            body = None if reply.judging.service_tier == CACHED else pack(reply)
            if body is not None:
                result[keys.get(id(question)) or key_of(server, question)] = body
        scoring = scoring.overruled
    return result


def key_of(server: str, question: Question) -> str:
    """What an answer is kept under: SHA-256, 64 hex, over the server's address and all that a question sends.

    Args:
        server: Address of the judge, empty for the default one; another server's answer is another answer.
        question: As it is sent; the messages count in full, for the sixteen digits of a prompt's hash are too few to
            stand for a text alone.

    Example:
        >>> from worker.records import Message
        >>> messages = (Message("user", "Is it done?"),)
        >>> question = Question(messages=messages, answer_schema={}, schema_name="s", model="m", prompt_hash="h")
        >>> key_of("", question) == key_of("", question.model_copy(update={"prompt_hash": "another"}))
        True
        >>> key_of("", question) == key_of("", question.model_copy(update={"model": "n"}))
        False
    """
    sent = {name: getattr(question, name) for name in sorted(Question.model_fields) if name not in _NOT_ASKED}
    sent["params"] = {name: question.params[name] for name in sorted(question.params) if name not in _ROUTING}
    try:  # the schema is not sorted: the order in which a judge writes is a part of what is asked
        text = orjson.dumps([server, sent], default=_plain)
    except orjson.JSONEncodeError:  # a run's text may hold a lone surrogate, which UTF-8 cannot carry
        text = json.dumps([server, sent], default=_plain).encode("ascii")
    return hashlib.sha256(text).hexdigest()


def _plain(value: object) -> object:
    """Messages and mappings as JSON knows them; anything else by its text."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else str(value)


def pack(reply: Reply) -> bytes | None:
    """A reply as it is kept; None for one with a lone surrogate, which UTF-8 cannot carry."""
    try:
        return reply.model_dump_json().encode()
    except (PydanticSerializationError, UnicodeEncodeError):
        return None


def unpack(body: bytes) -> Reply | None:
    """A kept reply as if it were given now: without cost and latency, with the tokens of then.

    Returns:
        None when another version of Spotcheck kept it.
    """
    try:
        reply = Reply.model_validate_json(body)
    except ValidationError:
        return None
    free = {"service_tier": CACHED, "cost_usd": 0.0, "latency_ms": 0.0}
    return reply.model_copy(update={"judging": reply.judging.model_copy(update=free)})


class _Lookup(NamedTuple):
    """A question that is looked up."""

    key: str
    result: "asyncio.Future[Reply | None]"


class ReplyCache:
    """Looks up what was answered before: one query for all questions that come in one turn of the event loop.

    Serves one event loop at a time.
    """

    def __init__(self, project: Project) -> None:
        """Prepare; `[judge] answers_days` says how old an answer may be."""
        self.server = project.settings.judge.base_url or ""
        self.days = project.settings.judge.answers_days
        self.looking: Counter[str] = Counter()
        """Questions that are being looked up, by model."""
        self._store = project.store
        self._next: list[_Lookup] = []
        """Whose query has not begun."""
        self._waiting: set[asyncio.Future[Reply | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_warned = False

    async def find(self, key: str, model: str) -> Reply | None:
        """The answer that was given before; None when there is none, or the store does not answer.

        Raises:
            asyncio.CancelledError: `cancel_waiting` was called meanwhile.
        """
        loop = asyncio.get_running_loop()
        lookup = _Lookup(key, loop.create_future())
        if not self._next:
            loop.call_soon(self._begin)  # after all questions of this turn of the loop
        self._next.append(lookup)
        self._waiting.add(lookup.result)
        self.looking[model] += 1
        try:
            return await lookup.result
        finally:
            self.looking[model] -= 1
            self._waiting.discard(lookup.result)

    def cancel_waiting(self) -> None:
        """Cancel all who wait, before the judge is asked for them."""
        for result in self._waiting:
            result.cancel()

    def _begin(self) -> None:
        lookups, self._next = self._next, []
        task = asyncio.get_running_loop().create_task(self._look_up(lookups))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, lookups: list[_Lookup]) -> None:
        bodies: dict[str, bytes] = {}
        try:
            bodies = await asyncio.to_thread(self._read, [lookup.key for lookup in lookups])
        except StoreError as error:  # then the judge is asked, and paid once more
            if not self._is_warned:
                log.warning("kept answers cannot be looked up: %s", error)
            self._is_warned = True
        finally:
            for lookup in lookups:
                if not lookup.result.done():
                    lookup.result.set_result(unpack(bodies[lookup.key]) if lookup.key in bodies else None)

    def _read(self, keys: list[str]) -> dict[str, bytes]:
        # by this machine's clock: minutes do not matter to an age of days
        since = datetime.now(UTC) - timedelta(days=self.days)
        with self._store.read() as connection:
            return replies.get_many(connection, keys, since)


def prune(project: Project) -> int:
    """Delete what is too old to be used, a few thousand at a time, so that no other write waits for long.

    Returns:
        Answers that were deleted.
    """
    with project.store.read() as connection:
        before = project.store.now(connection) - timedelta(days=project.settings.judge.answers_days)
        if not replies.is_any_older(connection, before):
            return 0
    with project.store.write() as connection:
        return replies.prune(connection, before, PRUNED_AT_ONCE)
