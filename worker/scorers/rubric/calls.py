"""The calls behind one score: asked together, hashed, and counted as one."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from worker.records import CACHED, Ask, CriterionQuestion, Judging, Message, Question, Reply


def prompt_hash(messages: Sequence[Message], apart: Sequence[CriterionQuestion] = ()) -> str:
    """SHA-256 of the messages, and of the questions asked apart from them where there are any; first 16 hex.

    Example:
        >>> prompt_hash([Message("user", "hello")])
        'b963d64220a6c6e1'
    """
    parts: list[Any] = [[message.role, message.content] for message in messages]
    text = json.dumps([*parts, *apart], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def joined_hash(hashes: Sequence[str]) -> str:
    """The prompt hash of several calls: that of all where they asked the same, else a hash over theirs, 16 hex.

    Example:
        >>> joined_hash(["b963d64220a6c6e1", "b963d64220a6c6e1"])
        'b963d64220a6c6e1'
    """
    different = list(dict.fromkeys(hashes))
    return different[0] if len(different) == 1 else hashlib.sha256(",".join(different).encode()).hexdigest()[:16]


async def ask_all(ask: Ask, questions: Sequence[Question]) -> list[Reply]:
    """All replies, in the order of the questions; calls run together, and the first error stands for all."""
    if len(questions) == 1:
        return [await ask(questions[0])]

    async def coroutine(question: Question) -> Reply:  # a task wants a coroutine, and `ask` may give any awaitable
        return await ask(question)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine(question)) for question in questions]
    except BaseExceptionGroup as errors:  # callers know the errors, not groups of them
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def sum_judgings(judgings: Sequence[Judging]) -> Judging:
    """Several calls as one: sums where all values are known, None where one is not.

    Calls that asked the same have one prompt hash. They count as kept answers only where all of them are.
    """
    if len(judgings) == 1:
        return judgings[0]

    def total(field: str) -> Any:  # noqa: ANN401 int or float, as the field is
        values = [getattr(judging, field) for judging in judgings]
        return None if None in values else sum(values)

    served = sorted({judging.model_served for judging in judgings if judging.model_served})
    tiers = {judging.service_tier for judging in judgings}
    bought = sorted(tier for tier in tiers - {CACHED} if tier)
    fields = ("input_tokens", "cached_tokens", "output_tokens", "cost_usd", "latency_ms")
    return judgings[0].model_copy(
        update={field: total(field) for field in fields}
        | {
            "model_served": ", ".join(served) or None,
            "counts": next(filter(None, (judging.counts for judging in judgings)), None),
            "service_tier": CACHED if tiers == {CACHED} else ", ".join(bought) or None,
            "prompt_hash": joined_hash([judging.prompt_hash for judging in judgings]),
        }
    )
