"""The fields of a step from its document: plain ones at once, others by the tables of `core.intake`."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from worker.connectors.sources.fields import (
    ANY,
    INT,
    NUMBER,
    STR,
    USUAL,
    is_nothing,
    other_names,
    rest,
    text,
    unread,
)
from worker.core.intake.names import EXIT_CODES, FAILED_FLAGS, STEP_STATUS, TOOL_ONLY, has_failed, kind_of, spelt
from worker.core.intake.notices import Noticed
from worker.core.intake.stamps import believable
from worker.core.intake.values import LARGEST, number, says_no_error, says_nothing, truth
from worker.records import Step
from worker.settings.sections_sampling import IntakeSection

_STEP_FIELDS = frozenset(Step.model_fields)
_STEP_KINDS = frozenset({"model", "tool", "agent", "other"})
_DATED = re.compile(r"2[01]\d\d-")
"""How a plain time of a step begins; others are looked at."""
_STEP_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(_STEP_FIELDS, ANY),
    **dict.fromkeys(("seq", "input_tokens", "output_tokens", "result_size"), INT),
    **dict.fromkeys(("duration_ms", "cost_usd"), NUMBER),
    **dict.fromkeys(("kind", "started_at", "result_sha"), STR),
}
"""Types that a value of a step's field is taken with as it is."""


def step_list(steps: list[Any], limits: IntakeSection, noticed: Noticed) -> tuple[list[dict[str, Any]], bool]:
    """The steps that are objects, beginning and end where there are too many, and whether any was left out."""
    places: Sequence[int] = range(len(steps))
    if len(steps) > limits.max_steps:
        half = limits.max_steps // 2
        places = [*places[: limits.max_steps - half], *places[len(steps) - half :]]
    read = [_step(steps[place], place, limits, noticed) for place in places if isinstance(steps[place], dict)]
    for place in places:
        if not isinstance(steps[place], dict):
            noticed.dropped("run", "steps", steps[place])
    return read, len(read) < len(steps)


def _step(step: Mapping[str, Any], index: int, limits: IntakeSection, noticed: Noticed) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in step.items():
        if value is None:
            continue
        types = _STEP_TYPES.get(name)
        if types is ANY or (types and type(value) in types and (types is STR or 0 <= value <= USUAL)):
            fields[name] = value
        else:
            fields = _mended_step(step, noticed)
            break
    else:
        if "started_at" in fields and not _DATED.match(fields["started_at"]):
            fields = _mended_step(step, noticed)
    if "seq" not in fields:
        fields["seq"] = index
    if "kind" not in fields:
        noticed.add("unknown_kind", "step", "")
        fields["kind"] = "other"
    elif fields["kind"] not in _STEP_KINDS:
        fields["kind"] = _kind(fields["kind"], noticed)
    _texts(fields, limits)
    return fields


def _texts(fields: dict[str, Any], limits: IntakeSection) -> None:
    """Texts of a step as text, and within the limits."""
    max_chars = limits.max_result_chars
    for key in ("error", "name", "model"):
        if key in fields:
            value = fields[key]
            if not value or (key != "name" and is_nothing(key, value)):
                del fields[key]
            elif type(value) is not str or len(value) > max_chars:
                fields[key] = text(value, max_chars)[0]
    result = fields.get("result")
    if result is not None and (type(result) is not str or len(result) > max_chars):
        _cut_result(fields, result, limits)


def _cut_result(fields: dict[str, Any], result: object, limits: IntakeSection) -> None:
    """A result as text, and within the limit; beyond it with its size and hash."""
    whole, _ = text(result, limits.max_line_bytes)
    fields["result"], cut = text(whole, limits.max_result_chars)
    if cut:
        fields["result_size"] = len(whole)
        fields["result_sha"] = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:16]


def _kind(value: str, noticed: Noticed) -> str:
    known = kind_of(value)
    if known is None:
        noticed.add("unknown_kind", "step", value or "(empty)")
        return "other"
    noticed.add("renamed", "step", f"kind {value}", known)
    return known


def _mended_step(step: Mapping[str, Any], noticed: Noticed) -> dict[str, Any]:
    """A step with other names, or with values that are not plain: as much of it as can be understood."""
    own: dict[str, tuple[str, Any]] = {}
    left: dict[str, Any] = {}
    for name, value in step.items():
        if value is not None:
            if name in _STEP_FIELDS:
                own[name] = (name, value)
            else:
                left[name] = value
    own |= other_names("step", own, left)
    fields: dict[str, Any] = {}
    ended = None
    _offsets(own, noticed)
    for field, (name, value) in own.items():
        read = _step_value(field, name, value)
        if read is None:
            if not says_nothing(value):
                unread("step", field, name, value, noticed)
            continue
        if name != field:
            noticed.add("renamed", "step", name, "duration_ms" if field == "ended_at" else field)
        if field == "ended_at":
            ended = read
        else:
            fields[field] = read
    _last(fields, ended)
    _called(fields, left, noticed)
    if "kind" not in fields and any(spelt(name) in TOOL_ONLY for name, _ in own.values()):
        fields["kind"] = "tool"
    _failed(fields, left)
    rest(fields, left, noticed, "step")
    return fields


def _offsets(own: dict[str, tuple[str, Any]], noticed: Noticed) -> None:
    """Milliseconds since the run began, where the names say so, as what they give: how long the step took."""
    names, ends = zip(*(own.get(field, ("", None)) for field in ("started_at", "ended_at")), strict=True)
    if not all(spelt(name).endswith("_ms") and type(at) in NUMBER for name, at in zip(names, ends, strict=True)):
        return
    if any(believable(at) is not None for at in ends) or not 0 <= ends[0] <= ends[1]:
        return
    for field, name in zip(("started_at", "ended_at"), names, strict=True):
        del own[field]
        noticed.add("renamed", "step", name, "duration_ms")
    own.setdefault("duration_ms", ("duration_ms", ends[1] - ends[0]))


def _last(fields: dict[str, Any], ended: Any) -> None:  # noqa: ANN401 a time, or None
    """How long a step took, by its end, where it does not say so itself."""
    started = fields.get("started_at")
    if ended and started and "duration_ms" not in fields and ended >= started:
        fields["duration_ms"] = (ended - started).total_seconds() * 1000


def _step_value(field: str, name: str, value: Any) -> Any:  # noqa: ANN401 any JSON value
    if field in LARGEST:
        return number(field, name, value)
    if field in ("started_at", "ended_at"):
        return believable(value)
    if field in ("kind", "result_sha"):
        return value if isinstance(value, str) else None
    if field == "name" and isinstance(value, Mapping):
        return value.get("name") if isinstance(value.get("name"), str) else None
    return value


def _called(fields: dict[str, Any], left: dict[str, Any], noticed: Noticed) -> None:
    """Name and arguments that stand in `function`, as OpenAI writes a tool call."""
    call = left.get("function")
    if isinstance(call, str) and call and "name" not in fields:
        call = {"name": call}
    if isinstance(call, Mapping) and isinstance(call.get("name"), str):
        del left["function"]
        noticed.add("renamed", "step", "function", "name")
        for name in ("name", "arguments"):
            if name not in fields and call.get(name) is not None:
                fields[name] = call[name]
        fields.setdefault("kind", "tool")


def _failed(fields: dict[str, Any], left: dict[str, Any]) -> None:
    """A step that says by a flag, a status or an exit code that it failed has an error, if it names none."""
    for name, value in list(left.items()):
        failed = _says_failed(spelt(name), value)
        if failed is None:
            continue
        del left[name]
        if failed and says_no_error(fields.get("error")):
            inner = value.get("message", value.get("description")) if isinstance(value, Mapping) else None
            beside = next((key for key in left if spelt(key) == "status_message"), None)
            told = inner or (left.pop(beside) if beside else None)
            fields["error"] = told if isinstance(told, str) and told else f"{name[:100]}: {str(value)[:100]}"


def _says_failed(name: str, value: object) -> bool | None:
    if name in STEP_STATUS:
        return has_failed(value)
    if name in FAILED_FLAGS:
        said = bool(value) if type(value) is int and value in (0, 1) else truth(value)
        return None if said is None else said is FAILED_FLAGS[name]
    if name in EXIT_CODES:
        code = number("seq", name, value.removeprefix("-") if isinstance(value, str) else value)
        return True if type(value) is int and value < 0 else None if code is None else code != 0
    if name == "errors" and isinstance(value, list):
        return bool(value)
    return None
