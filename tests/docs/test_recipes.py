"""The recipes of docs/architecture.md work: followed to the letter in a copy of the package, their own tests pass."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def recipe(title: str) -> list[str]:
    """The Python blocks of a recipe, in order."""
    _, _, rest = PAGE.partition(f"\n### {title}\n")
    assert rest, f"no recipe is called {title}"
    return re.findall(r"```python\n(.*?)```", rest.partition("\n### ")[0], re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and what its tests share, without the tests."""
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "worker", tmp_path / "worker", ignore=hidden)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    shutil.copytree(ROOT / "tests" / "support", tmp_path / "tests" / "support", ignore=hidden)
    for path in (ROOT / "tests" / "conftest.py", ROOT / "pyproject.toml"):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def change(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")


def followed(name: str) -> bool:
    """Whether somebody has added this to the product: then it has tests of its own."""
    return (ROOT / "worker" / name).exists()


def run(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


def test_a_heuristic_with_a_setting(copy: Path) -> None:
    if followed("scorers/heuristics/short_answer.py"):
        return
    (code,) = recipe("A heuristic")
    registry = "worker/scorers/registry.py"
    write(copy, {"worker/scorers/heuristics/short_answer.py": code})
    shutil.copytree(ROOT / "tests" / "scorers", copy / "tests" / "scorers")
    change(
        copy,
        registry,
        "from worker.scorers.heuristics.tool_success",
        "from worker.scorers.heuristics.short_answer import ShortAnswer\nfrom worker.scorers.heuristics.tool_success",
    )
    change(
        copy,
        registry,
        '        "valid_json": ValidJson,\n',
        '        "valid_json": ValidJson,\n        "short_answer": ShortAnswer,\n',
    )
    run(copy, "-m", "pytest", "-q", "tests/scorers/test_contract.py", "-k", "short_answer")
    write(copy, {"spotcheck.toml": "[scoring.settings.short_answer]\nmax_chars = 10\n"})
    code = (
        "from worker.settings import Settings; from worker.scorers.registry import build; from pathlib import Path\n"
        "made = build(Settings.read({}, Path('spotcheck.toml').read_text()).scoring)\n"
        "assert made['short_answer'].settings.max_chars == 10, made"
    )
    run(copy, "-c", code)


def test_a_csv_source(copy: Path) -> None:
    if followed("connectors/sources/csv.py"):
        return
    source, registry, test = recipe("A source")
    line = next(line for line in registry.splitlines() if line.startswith("SOURCES"))
    write(copy, {"worker/connectors/sources/csv.py": source, "tests/connectors/test_csv.py": test})
    there = (copy / "worker/connectors/sources/registry.py").read_text(encoding="utf-8")
    old = next(row for row in there.splitlines() if row.startswith("SOURCES"))
    change(copy, "worker/connectors/sources/registry.py", old, line)
    change(copy, "worker/connectors/sources/registry.py", "import jsonl\n", "import csv, jsonl\n")
    run(copy, "-m", "pytest", "-q", "tests/connectors/test_csv.py")


def test_a_slack_sink(copy: Path) -> None:
    if followed("connectors/sinks/slack.py"):
        return
    sink, address, test = recipe("A sink")
    write(copy, {"worker/connectors/sinks/slack.py": sink, "tests/connectors/test_slack.py": test})
    path = copy / "worker/settings/addresses.py"
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + "\n" + address, encoding="utf-8")
    run(copy, "-m", "pytest", "-q", "tests/connectors/test_slack.py")
