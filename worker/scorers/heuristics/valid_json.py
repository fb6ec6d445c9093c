"""Whether the output is the JSON that its task type promises."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jsonschema
from pydantic import Field
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from worker.records import Outcome, Run, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt, identity
from worker.scorers.protocol import Context
from worker.settings.section import Section

MAX_CHARS = 1_000_000
MAX_DEPTH = 50
"""A validator follows a recursive schema some eight Python frames a level; this stays clear of their limit."""

_FENCE = "```"


class ValidJsonSettings(Section):
    """What `[scoring.schemas]` says."""

    schemas: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """JSON Schema of the output, by task type."""


class ValidJson(Heuristic):
    """1 when the output is JSON that satisfies the task type's schema (Draft 2020-12), 0 when it is not.

    One ```` ```json ```` fence around the document is allowed, prose beside it is not. `NaN` and `Infinity` are no
    JSON. Unscored without a schema, with a schema that is itself wrong, and for a document over 1 MB or nested over 50
    deep.

    Cannot see: whether the values are true; an empty object satisfies many schemas. `format` is not checked. References
    are never fetched. A slow regular expression in the operator's own `pattern` is as slow here.

    Any change of any schema starts a new series, for all task types: the series belongs to the scorer, as a rubric's
    does, and no rule says which edits of a schema leave which verdicts alone.
    """

    name = "valid_json"
    version = "1"

    def __init__(self, settings: ValidJsonSettings) -> None:
        self.settings: ValidJsonSettings = settings

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The caps, and the draft."""
        return {"draft": "2020-12", "max_chars": MAX_CHARS, "max_depth": MAX_DEPTH}

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Parse and validate."""
        schema = self.settings.schemas.get(run.task_type)
        if schema is None:
            return unscored("no_schema")
        if run.output is None and run.content != "full":
            return unscored("missing:run.output")
        text = unfenced(run.output or "")
        if len(text) > MAX_CHARS:
            return unscored("too_large:run.output")
        try:
            document = json.loads(text, parse_constant=_refuse)
        except RecursionError:
            return unscored("too_deep:run.output")
        except ValueError as error:
            return scored(0.0, label="fail", rationale=f"not JSON: {excerpt(str(error))}")
        if not is_shallow(document):
            return unscored("too_deep:run.output")
        return _validated(document, schema)


def unfenced(text: str) -> str:
    """The document without the one Markdown fence that may stand around all of it."""
    stripped = text.strip()
    if len(stripped) < 2 * len(_FENCE) or not (stripped.startswith(_FENCE) and stripped.endswith(_FENCE)):
        return stripped
    return stripped[len(_FENCE) : -len(_FENCE)].removeprefix("json").removeprefix("JSON")


def is_shallow(document: object) -> bool:
    """Whether a JSON value is nested at most `MAX_DEPTH` deep."""
    level: list[object] = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(outer: dict[str, object] | list[object]) -> list[object]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _validated(document: object, schema: Mapping[str, Any]) -> Outcome:
    try:
        _Validator.check_schema(dict(schema))
        error = next(_Validator(dict(schema), registry=EMPTY_REGISTRY).iter_errors(document), None)
    except (jsonschema.SchemaError, Unresolvable, re.error):
        return unscored("schema_invalid")
    except (RecursionError, OverflowError):
        return unscored("too_deep:run.output")
    if error is None:
        return scored(1.0, label="pass", rationale="satisfies the schema")
    return scored(0.0, label="fail", rationale=f"{excerpt(error.json_path)}: {excerpt(error.message)}")


def _unique_items(
    validator: object, is_unique: bool, instance: object, schema: object
) -> Iterator[jsonschema.ValidationError]:
    """Distinct items by hash; jsonschema compares every pair, which hostile output would make quadratic."""
    if is_unique and isinstance(instance, list) and len({identity(item) for item in instance}) < len(instance):
        yield jsonschema.ValidationError("the items are not unique")


# `extend` has no types in types-jsonschema
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"uniqueItems": _unique_items})  # type: ignore[no-untyped-call]
