"""What switches a check off, catches everything or waits has its reason beside it, in its line or in the one above."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("worker", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))
CODES = re.compile(r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w, -]+\])?)")
BROAD = ("Exception", "BaseException", "BaseExceptionGroup")


def comments(path: Path) -> dict[int, str]:
    """The comments of a file by line."""
    with path.open("rb") as stream:
        return {one.start[0]: one.string for one in tokenize.tokenize(stream.readline) if one.type == tokenize.COMMENT}


def lines_to_explain(tree: ast.AST) -> Iterator[int]:
    """Lines of waits, and of clauses that catch everything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name == "sleep":
                yield node.lineno
        if isinstance(node, ast.ExceptHandler) and (node.type is None or getattr(node.type, "id", "") in BROAD):
            yield node.lineno


def unexplained(path: Path) -> Iterator[str]:
    said = comments(path)
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    switches = [line for line, text in said.items() if CODES.search(text)]
    for line in sorted({*switches, *lines_to_explain(ast.parse(source))}):
        reason = CODES.sub("", said.get(line, "")).strip(" #")
        is_above = line > 1 and lines[line - 2].lstrip().startswith("#")
        if not reason and not is_above:
            yield f"{path}:{line}: {lines[line - 1].strip()}"


def test_every_switched_off_check_broad_except_and_wait_has_its_reason_beside_it() -> None:
    assert [line for path in FILES for line in unexplained(path)] == []


@pytest.mark.parametrize(
    ("source", "is_told"),
    [
        ("import a  # noqa: F401\n", False),
        ("import a  # noqa: F401 read by others\n", True),
        ("# read by others\nimport a  # noqa: F401\n", True),
        ("time.sleep(1)\n", False),
        ("time.sleep(1)  # until it is there\n", True),
        ("try:\n    a()\nexcept Exception:\n    pass\n", False),
        ("try:\n    a()\nexcept Exception:  # anything may come\n    pass\n", True),
        ("try:\n    a()\nexcept ValueError:\n    pass\n", True),
        ("a = 1  # type: ignore[assignment]\n", False),
    ],
)
def test_a_missing_reason_is_seen(tmp_path: Path, source: str, is_told: bool) -> None:
    made = tmp_path / "made.py"
    made.write_text(source, encoding="utf-8")
    assert (list(unexplained(made)) == []) is is_told
