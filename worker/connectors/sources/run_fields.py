"""The fields of a run from a document: plain ones at once, others by the tables of `core.intake`.

An optional field never costs a run: what cannot be read is left out and counted. Most documents are plain, and pay one
look at the type of each value.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson

from worker.connectors.sources.fields import (
    INT,
    NUMBER,
    OURS,
    STR,
    USUAL,
    is_nothing,
    other_names,
    rest,
    text,
    unread,
)
from worker.connectors.sources.step_fields import step_list
from worker.core.intake.names import NOT_ENDED, spelt, status_of
from worker.core.intake.notices import Noticed
from worker.core.intake.stamps import BELIEVABLE, believable, stamp
from worker.core.intake.values import LARGEST, number, says_no_error, says_nothing
from worker.errors import IngestError
from worker.records import Run
from worker.settings.sections_sampling import IntakeSection

ERROR_CHARS = 2_000
REQUIRED = frozenset({"run_id", "source", "task_type", "status", "ended_at"})
"""Identity, task type, status and time: without these a document is no run. All other fields are optional."""

_RUN_FIELDS = frozenset(Run.model_fields) - OURS
_STATUSES = frozenset({"completed", "aborted", "errored", "incomplete"})
_CHOICES: Mapping[str, frozenset[str]] = {
    "content": frozenset({"full", "partial", "none"}),
    "cost_source": frozenset({"client", "price_table", "unknown"}),
}
_IDS = ("run_id", "agent", "agent_version", "session_id", "user_id", "trace_id", "root_span_id", "model")
"""Many sources send these as numbers, and some write nothing as a word: all runs would be of one session."""
_ROUNDED = 2.0**53
"""From here on a number with a fraction or beyond 64 bits is rounded as it is read: two ids would become one."""
_RUN_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("source", "input", "output"), STR),
    **dict.fromkeys(("input_tokens", "output_tokens"), INT),
    **dict.fromkeys(("cost_usd", "latency_ms"), NUMBER),
}
"""Types that a value of these fields of a run is taken with as it is; the others are looked at one by one."""


def run_fields(document: Mapping[str, Any], limits: IntakeSection, noticed: Noticed) -> dict[str, Any]:
    """The fields of a run; validation says what is wrong with the required ones.

    Raises:
        IngestError: The run has not ended, or an id cannot be told from another.
    """
    fields, left = _given(document, noticed)
    _identify(fields)
    fields["tags"] = _tags(left, document.get("tags"), noticed)
    was_cut = False
    for key in ("input", "output"):
        if key in fields:
            fields[key], cut = text(fields[key], limits.max_text_chars)
            was_cut |= cut
    if "steps" in fields:
        fields["steps"], left_out = step_list(fields["steps"], limits, noticed)
        was_cut |= left_out
    if "cost_usd" in fields and "cost_source" not in fields:
        fields["cost_source"] = "client"
    if "content" not in fields:
        has_any = "input" in fields or "output" in fields or bool(fields.get("steps"))
        fields["content"] = "none" if not has_any else "partial" if was_cut else "full"
    _latency(fields, noticed)
    return fields


def _given(document: Mapping[str, Any], noticed: Noticed) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a document gives of our fields, under whatever name, and everything else."""
    fields: dict[str, Any] = {}
    left: dict[str, Any] = {}
    for name, value in document.items():
        if value is None or name in OURS:
            continue
        if name not in _RUN_FIELDS:
            left[name] = value
            continue
        types = _RUN_TYPES.get(name)
        if types and type(value) in types and (types is STR or 0 <= value <= USUAL):
            fields[name] = value
        elif (read := _run_value(name, name, value, noticed)) is not None:
            fields[name] = read
    if left:
        unread = {}
        for field, (name, value) in other_names("run", fields, left).items():
            if (read := _run_value(field, name, value, noticed)) is not None:
                fields[field] = read
            else:
                unread[name] = value
        rest(fields, left, noticed, "run")
        left |= unread
    return fields, left


def _run_value(field: str, name: str, value: Any, noticed: Noticed) -> Any:  # noqa: ANN401 any JSON value
    """The value of a run's field; None where there is nothing, or nothing that can be read, which is counted."""
    reader = _READERS.get(field)
    read = value if reader is None else reader(field, name, value)
    if read is None:
        if field not in REQUIRED and not (says_no_error(value) if field == "error" else says_nothing(value)):
            unread("run", field, name, value, noticed)
    elif name != field:
        noticed.add("renamed", "run", name, field)
    elif field == "status" and read != value:
        noticed.add("renamed", "run", f"status {value}", read)
    return read


def _time(field: str, _: str, value: object) -> object:
    if type(value) is str and value[4:5] == "-":  # nearly all; validation brings it to UTC
        with suppress(ValueError):
            at = datetime.fromisoformat(value)
            if at.tzinfo is not None and at.year in BELIEVABLE:
                return at
    if field == "started_at":
        return believable(value)
    read = stamp(value)
    return value if read is None else read  # validation says what is wrong with it


def _status(_: str, __: str, value: object) -> object:
    if not isinstance(value, str) or value in _STATUSES:
        return value
    if spelt(value) in NOT_ENDED:
        raise IngestError(f"status is {value[:60]!r}: this run has not ended; send it when it has")
    return status_of(value) or value


def _task_type(_: str, __: str, value: object) -> object:
    return None if isinstance(value, str) and value.strip() and is_nothing("task_type", value) else value


def _reason(field: str, _: str, value: object) -> str | None:
    return None if is_nothing(field, value) else text(value, ERROR_CHARS)[0]


def _choice(field: str, _: str, value: object) -> object:
    return value if isinstance(value, str) and value in _CHOICES[field] else None


def _vendor_ids(_: str, __: str, value: object) -> object:
    if not isinstance(value, Mapping):
        return None
    return {key: text(one, ERROR_CHARS)[0] for key, one in value.items() if one is not None}


def listed(value: object) -> list[Any] | None:
    """A list, also one that was written as JSON text; None where there is none."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, list) else None


def _id(field: str, _: str, value: object) -> object:
    if isinstance(value, str):
        return None if value and is_nothing(field, value) and not value.isspace() else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if field == "run_id" and isinstance(value, float) and abs(value) >= _ROUNDED:
            raise IngestError(f"run_id is the number {value:g}, too large to be read exactly; send it as text")
        return str(value)
    if field == "agent" and isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return value["name"]
    return value if field == "run_id" else None


_READERS: Mapping[str, Callable[[str, str, Any], Any]] = {
    **dict.fromkeys(LARGEST, number),
    **dict.fromkeys(("started_at", "ended_at"), _time),
    **dict.fromkeys(_IDS, _id),
    **dict.fromkeys(("error", "stop_reason"), _reason),
    **dict.fromkeys(_CHOICES, _choice),
    "status": _status,
    "task_type": _task_type,
    "vendor_ids": _vendor_ids,
    "steps": lambda _, __, value: listed(value),
}
"""How a field of a run is read where its type alone does not say that it is plain; the others are taken as they are."""


def _identify(fields: Mapping[str, Any]) -> None:
    for key in ("run_id", "source", "task_type", "agent", "agent_version"):
        if isinstance(fields.get(key), str) and "\0" in fields[key]:
            raise IngestError(f"{key} holds a NUL character")
    for key in ("run_id", "task_type"):
        if isinstance(fields.get(key), str) and fields[key].isspace():
            raise IngestError(f"{key} is blank")


def _tags(left: Mapping[str, Any], nested: object, noticed: Noticed) -> dict[str, Any]:
    """Everything the document says beyond the fields of a run."""
    if isinstance(nested, Mapping):
        return {**left, **nested}
    if nested is None:
        return dict(left)
    noticed.add("mended", "run", "`tags` that is no object", "kept as a tag of that name")
    return {**left, "tags": nested}


def _latency(fields: dict[str, Any], noticed: Noticed) -> None:
    if "latency_ms" in fields or not isinstance(fields.get("ended_at"), datetime):
        return
    if "started_at" in fields:
        passed_ms = (fields["ended_at"] - fields["started_at"]).total_seconds() * 1000
        if passed_ms >= 0:
            fields["latency_ms"] = passed_ms
        else:
            noticed.add("mended", "run", "an end before the start", "their latency is not known")
