"""One run document (`spotcheck.run/1`) to a Run: lenient in form, strict in facts, bounded in size.

Lenient: unknown fields become tags, texts that are not text become JSON text, null counts as not given.
Strict: identity, task type, status and time; a document that is wrong there is rejected with one line that says why.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from worker.errors import IngestError
from worker.records import Run, Step
from worker.settings.sections_sampling import IntakeSection

ANCIENT_YEAR = 2000
"""Agents did not exist before; an earlier date is a clock that was never set."""
FUTURE_SLACK = timedelta(hours=24)
"""Clocks of other machines may be ahead by a time zone that was left out; not by more."""

_RUN_FIELDS = frozenset(Run.model_fields) - {"revision", "received_at", "tags"}
_STEP_FIELDS = frozenset(Step.model_fields)
_STEP_KINDS = frozenset({"model", "tool", "agent", "other"})
_IDENTITY = ("run_id", "source", "task_type", "agent", "agent_version")
_IDS = ("run_id", "agent_version", "session_id", "user_id", "trace_id", "root_span_id")
"""Many sources send these as numbers."""
_ROUNDED = 2.0**53
"""From here on a number with a fraction or beyond 64 bits is rounded as it is read: two ids would become one."""
_ERROR_CHARS = 2_000
_LARGEST = {"input_tokens": 1e15, "output_tokens": 1e15, "cost_usd": 1e9, "latency_ms": 1e13}
"""Beyond this a number is a mistake of the source, and too large for a column or a sum."""
_STEPS = TypeAdapter(tuple[Step, ...])
_EXACT: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("seq", "input_tokens", "output_tokens", "result_size"), (int,)),
    **dict.fromkeys(("duration_ms", "cost_usd"), (int, float)),
    "started_at": (str,),
}
"""Fields of a step that validation may change, with what it leaves as it is."""


class ParsedRun(NamedTuple):
    """A run with what the store needs beside it."""

    run: Run
    sha: str
    """Hash over the document as sent; another hash under the same id is a new revision."""
    payload: bytes
    """Input, output, steps, tags and vendor ids as JSON."""


def read(document: object, *, source: str, now: datetime, limits: IntakeSection) -> ParsedRun:
    """A run from one parsed document.

    Args:
        document: What the JSON line held, or a record of another format as a mapping with the same names.
        source: The `source` of a run whose document does not name one.
        now: The time of receipt, aware UTC.
        limits: Sizes beyond which texts are cut and steps left out.

    Returns:
        The run, its hash, and its payload.

    Raises:
        IngestError: One line: the field, what was found, what is allowed.
    """
    if not isinstance(document, dict):
        raise IngestError(f"not an object but {_kind(document)}; a run is one JSON object a line")
    try:
        sha = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    except (orjson.JSONEncodeError, RecursionError):
        raise IngestError("nested too deeply") from None
    fields = _fields(document, limits)
    fields.setdefault("source", source)
    fields["received_at"] = now
    try:
        run = Run.model_validate(fields)
    except ValidationError as error:
        raise IngestError(_explain(error)) from None
    except OverflowError:
        raise IngestError("a time stamp is outside the calendar") from None
    _check_time(run, now)
    _check_numbers(run)
    payload = {"input": run.input, "output": run.output, "tags": run.tags, "vendor_ids": run.vendor_ids}
    return ParsedRun(run, sha, orjson.dumps({**payload, "steps": _as_read(fields.get("steps", ()), run)}))


def _as_read(steps: Sequence[Mapping[str, Any]], run: Run) -> object:
    """The steps as they were validated, so that a number that came as text is a number from here on.

    Writing them anew costs a third of the whole reading, and most sources send numbers as numbers.
    """
    for step in steps:
        for name, value in step.items():
            if name in _EXACT and type(value) not in _EXACT[name]:
                return orjson.Fragment(_STEPS.dump_json(run.steps, exclude_unset=True))
    return steps


def _fields(document: Mapping[str, Any], limits: IntakeSection) -> dict[str, Any]:
    fields = {key: value for key, value in document.items() if key in _RUN_FIELDS and value is not None}
    _identify(fields)
    if "latency_ms" not in fields and document.get("duration_ms") is not None:
        fields["latency_ms"] = document["duration_ms"]  # the name that most sources use
    fields["tags"] = _tags(document)
    was_cut = False
    for key in ("input", "output"):
        if key in fields:
            fields[key], cut = _text(fields[key], limits.max_text_chars)
            was_cut |= cut
    for key in ("error", "stop_reason"):
        if key in fields:
            fields[key] = _text(fields[key], _ERROR_CHARS)[0]
    if "steps" in fields:
        fields["steps"], left_out = _steps(fields["steps"], limits)
        was_cut |= left_out
    if isinstance(fields.get("vendor_ids"), Mapping):
        given = fields["vendor_ids"].items()
        fields["vendor_ids"] = {name: _text(value, _ERROR_CHARS)[0] for name, value in given if value is not None}
    if "cost_usd" in fields and "cost_source" not in fields:
        fields["cost_source"] = "client"
    if "content" not in fields:
        has_any = "input" in fields or "output" in fields or bool(fields.get("steps"))
        fields["content"] = "none" if not has_any else "partial" if was_cut else "full"
    _latency(fields)
    return fields


def _identify(fields: dict[str, Any]) -> None:
    if isinstance(fields.get("run_id"), float) and abs(fields["run_id"]) >= _ROUNDED:
        raise IngestError(f"run_id is the number {fields['run_id']:g}, too large to be read exactly; send it as text")
    for key in _IDS:
        if isinstance(fields.get(key), (int, float)) and not isinstance(fields[key], bool):
            fields[key] = str(fields[key])
    for key in _IDENTITY:
        if isinstance(fields.get(key), str) and "\0" in fields[key]:
            raise IngestError(f"{key} holds a NUL character")
    for key in ("run_id", "task_type"):
        if isinstance(fields.get(key), str) and fields[key].isspace():
            raise IngestError(f"{key} is blank")


def _tags(document: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the document says beyond the fields of a run."""
    tags = {key: value for key, value in document.items() if key not in _RUN_FIELDS and value is not None}
    for key in ("received_at", "revision", "duration_ms"):
        tags.pop(key, None)
    nested = tags.pop("tags", None)
    if isinstance(nested, Mapping):
        return {**tags, **nested}
    return tags if nested is None else tags | {"tags": nested}


def _steps(steps: object, limits: IntakeSection) -> tuple[list[dict[str, Any]], bool]:
    if not isinstance(steps, list):
        raise IngestError(f"steps is {_kind(steps)}; it must be a list of objects")
    kept = list(enumerate(steps))
    if len(steps) > limits.max_steps:
        half = limits.max_steps // 2
        kept = [*kept[: limits.max_steps - half], *kept[len(kept) - half :]]
    return [_step(step, index, limits) for index, step in kept], len(kept) < len(steps)


def _step(step: object, index: int, limits: IntakeSection) -> dict[str, Any]:
    if not isinstance(step, dict):
        raise IngestError(f"steps[{index}] is {_kind(step)}; a step is an object")
    fields = {key: value for key, value in step.items() if key in _STEP_FIELDS and value is not None}
    fields.setdefault("seq", index)
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in _STEP_KINDS:
        fields["kind"] = "other"
    max_chars = limits.max_result_chars
    for key in ("error", "name", "model"):
        value = fields.get(key)
        if not value:
            fields.pop(key, None)
        elif not isinstance(value, str) or len(value) > max_chars:
            fields[key] = _text(value, max_chars)[0]
    result = fields.get("result")
    if result is not None and (not isinstance(result, str) or len(result) > max_chars):
        whole, _ = _text(result, limits.max_line_bytes)
        fields["result"], cut = _text(whole, max_chars)
        if cut:
            fields["result_size"] = len(whole)
            fields["result_sha"] = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:16]
    return fields


def _text(value: object, limit: int) -> tuple[str, bool]:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return (text, False) if len(text) <= limit else (text[:limit], True)


def _latency(fields: dict[str, Any]) -> None:
    if "latency_ms" in fields or "started_at" not in fields or "ended_at" not in fields:
        return
    try:
        started, ended = (datetime.fromisoformat(str(fields[key])) for key in ("started_at", "ended_at"))
        passed_ms = (ended - started).total_seconds() * 1000
    except (ValueError, TypeError):
        return  # validation says what is wrong with the stamps
    if passed_ms >= 0:
        fields["latency_ms"] = passed_ms


def _check_time(run: Run, now: datetime) -> None:
    if run.ended_at > now + FUTURE_SLACK:
        raise IngestError(f"ended_at {run.ended_at.isoformat()} lies in the future")
    if run.ended_at.year < ANCIENT_YEAR:
        raise IngestError(f"ended_at {run.ended_at.isoformat()} is before {ANCIENT_YEAR}: a clock that was never set?")


def _check_numbers(run: Run) -> None:
    for name, limit in _LARGEST.items():
        value = getattr(run, name)
        if value is not None and value > limit:
            raise IngestError(f"{name} is {value:g}: more than any run can have")


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = " ".join(".".join(str(part) for part in first["loc"]).split())
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "timezone_aware":
        return f"{where} {first['input']!r} has no time zone; write it like 2026-11-23T14:02:00Z"
    value = repr(first["input"])
    return f"{where} is {value if len(value) <= 60 else value[:57] + '…'}: {first['msg']}"


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
