"""The JSON value of a judge's answer, and whether it is the agreed one."""

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from worker.core.judging.answer_text import object_text
from worker.core.judging.fitting import fitted
from worker.errors import VerdictUnreadable

MAX_ANSWER_CHARS = 200_000


def json_of(content: str) -> object:
    """The JSON value of an answer, without what servers and models put around it; see `answer_text`.

    Half an emoji, and a line break within a string, are taken as they are, since some writers of JSON make them. A
    doubled key is not, since it may say two things, and neither is NaN.

    Raises:
        VerdictUnreadable: Too long, not JSON, or a doubled key.
    """
    text = content.strip()
    if len(text) > MAX_ANSWER_CHARS:
        raise VerdictUnreadable(f"the answer has {len(text):,} characters")
    try:
        answer = _loaded(text)
    except (ValueError, RecursionError):
        try:
            answer = _loaded(object_text(text))
        except (ValueError, RecursionError) as error:
            raise VerdictUnreadable(f"the answer is not JSON: {error}") from None
    if isinstance(answer, str) and (inner := object_text(text)) != text:  # JSON that was written as JSON once more
        try:
            answer = _loaded(inner)
        except (ValueError, RecursionError) as error:
            raise VerdictUnreadable(f"the answer is JSON within a text, and that is not JSON: {error}") from None
    return _called_with(answer)


def _loaded(text: str) -> object:
    answer: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, strict=False)
    return answer


def _called_with(answer: object) -> object:
    """The arguments, where an answer is the text of a tool call; else the answer."""
    is_call = isinstance(answer, dict) and {"name", "arguments"} <= answer.keys() <= {"name", "arguments", "id", "type"}
    return answer["arguments"] if isinstance(answer, dict) and is_call and isinstance(answer["name"], str) else answer


def is_as_agreed(content: str, schema: Mapping[str, Any]) -> bool:
    """Whether a text is an answer that satisfies a schema, by itself or in what is put around answers."""
    try:
        return _satisfies(json_of(content), schema)
    except VerdictUnreadable:
        return False


def is_of_another_shape(content: str, schema: Mapping[str, Any]) -> bool:
    """Whether a text is one JSON object that does not satisfy a schema; False where it is no JSON."""
    try:
        return not _satisfies(json_of(content), schema)
    except VerdictUnreadable:
        return False


def _satisfies(answer: object, schema: Mapping[str, Any]) -> bool:
    validator = Draft202012Validator(schema)
    return bool(validator.is_valid(answer) or validator.is_valid(fitted(answer, schema)))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
