"""A class name says one thing: it stands once in `worker/`, and for nothing that other modules import by that name."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "worker").rglob("*.py"))}


def classes() -> dict[str, list[str]]:
    """Where each class name is defined."""
    found = defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return dict(found)


def imported_from_libraries() -> dict[str, list[str]]:
    """Where each name is imported from a library, under its own name."""
    found = defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("worker"):
                for alias in node.names:
                    if alias.asname is None:
                        found[alias.name].append(f"{path.relative_to(ROOT)}:{node.lineno} from {node.module}")
    return dict(found)


def test_every_class_name_stands_once() -> None:
    assert {name: places for name, places in classes().items() if len(places) > 1} == {}


def test_no_class_bears_the_name_of_a_library_class_that_is_used_here() -> None:
    others = imported_from_libraries()
    assert {name: (places, others[name]) for name, places in classes().items() if name in others} == {}
