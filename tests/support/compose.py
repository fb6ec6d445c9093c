"""The production stack as its files describe it, read the way an engine reads them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


class Unset(Exception):
    """A variable that the file insists on is not given."""


def stack() -> dict[str, Any]:
    """The compose file with its anchors and merges resolved, variables as they stand."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return read


def variables() -> dict[str, str]:
    """Every variable the compose file uses, with its default; `?` where it must be given."""
    used = _VARIABLE.findall(_without_comments(COMPOSE.read_text(encoding="utf-8")))
    return {name: "?" if operator.endswith("?") else default for name, operator, default in used}


def substituted(node: Any, given: Mapping[str, str]) -> Any:
    """A part of the file with its variables filled in, as the compose specification has it."""
    if isinstance(node, dict):
        return {key: substituted(value, given) for key, value in node.items()}
    if isinstance(node, list):
        return [substituted(value, given) for value in node]
    return _VARIABLE.sub(lambda found: _value(found, given), node) if isinstance(node, str) else node


def _value(found: re.Match[str], given: Mapping[str, str]) -> str:
    name, operator, words = found.groups()
    value = given.get(name)
    if value is None or (not value and (operator or "").startswith(":")):
        if (operator or "").endswith("?"):
            raise Unset(f"{name}: {words}")
        return words or ""
    return value


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
