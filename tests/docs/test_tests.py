"""What holds for the tests themselves."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
IMPORT = re.compile(r"^\s*(?:from|import) (\.[\w.]*|tests\.[\w.]+)(?: import (\w+))?", re.MULTILINE)
"""Also in a program that a test gives to another process as text."""


def test_what_tests_share_stands_in_support_and_no_test_imports_another() -> None:
    wrong = {
        f"{path.relative_to(TESTS)} imports {module}"
        for path in TESTS.rglob("*.py")
        for module, name in IMPORT.findall(path.read_text(encoding="utf-8"))
        if not f"{module}.{name}".startswith("tests.support.")
    }
    assert not wrong


def test_nothing_in_support_is_collected_as_a_test() -> None:
    assert not [path.name for path in (TESTS / "support").rglob("test_*.py")]
