"""Simulated verdicts: a valid answer to any JSON schema, passing with a given probability."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from worker.demo.judge.wire import Answer, completion

DEPTH_LIMIT = 20  # of a schema that refers to itself


def simulated_verdict(request: Mapping[str, Any], p_pass_of: Callable[[str], float]) -> Answer:
    """A valid answer to the JSON schema of a request, passing with a given probability.

    Deterministic: the same prompt always gets the same verdict, in every process and order.

    Args:
        request: The JSON of a chat-completions request. The schema is that of `response_format` or of the first tool,
            else one on the last line of the last message; without any, the answer is `{"verdict": …}`.
        p_pass_of: Probability 0..1 that a prompt (all messages, joined by newlines) deserves a pass.

    Example:
        >>> request = {"messages": [{"role": "user", "content": "Is it done?"}]}
        >>> simulated_verdict(request, lambda prompt: 1.0).body["choices"][0]["message"]["content"]
        '{"verdict":"pass"}'
    """
    contents = [message.get("content") for message in request.get("messages", ()) if isinstance(message, dict)]
    texts = [content for content in contents if isinstance(content, str)]
    prompt = "\n".join(texts)
    draw = int.from_bytes(hashlib.blake2b(prompt.encode("utf-8", "replace"), digest_size=8).digest()) / 2**64
    schema = _asked_schema(request, texts)
    content = orjson.dumps(_fill(schema, schema, passes=draw < p_pass_of(prompt))).decode()
    function = _asked_function(request)
    return completion(content, prompt=prompt, tool=None if function is None else str(function.get("name")))


def _asked_schema(request: Mapping[str, Any], texts: list[str]) -> Mapping[str, Any]:
    form = request.get("response_format")
    if isinstance(form, dict) and isinstance(json_schema := form.get("json_schema"), dict):
        schema = json_schema.get("schema")
        if isinstance(schema, dict):
            return schema
    function = _asked_function(request)
    if function is not None and isinstance(function.get("parameters"), dict):
        return dict(function["parameters"])
    tail = texts[-1].rpartition("\n")[2] if texts else ""
    try:
        value = orjson.loads(tail)
    except orjson.JSONDecodeError:
        value = None
    default = {"type": "object", "properties": {"verdict": {"enum": ["pass", "fail"]}}}
    return value if isinstance(value, dict) and "properties" in value else default


def _asked_function(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function of the first tool."""
    tools = request.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    function = first.get("function") if isinstance(first, dict) else None
    return function if isinstance(function, dict) else None


def _fill(schema: object, root: Mapping[str, Any], *, passes: bool, depth: int = 0) -> object:
    """A value that satisfies the schema, for the parts of JSON Schema that judges' schemas use."""
    if not isinstance(schema, dict) or depth > DEPTH_LIMIT:
        return None
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _choose(schema["enum"], passes)
    inner = _inner(schema, root)
    if inner is not None:
        return _fill(inner, root, passes=passes, depth=depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind == "object":
        fields = schema.get("properties", {}).items()
        return {name: _fill(value, root, passes=passes, depth=depth + 1) for name, value in fields}
    if kind == "array":
        return [_fill(schema.get("items"), root, passes=passes, depth=depth + 1)] * schema.get("minItems", 0)
    return _scalar(kind, schema, passes)


def _inner(schema: Mapping[str, Any], root: Mapping[str, Any]) -> object:
    """The schema behind a `$ref`, or the first alternative that is not null; None for a plain schema."""
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#").split("/")[1:]:
            target = target.get(part, {}) if isinstance(target, dict) else {}
        return target
    for key in ("anyOf", "oneOf", "allOf"):
        options = [option for option in schema.get(key, ()) if option != {"type": "null"}]
        if options:
            return options[0]
    return None


def _choose(options: list[Any], passes: bool) -> object:
    """`pass` or `fail` where they are offered; else the last or the first option, since levels go from worst up."""
    verdict = "pass" if passes else "fail"
    if verdict in options:
        return verdict
    levels = [option for option in options if option not in ("unknown", None)] or options
    return levels[-1] if passes else levels[0]


def _scalar(kind: object, schema: Mapping[str, Any], passes: bool) -> object:
    if kind == "boolean":
        return passes
    if kind in ("integer", "number"):
        return schema.get("maximum", 1) if passes else schema.get("minimum", 0)
    if kind == "null":
        return None
    text = "Simulated: the run did what was asked." if passes else "Simulated: the run did not do what was asked."
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", 200)]
