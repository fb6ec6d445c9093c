"""An answer that says what was asked for in a slightly other shape, brought into the agreed one.

Servers that enforce no schema leave the shape to the model, and models add a key, write `Pass`, or put everything into
one more object. What is said is plain all the same. Only the shape is changed here, never a word: what is missing stays
missing, a word that was not offered stays what it is, and what is said twice is left alone.
"""

import re
from collections.abc import Mapping
from typing import Any

_MOST_WRAPPERS = 2
_BETWEEN = re.compile(r"[\s_-]+")


def fitted(answer: object, schema: Mapping[str, Any]) -> object:
    """The answer in the shape that the schema asks for, as far as that changes nothing of what it says.

    Taken off or filled in: one or two objects or lists around it, keys that nobody asked for, the case of keys and of
    offered words, a list that is null or absent, a text where an object with one text is asked for, and a number that
    may be null and is none.

    Args:
        answer: Any JSON value; it is not changed.
        schema: Of the kind that `verdict.answer_schema` makes.

    Returns:
        A value that need not satisfy the schema.

    Example:
        >>> of = {"type": "object", "properties": {"verdict": {"type": "string", "enum": ["pass", "fail"]}}}
        >>> fitted({"result": {"Verdict": "PASS", "score": 9}}, of)
        {'verdict': 'pass'}
        >>> fitted({"Verdict": "pass", "verdict": "fail"}, of)  # two things
        {'Verdict': 'pass', 'verdict': 'fail'}
    """
    for _ in range(_MOST_WRAPPERS):
        inner = _inner(answer, schema)
        if inner is None:
            break
        answer = inner
    return _fitted(answer, schema)


def _inner(answer: object, schema: Mapping[str, Any]) -> object | None:
    """What one more object or list holds and nothing else; None where there is none around the answer."""
    if isinstance(answer, list):
        return answer[0] if len(answer) == 1 and isinstance(answer[0], dict) else None
    if not isinstance(answer, dict) or len(answer) != 1:
        return None
    ((key, value),) = answer.items()
    is_asked_for = _folded(key) in map(_folded, schema.get("properties", ()))
    return value if isinstance(value, dict | list) and not is_asked_for else None


def _fitted(value: object, schema: Mapping[str, Any]) -> object:
    if "properties" in schema:
        return _object(value, schema["properties"])
    if "enum" in schema:
        return _word(value, schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return _list(value, schema.get("items", {}))
    if isinstance(kind, list) and "integer" in kind and "null" in kind:
        return _number(value)
    return value


def _object(value: object, properties: Mapping[str, Mapping[str, Any]]) -> object:
    if isinstance(value, str):
        texts = [name for name, schema in properties.items() if schema.get("type") == "string"]
        value = {texts[0]: value} if len(texts) == 1 and "enum" not in properties[texts[0]] else value
    if not isinstance(value, dict):
        return value
    names = {_folded(name): name for name in properties}
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = key if key in properties else names.get(_folded(key))
        if name is None:
            continue
        if name in found:
            return value
        found[name] = _fitted(each, properties[name])
    absent = {name: _absent(schema) for name, schema in properties.items() if name not in found and _may_lack(schema)}
    return {name: {**found, **absent}[name] for name in properties if name in found or name in absent}


def _may_lack(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" or (isinstance(schema.get("type"), list) and "null" in schema["type"])


def _absent(schema: Mapping[str, Any]) -> list[Any] | None:
    return [] if schema.get("type") == "array" else None


def _list(value: object, items: Mapping[str, Any]) -> object:
    if value is None:
        return []
    many = value if isinstance(value, list) else [value]
    return [_fitted(each, items) for each in many]


def _word(value: object, offered: list[str]) -> object:
    """The offered word that differs in case alone, where there is one; else the value."""
    if not isinstance(value, str) or value in offered:
        return value
    alike = [word for word in offered if isinstance(word, str) and _folded(word) == _folded(value)]
    return alike[0] if len(alike) == 1 else value


def _number(value: object) -> object:
    """A whole number, also where it is written as text; None for anything else."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= 9:
        return int(value)
    is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return value if is_whole else None


def _folded(text: str) -> str:
    return _BETWEEN.sub("_", text.strip()).casefold()
