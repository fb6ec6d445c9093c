"""A question to the judge, and a good answer to it."""

from typing import Any

from worker.demo.judge.server import completion
from worker.records import Message, Question

SCHEMA = {"type": "object", "properties": {"verdict": {"enum": ["pass", "fail"]}}, "required": ["verdict"]}
GOOD = completion('{"verdict":"pass"}', prompt="x" * 400, model="judge-2026")


def a_question(**over: Any) -> Question:
    fields: dict[str, Any] = {
        "messages": (Message("system", "You are a judge."), Message("user", "Was it done?")),
        "answer_schema": SCHEMA,
        "schema_name": "task_completion",
        "model": "judge",
        "params": {"temperature": 0},
        "prompt_hash": "0123456789abcdef",
        "digest_version": "3",
    }
    return Question(**(fields | over))
