"""What all heuristics share: an identity, a price of nothing, and two ways to write things down briefly."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from worker.records import Outcome, Run, RunFilter, ScorerKey, Scoring
from worker.scorers.protocol import Context, MostTokens


class Heuristic(ABC):
    """A scorer made of code alone: no judge, no cost, no clock, and the same answer every time."""

    name: str
    version: str
    """Raised with every change of behaviour, which starts a new series."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The numbers its verdict depends on; part of its identity."""
        return {}

    @cached_property
    def key(self) -> ScorerKey:
        """Who it is, with a fingerprint over name, version and parameters."""
        spec = {"name": self.name, "version": self.version, "parameters": dict(self.parameters)}
        canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        fingerprint = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        return ScorerKey(name=self.name, version=self.version, kind="heuristic", fingerprint=fingerprint, spec=spec)

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
    def look(self, run: Run, context: Context) -> Outcome:
        """Say of one run what can be said; linear in its size, and never raises."""

    async def score(self, run: Run, context: Context) -> Scoring:
        """Judge one run; see `Scorer.score`."""
        return Scoring(outcomes=(self.look(run, context),))


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
