"""A question with a schema, and the form in which a request asks for it."""

from collections.abc import Mapping
from typing import Any

from worker.demo.judge.server import completion
from worker.records import Message, Question

SCHEMA = {"type": "object", "properties": {"verdict": {"enum": ["pass", "fail"]}}, "required": ["verdict"]}


def a_question(asked_model: str = "judge", /, **params: Any) -> Question:
    return Question(
        messages=(Message("system", "Judge."), Message("user", "Was it done?")),
        answer_schema=SCHEMA,
        schema_name="verdict",
        model=asked_model,
        params=params,
        prompt_hash="0" * 16,
    )


def form_of(request: Mapping[str, Any]) -> str:
    return "tool" if "tools" in request else str(request.get("response_format", {}).get("type", "text"))


PROSE = completion("The agent did well, I think: it passes.", prompt="x" * 40)
