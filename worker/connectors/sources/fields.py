"""What runs and steps have in common: fields under other names, texts, words for nothing, tokens in an object."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from worker.core.intake.names import MUST_SAY, Where, field_of, meant, rank, spelt
from worker.core.intake.notices import Noticed
from worker.core.intake.values import USAGE, says_no_error, says_nothing, token_field, usage

OURS = frozenset({"revision", "received_at", "tags"})
"""Fields of a run that a document does not decide, and `tags`, which is read apart."""
INT, NUMBER, STR, ANY = (int,), (int, float), (str,), ()
"""Types that a value of a field is taken with as it is; any for the last."""
USUAL = 1e9
"""A number between 0 and this is within the bounds of every field."""
_NO_WORD = 10
"""Characters from which a text is not looked at for being nothing; an `error` may say so in a few words."""
_FIRST_OF_NOTHING = frozenset("nNuU<fF0oO-{[\"' \t\r\nsS")
"""What the words for nothing begin with."""
_MOST_CACHED = 50


def text(value: object, limit: int) -> tuple[str, bool]:
    """A value as text, as JSON where it is none, and whether it was cut at the limit (characters)."""
    whole = value if isinstance(value, str) else orjson.dumps(value).decode()
    return (whole, False) if len(whole) <= limit else (whole[:limit], True)


def other_names(where: Where, fields: Mapping[str, Any], left: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Fields that came under another name, with that name and the value; they are taken out of what is left.

    A field that is given under our name is not looked for; of two other names the first of the table is taken.
    """
    names = tuple(left)
    candidates = _candidates(where, names) if len(names) <= _MOST_CACHED else _candidates.__wrapped__(where, names)
    taken: dict[str, tuple[str, Any]] = {}
    for field, name in candidates:
        if field not in fields and field not in taken:
            taken[field] = (name, left.pop(name))
    return taken


@lru_cache(maxsize=256)
def _candidates(where: Where, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Which names stand for a field of ours, the first choice first; a file's documents have the same names."""
    found = [(rank(where, name), name, field) for name in names if (field := field_of(where, name)) is not None]
    return tuple((field, name) for _, name, field in sorted(found) if field not in OURS)


def unread(where: Where, field: str, name: str, value: object, noticed: Noticed) -> None:
    """A value that cannot be read; under a name that says no unit it is no field at all."""
    if name != field and spelt(name) in MUST_SAY:
        noticed.add("unknown", where, name)
    else:
        noticed.dropped(where, name, value)


def _unknown(where: Where, name: str, fields: Mapping[str, Any], noticed: Noticed) -> None:
    """Count a name that is no field; the field that it may have been meant for is not asked about where it is given."""
    field = meant(where, name)
    noticed.add("unknown", where, name, f"beside {field}" if field in fields else "")


def is_nothing(key: str, value: object) -> bool:
    """Whether a field's value is nothing, or of an `error`, that there was none."""
    longest = _NO_WORD if key != "error" else 4 * _NO_WORD
    if type(value) is str and (len(value) >= longest or (value and value[0] not in _FIRST_OF_NOTHING)):
        return False
    return says_no_error(value) if key == "error" else says_nothing(value)


def rest(fields: dict[str, Any], left: Mapping[str, Any], noticed: Noticed, where: Where) -> None:
    """What is left of a document: tokens in an object of their own are taken, other fields are not known."""
    counted = _token_usage(fields, left, noticed, where)
    known = (counted, "model") if where == "run" else (counted,)  # a run's model is a tag that gives the price
    for name in left:
        if name in known:
            continue
        if len(left) <= _MOST_CACHED:
            _unknown(where, name, fields, noticed)
        else:  # what each of so many may have been meant for would take longer than all else
            noticed.add("unknown", where, name)


def _token_usage(fields: dict[str, Any], left: Mapping[str, Any], noticed: Noticed, where: Where) -> str | None:
    """Tokens that stand in an object of their own, where the document has no others; the name of the object."""
    name = next((name for name in left if spelt(name) in USAGE and isinstance(left[name], Mapping)), None)
    if name is None:
        return None
    counts = usage(left[name])._asdict()
    for inner, value in list(left[name].items())[:_MOST_CACHED]:
        field = token_field(inner)
        if field is not None and counts[field] is None and not says_nothing(value):
            noticed.dropped(where, f"{name}.{inner}", value)
    taken = {field: count for field, count in counts.items() if count is not None and field not in fields}
    if not taken:
        return None
    fields |= taken
    noticed.add("renamed", where, name, "tokens")
    return name
