"""docs/architecture.md is true: its drawing equals the import contracts, and every path it names exists."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EXAMPLES = ("NAME", "csv.py", "slack.py")
"""What the recipes make."""
_OPTIONAL = re.compile(r"\((\w+)\)")


def contracts() -> list[dict[str, Any]]:
    policy = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = policy["tool"]["importlinter"]["contracts"]
    return found


def rooms(text: str) -> list[str]:
    """Rooms that stand side by side; an optional one, in parentheses, counts where it exists."""
    present = (_OPTIONAL.sub(lambda name: name[1] if (ROOT / "worker" / name[1]).exists() else "", text)).split("|")
    return sorted(name.strip() for name in present if name.strip())


def drawn() -> list[list[str]]:
    drawing = re.search(r"<!-- drawing.*?-->\n```\n(.*?)```", PAGE, re.DOTALL)
    assert drawing, "the drawing is gone"
    return [rooms(re.split(r"\s{3,}", line)[0]) for line in drawing[1].splitlines()]


def test_the_drawing_is_what_the_import_contracts_enforce() -> None:
    (layers,) = (contract["layers"] for contract in contracts() if contract.get("containers") == ["worker"])
    assert drawn() == [rooms(layer) for layer in layers]


def test_every_room_of_the_package_is_drawn() -> None:
    there = {
        path.stem for path in (ROOT / "worker").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {name for line in drawn() for name in line} == there - {"__init__", "__main__"}


def paths() -> list[str]:
    named = set(re.findall(r"`((?:worker|tests|docs|bench)/[\w./-]*)`", PAGE))
    return sorted(path for path in named if not any(name in path for name in EXAMPLES))


@pytest.mark.parametrize("path", paths())
def test_every_path_that_the_page_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
