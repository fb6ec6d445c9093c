"""What must hold of every answer of the command matrix, whatever was asked."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.support.html_page import Page
from tests.support.matrix import Given
from tests.support.shell import Said
from worker.cli.commands.trends import FIELDS

_NEVER = re.compile(
    r"Traceback|sqlalchemy|psycopg|unexpected [A-Z]\w*(?:Error|Exception)|\bSELECT |\bGROUP BY\b|object at 0x|"
    r"\bNone\b|\bNaN\b|\bnan\b"
)
"""Of which nothing belongs into an answer for people."""
_CHANGING = {"at", "store", "database", "made_at", "received_at", "oldest_at", "next_at", "claimed_at"}
_URL = re.compile(r"(?:sqlite|postgresql(?:\+psycopg)?)://[^\s\"',;]*")


class Row(NamedTuple):
    """A command line that was run."""

    store: str
    command: str
    given: Given
    arguments: list[str]
    said: Said
    folder: Path

    @property
    def is_json(self) -> bool:
        return "as_json" in self.given or self.given.get("form") == "json"


def problems(row: Row, expected: frozenset[int]) -> Iterator[str]:
    """What is wrong with an answer, one line each."""
    said = row.said
    if said.code not in expected:
        yield f"exit {said.code} instead of {sorted(expected)}: {(said.err or said.out).strip()[-300:]!r}"
        return
    spoken = _URL.sub("URL", said.err if row.is_json else said.out + said.err)
    if wrong := _NEVER.search(spoken):
        yield f"says {spoken[max(0, wrong.start() - 60) : wrong.end() + 60]!r}"
    if said.code == 2 and (row.command != "rubric lint" or not said.out):
        if said.out:
            yield f"refused, and something on stdout: {said.out[:100]!r}"
        last = said.err.splitlines()[-1] if said.err else ""
        if not last.startswith("spotcheck: ") or len(said.err.splitlines()) > 3:
            yield f"not refused in one line: {said.err!r}"
        return
    if row.is_json:
        yield from _json(said)
    elif not said.out.strip():
        yield "silence"
    yield from _files(row)


def _json(said: Said) -> Iterator[str]:
    try:
        orjson.loads(said.out)
    except orjson.JSONDecodeError as error:
        yield f"stdout is not one JSON document ({error}): {said.out[:200]!r}"
    if not said.out.endswith("\n"):
        yield "the JSON has no end of line"


def _files(row: Row) -> Iterator[str]:
    """What other formats hold."""
    given, out = row.given, row.said.out
    if row.command == "trends" and not row.is_json:
        path = row.folder / str(given.get("output", "trends.png"))
        if given.get("form") == "csv":
            text = path.read_text("utf-8") if "output" in given else out
            table = list(csv.reader(io.StringIO(text)))
            names = ("night", *FIELDS) if "by_day" in given else FIELDS
            if tuple(table[0]) != names or {len(line) for line in table} != {len(names)}:
                yield f"no CSV: {text[:200]!r}"
        if given.get("form") == "png" and out.strip() == path.name and path.read_bytes()[:4] != b"\x89PNG":
            yield f"no picture: {path.read_bytes()[:20]!r}"
    if row.command == "report":
        if "html" in given:
            Page((row.folder / str(given["html"])).read_text("utf-8"))
        if "markdown" in given:
            text = out if given["markdown"] == "-" else (row.folder / str(given["markdown"])).read_text("utf-8")
            if not text.startswith("**Spotcheck"):
                yield f"no Markdown: {text[:200]!r}"


def differences(one: Said, two: Said) -> Iterator[str]:
    """Where the two stores give different answers."""
    if one.code != two.code:
        yield f"sqlite ends with {one.code}, postgresql with {two.code}"
        return
    try:
        first, second = (_kept(orjson.loads(said.out)) for said in (one, two))
    except orjson.JSONDecodeError:
        first, second = (_URL.sub("URL", said.out) for said in (one, two))
    if first != second:
        yield f"the stores differ: {_first_difference(first, second)}"
    if (left := _URL.sub("URL", one.err)) != (right := _URL.sub("URL", two.err)):
        yield f"the stores say different things beside: {left!r} and {right!r}"


def _kept(value: Any) -> Any:
    """A JSON value without what is of the moment or of the address; sums of floats differ in their last digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: _kept(inner) for key, inner in value.items() if key not in _CHANGING}
    if isinstance(value, list):
        return [_kept(inner) for inner in value]
    return _URL.sub("URL", value) if isinstance(value, str) else value


def _first_difference(one: Any, two: Any, path: str = "") -> str:
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        key = next(key for key in one if one[key] != two[key])
        return _first_difference(one[key], two[key], f"{path}.{key}")
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        place = next(place for place, inner in enumerate(one) if inner != two[place])
        return _first_difference(one[place], two[place], f"{path}[{place}]")
    if isinstance(one, str) and isinstance(two, str) and "\n" in one:
        pair = next((pair for pair in zip(one.splitlines(), two.splitlines(), strict=False) if pair[0] != pair[1]), "")
        return f"{path} {pair!r}"
    return f"{path} {one!r:.200} and {two!r:.200}"
