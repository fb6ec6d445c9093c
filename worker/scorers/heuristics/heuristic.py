"""What all heuristics share: an identity that includes their settings, no cost, and two ways to write briefly."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from worker.records import Outcome, Run, RunFilter, ScorerKey, Scoring
from worker.scorers.protocol import Context, MostTokens
from worker.scorers.typed_settings import changed_settings


class Heuristic(ABC):
    """A scorer made of code alone: no judge, no cost, no clock, and the same answer every time."""

    name: str
    version: str
    """Raised with every change of behaviour, which starts a new series."""
    settings: object = None
    """What its `__init__` was given, where that has a parameter `settings`; None for a heuristic without settings."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The constants that its values depend on; part of its identity."""
        return {}

    @cached_property
    def key(self) -> ScorerKey:
        """Its identity: a fingerprint over name, version, parameters and settings.

        Settings that have their default value do not count, so a release that adds one with a default that changes
        nothing moves no series. A stored scorer from before the heuristic had settings is found by
        `former_fingerprint`.
        """
        spec: dict[str, Any] = {"name": self.name, "version": self.version, "parameters": dict(self.parameters)}
        former = None
        if self.settings is not None:
            former = fingerprint(spec)
            spec["settings"] = changed_settings(self.settings)
        return ScorerKey(
            name=self.name,
            version=self.version,
            kind="heuristic",
            fingerprint=fingerprint(spec),
            spec=spec,
            former_fingerprint=former,
        )

    @property
    def applies_to(self) -> RunFilter:
        """Every run."""
        return RunFilter()

    @property
    def is_batchable(self) -> bool:
        """No: it asks nobody."""
        return False

    @property
    def calls(self) -> Mapping[str, int]:
        """None: it asks nobody."""
        return {}

    @property
    def max_tokens(self) -> tuple[MostTokens, ...]:
        """None: it asks nobody."""
        return ()

    @abstractmethod
    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Say of one run what can be said; linear in its size, and never raises."""

    async def score(self, run: Run, context: Context) -> Scoring:
        """Judge one run; see `Scorer.score`."""
        return Scoring(outcomes=(self.evaluate(run, context),))


def fingerprint(spec: Mapping[str, Any]) -> str:
    """First 16 hex of a SHA-256 over the JSON of a spec; the order of keys makes no difference.

    Example:
        >>> fingerprint({"name": "completed", "parameters": {}, "version": "1"})
        '8fae1f5d9c639efd'

    Raises:
        TypeError, ValueError: A part is no JSON, such as NaN.
    """
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def excerpt(text: str, limit: int = 80) -> str:
    r"""The beginning of a text on one line, fit for a rationale.

    Args:
        text: Anything an agent or a tool wrote.
        limit: The most characters of it.

    Returns:
        Whitespace and characters without a glyph become one space; what is cut ends in `…`.

    Example:
        >>> excerpt("two\nlines")
        'two lines'
    """
    head = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    line = re.sub(r"\s+", " ", head).strip()
    is_cut = len(line) > limit or len(text) > 4 * limit
    return line[: limit - 1] + "…" if is_cut else line


def identity(value: object) -> str:
    """A hash that two JSON values share exactly when they are equal: key order and `1` against `1.0` do not matter.

    Works with its own stack, so that no nesting is too deep, and on anything that is not JSON by its type and `repr`.

    Args:
        value: A JSON value.

    Returns:
        64 hex digits.

    Example:
        >>> identity({"a": 1, "b": [None]}) == identity({"b": [None], "a": 1.0})
        True
        >>> identity([1]) == identity([True])
        False
    """
    digest = hashlib.sha256()
    pending: list[object] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            named = sorted(((str(name), inner) for name, inner in item.items()), key=lambda pair: pair[0])
            digest.update(f"m{len(named)}:".encode())
            for name, inner in named:
                pending += (inner, _Name(name))
        elif isinstance(item, list | tuple):
            digest.update(f"l{len(item)}:".encode())
            pending += item
        else:
            text = _leaf(item).encode("utf-8", "surrogatepass")
            digest.update(f"{len(text)}:".encode() + text)
    return digest.hexdigest()


class _Name(str):
    """A key waiting for its turn, told apart from a string value."""

    __slots__ = ()


def _leaf(item: object) -> str:
    if isinstance(item, _Name):
        return "k" + item
    if isinstance(item, str):
        return "s" + item
    if isinstance(item, bool) or item is None:
        return f"c{item}"
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, int):
        return f"n{item:x}"  # hexadecimal: Python refuses to write very long integers in decimal
    return f"{type(item).__name__}{item!r}"
