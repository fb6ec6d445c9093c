"""One run document (`spotcheck.run/1`) to a Run: lenient in form, strict in facts, bounded in size.

Lenient: unknown fields become tags, texts that are not text become JSON text, null counts as not given, and an optional
field that cannot be read is left out and counted (`run_fields`).
Strict: identity, task type, status and time; a document that is wrong there is rejected with one line that says why.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from pydantic import ValidationError

from worker.connectors.sources.run_fields import REQUIRED, listed, run_fields
from worker.core.intake.names import field_of, meant
from worker.core.intake.notices import Notice, Noticed
from worker.core.intake.stamps import stamp
from worker.errors import IngestError
from worker.records import Run
from worker.settings.sections_sampling import IntakeSection

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ANCIENT_YEAR = 2000
"""Agents did not exist before; an earlier date is a clock that was never set."""
FUTURE_SLACK = timedelta(hours=24)
"""Clocks of other machines may be ahead by a time zone that was left out; not by more."""

REPLACED = "\ufffd"
"""Stands where half a character or foreign bytes stood; an id that holds one cannot be told from another."""
_A_TIME = "2026-11-23T14:02:00Z"
_MENDINGS = 3
"""Times that a run is validated anew without the fields that validation refused."""


class ParsedRun(NamedTuple):
    """A run with what the store needs beside it."""

    run: Run
    sha: str
    """Hash over the document as sent; another hash under the same id is a new revision."""
    payload: bytes
    """Input, output, steps, tags and vendor ids as JSON."""
    notices: tuple[Notice, ...] = ()
    """What of the document was not understood, or otherwise than written."""


def read(
    document: object,
    *,
    source: str,
    now: datetime,
    limits: IntakeSection,
    repairs: Mapping[str, str] = MappingProxyType({}),
) -> ParsedRun:
    """A run from one parsed document.

    Args:
        document: What the JSON line held, or a record of another format as a mapping with the same names.
        source: The `source` of a run whose document does not name one.
        now: The time of receipt, aware UTC.
        limits: Sizes beyond which texts are cut and steps left out.
        repairs: What was repaired to read the document, and what became of it.

    Returns:
        The run, its hash, its payload, and what was noticed.

    Raises:
        IngestError: One line: the field, what was found, what is allowed.
    """
    if not isinstance(document, dict):
        raise IngestError(f"not an object but {_kind(document)}; a run is one JSON object a line")
    given = {"source": source, "received_at": now}
    try:
        found = _parsed(document, given, limits, _repaired(repairs))
    except (orjson.JSONEncodeError, RecursionError):  # it cannot be written again as it is, or not as a payload
        noticed = _repaired(repairs)
        found = _parsed(_shallow(document, noticed), given, limits, noticed)
    _check_time(found.run, now)
    if repairs and (
        spoilt := [key for key in ("run_id", "source", "task_type") if REPLACED in getattr(found.run, key)]
    ):
        raise IngestError(f"{spoilt[0]} holds half a character, or bytes that are not UTF-8")
    return found


def _repaired(repairs: Mapping[str, str]) -> Noticed:
    noticed = Noticed()
    for what, became in repairs.items():
        noticed.add("mended", "run", what, became)
    return noticed


def _parsed(
    document: Mapping[str, Any], given: Mapping[str, Any], limits: IntakeSection, noticed: Noticed
) -> ParsedRun:
    """The run of a document, with the fields that are given where it has none.

    Raises:
        IngestError: It is no run.
        JSONEncodeError: Something in it is nested too deeply to be written.
    """
    sha = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    fields = {**given, **run_fields(document, limits, noticed)}
    run = _validated(fields, document, noticed)
    payload = {"input": run.input, "output": run.output, "tags": run.tags, "vendor_ids": run.vendor_ids}
    return ParsedRun(run, sha, orjson.dumps({**payload, "steps": fields.get("steps", ())}), noticed.of_a_run())


def _shallow(document: Mapping[str, Any], noticed: Noticed) -> dict[str, Any]:
    """The document without what is nested too deeply to be written again, in a step's field or in a field of its own.

    Raises:
        IngestError: What is left has no identity.
    """
    kept = {name: value for name, value in document.items() if name != "steps" and _is_writable(value)}
    steps = listed(document.get("steps"))
    if steps is not None:
        shallow = [_shallow_step(step, noticed) for step in steps]
        if _is_writable(*shallow):
            kept["steps"] = shallow
    for name in document.keys() - kept.keys():
        noticed.add("dropped", "run", name, "what is nested too deeply")
    if not any(field_of("run", name) == "run_id" for name in kept):
        raise IngestError("nested too deeply")
    return kept


def _shallow_step(step: object, noticed: Noticed) -> object:
    if not isinstance(step, dict) or _is_writable(step):
        return step
    kept = {name: value for name, value in step.items() if _is_writable({name: value})}
    for name in step.keys() - kept.keys():
        noticed.add("dropped", "step", name, "what is nested too deeply")
    return kept


def _is_writable(*values: object) -> bool:
    try:
        orjson.dumps([values])  # as deep as a tag or a step stands in a payload
    except (orjson.JSONEncodeError, RecursionError):
        return False
    return True


def _validated(fields: dict[str, Any], document: Mapping[str, Any], noticed: Noticed) -> Run:
    """The run; an optional field that validation refuses is left out and counted.

    Raises:
        IngestError: A required field is missing or wrong.
    """
    for _ in range(_MENDINGS):
        try:
            return Run.model_validate(fields)
        except ValidationError as error:
            refused = error.errors(include_url=False)
            if required := [_explain(fault, document) for fault in refused if fault["loc"][0] in REQUIRED]:
                raise IngestError("; ".join(dict.fromkeys(required))) from None
            _leave_out(refused, fields, noticed)
        except OverflowError:
            if not isinstance(fields["ended_at"], datetime):
                raise IngestError("a time stamp is outside the calendar") from None
            for step in fields.get("steps", ()):  # it is one of theirs
                if "started_at" in step and stamp(step["started_at"]) is None:
                    noticed.dropped("step", "started_at", step.pop("started_at"))
    raise IngestError("the fields contradict one another")


def _leave_out(refused: "Sequence[ErrorDetails]", fields: dict[str, Any], noticed: Noticed) -> None:
    for fault in refused:
        match fault["loc"]:
            case ("steps", int(index), str(name), *_):
                if name in fields["steps"][index]:
                    noticed.dropped("step", name, fields["steps"][index].pop(name))
                if name == "seq":
                    fields["steps"][index]["seq"] = index
            case (str(name), *_) if name in fields:
                noticed.dropped("run", name, fields.pop(name))


def _check_time(run: Run, now: datetime) -> None:
    if run.ended_at > now + FUTURE_SLACK:
        raise IngestError(f"ended_at {run.ended_at.isoformat()} lies in the future")
    if run.ended_at.year < ANCIENT_YEAR:
        raise IngestError(f"ended_at {run.ended_at.isoformat()} is before {ANCIENT_YEAR}: a clock that was never set?")


def _explain(fault: "ErrorDetails", document: Mapping[str, Any]) -> str:
    where = str(fault["loc"][0])
    if fault["type"] == "missing":
        if document.get(where) is not None:
            return f"{where} is {_shown(document[where])}, which is nothing"
        near = [name for name in document if name not in Run.model_fields and meant("run", name) == where]
        return f"{where} is missing" + (f" (is it {_shown(near[0])}?)" if near else "")
    said = f"{where} is {_shown(fault['input'])}"
    match fault["type"]:
        case "timezone_aware":
            return f"{where} {_shown(fault['input'])} has no time zone; write it like {_A_TIME}"
        case "string_too_long":
            return f"{said}, longer than {fault['ctx']['max_length']:,} characters"
        case "string_too_short":
            return f"{where} is empty"
    if where == "status":
        return f"{said}, which is none of completed, errored, aborted and incomplete, nor a usual word for one"
    if where == "ended_at":
        return f"{said}, which is no time; write it like {_A_TIME}"
    return f"{said}, which is no text"


def _shown(value: object) -> str:
    text = " ".join(repr(value[:100] if isinstance(value, str) else value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
