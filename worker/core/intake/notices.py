"""What was not understood, or understood otherwise than written: counted while runs are read, told once an intake."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from worker.core.intake.names import UNITS, Where, meant, spelt

What = Literal["renamed", "unknown", "unknown_kind", "dropped", "mended", "priced", "unpriced", "missing"]
"""Taken under another name; not a field; a kind that counts as other; a field left out; a text or number repaired;
a cost found by tokens; a model without a price; something that a run does not have, though much depends on it."""

_MOST = 500
"""Different notices that are kept of an intake; names come from outside. Further ones are counted together."""
_MOST_A_RUN = 100
_LONGEST = 60
_NAMED = 6
_LINES = 6
"""Lines of one kind of notice that are told one by one, and names within a line."""
_KINDS = "model, tool, agent, other"
Gap = Literal["content", "output", "cost"]
"""What a run may lack though much depends on it."""
_MISSING: Mapping[str, str] = {
    "content": "{count} {a} neither input nor output, and cannot be judged",
    "output": "{count} completed {a} no output, which counts as no answer",
    "cost": "{count} {a} no cost_usd, and no model with both counts of tokens for every call: the cost is unknown",
}
_UNITS: Mapping[str, str] = {
    "latency_ms": "latency_ms (milliseconds)",
    "duration_ms": "duration_ms (milliseconds)",
    "cost_usd": "cost_usd (US dollars)",
}
"""Fields whose unit is said where they are only asked about, since a number of another unit would be taken as it is."""


class Notice(NamedTuple):
    """One thing that was noticed."""

    what: What
    where: Where
    """Whether it is about runs or about their steps."""
    name: str
    """The field, kind or fault, as the source writes it; at most 60 characters."""
    detail: str
    """The field it was taken as, what became of it, or the first value that was dropped."""
    number: int
    """How many runs or steps."""

    @property
    def did_you_mean(self) -> str | None:
        """The field of ours that an unknown one was probably meant for."""
        return meant(self.where, self.name) if self.what == "unknown" and not self.detail else None


class Noticed:
    """Counts notices in bounded memory: of one run, or of a whole intake."""

    def __init__(self, most: int = _MOST_A_RUN) -> None:
        self._most = most
        self._found: dict[tuple[What, Where, str], tuple[str, int]] = {}

    def add(self, what: What, where: Where, name: str, detail: str = "", count: int = 1) -> None:
        """Count one; of notices that differ in the detail only, the first detail stays."""
        if len(name) > _LONGEST or not name.isidentifier():
            name = " ".join(name[:_LONGEST].split())
        key = (what, where, name)
        known = self._found.get(key)
        if known is None and len(self._found) >= self._most:
            key = (what, where, "…")
            known = self._found.get(key)
        self._found[key] = (detail[:_LONGEST], count) if known is None else (known[0], known[1] + count)

    def dropped(self, where: Where, field: str, value: object) -> None:
        """A value that cannot be read as its field."""
        self.add("dropped", where, field, _shown(value))

    def lacks(self, gap: Gap) -> None:
        """A run that lacks something on which much depends."""
        self.add("missing", "run", gap)

    def merge(self, notices: Iterable[Notice]) -> None:
        """Add what another has counted."""
        for notice in notices:
            self.add(*notice)

    def of_a_run(self) -> tuple[Notice, ...]:
        """Every notice, in no order that means anything."""
        return tuple([Notice(*key, *said) for key, said in self._found.items()]) if self._found else ()

    def all(self) -> tuple[Notice, ...]:
        """Every notice, the most frequent first; those of equal number by name."""
        return tuple(sorted(self.of_a_run(), key=lambda notice: (-notice.number, notice[:3])))


def of_an_intake() -> Noticed:
    """An empty count for a whole intake."""
    return Noticed(_MOST)


def sentences(notices: Sequence[Notice]) -> list[str]:
    """The notices for a person, a line each, at most some twenty; none where nothing was noticed.

    Example:
        >>> sentences([Notice("unknown", "step", "lattency_ms", "", 412)])
        ['412 steps have `lattency_ms`, which is not a field and is left out; did you mean duration_ms (milliseconds)?']
        >>> sentences([Notice("dropped", "run", "cost_usd", "'free'", 3)])
        ["3 runs have cost_usd that cannot be read, like 'free': left out"]
    """
    by_what: dict[What, list[Notice]] = {}
    for notice in notices:
        by_what.setdefault(notice.what, []).append(notice)
    said = _renamed(by_what.get("renamed", []))
    said += _some(by_what.get("dropped", []), "{count} {a} {field} that cannot be read, like {detail}: left out")
    said += _some(by_what.get("mended", []), "{count} {a} {field}: {detail}")
    for notice in by_what.get("missing", []):
        said += _some([notice], _MISSING[notice.name])
    priced = by_what.get("priced", [])
    if priced:
        said.append(
            f"runs without cost_usd, priced by their tokens: {_listed([f'{n.name} ({n.number:,})' for n in priced])}"
        )
    if unpriced := by_what.get("unpriced", []):
        named = _listed([f"{n.name} ({n.number:,})" for n in unpriced])
        said.append(
            f"runs whose cost stays unknown, of models without a price: {named}; give it in [judge.prices.MODEL]"
        )
    kinds = by_what.get("unknown_kind", [])
    said += _some(
        [notice for notice in kinds if notice.name],
        f"{{count}} {{a}} kind `{{name}}`, which counts as other; kinds are {_KINDS}",
    )
    said += [
        f"{_counted(notice)} {'have' if notice.number != 1 else 'has'} no kind, counted as other; kinds are {_KINDS}"
        for notice in kinds
        if not notice.name
    ]
    unknown = by_what.get("unknown", [])
    asked = [notice for notice in unknown if notice.did_you_mean]
    said += _some(
        [notice for notice in asked if notice.where == "step"],
        "{count} {a} `{name}`, which is not a field and is left out; did you mean {meant}?",
    )
    said += _some(
        [notice for notice in asked if notice.where == "run"],
        "{count} {a} `{name}`, which is not a field and is kept as a tag; did you mean {meant}?",
    )
    said += _rest("fields of steps that are left out", [n for n in unknown if n.where == "step" and not n.did_you_mean])
    return said + _rest("kept as tags", [n for n in unknown if n.where == "run" and not n.did_you_mean])


def as_json(notices: Sequence[Notice]) -> list[dict[str, object]]:
    """The notices as `ingest --json` has them, the most frequent first."""
    return [
        {
            "what": notice.what,
            "where": notice.where,
            "name": notice.name,
            "detail": notice.detail,
            "count": notice.number,
            "did_you_mean": notice.did_you_mean,
        }
        for notice in notices
    ]


def _renamed(notices: Sequence[Notice]) -> list[str]:
    named = [
        f"{notice.where}s' {notice.name}{_times(notice.name)} as {notice.detail} ({notice.number:,})"
        for notice in notices
    ]
    return [f"read under another name: {_listed(named)}"] if named else []


def _times(name: str) -> str:
    """What a number under this name was multiplied with, where its unit is not ours."""
    factor = UNITS.get(spelt(name), 1.0)
    return "" if factor == 1 else f" × {factor:,g}"


def _rest(what: str, notices: Sequence[Notice]) -> list[str]:
    named = [f"{notice.name} ({notice.number:,})" for notice in notices]
    return [f"{what}: {_listed(named)}"] if named else []


def _listed(named: Sequence[str]) -> str:
    more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def _some(notices: Sequence[Notice], form: str) -> list[str]:
    said = [
        form.format(
            count=f"{notice.number:,}",
            a=f"{notice.where}s have" if notice.number != 1 else f"{notice.where} has",
            field=notice.name,
            name=notice.name,
            detail=notice.detail,
            meant=_UNITS.get(notice.did_you_mean or "", notice.did_you_mean),
        )
        for notice in notices[:_LINES]
    ]
    left = len(notices) - len(said)
    return [*said, f"… and {left:,} more like this (--json names them)"] if left else said


def _counted(notice: Notice) -> str:
    return f"{notice.number:,} {notice.where}{'' if notice.number == 1 else 's'}"


def _shown(value: object) -> str:
    """A value, or its kind where it is large, on one line."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = " ".join(repr(value[: _LONGEST - 10] if isinstance(value, str) else value).split())
    return text if len(text) <= _LONGEST - 5 else f"{text[: _LONGEST - 10]}…"
