"""The image, as far as it can be judged without an engine; the wheel in it; the unit file."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import orjson
import pytest

from tests.support.compose import ROOT

DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Instruction and rest of each line, continued lines joined, comments left out."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def is_ignored(path: str) -> bool:
    """As the engine reads .dockerignore: the last pattern that fits the path, or a folder it lies in, decides."""
    rules = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
    ]
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!")
        parts = path.split("/")
        heads = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        loose = pattern.removeprefix("**/")
        if any(
            fnmatch.fnmatchcase(head, pattern) or (loose != pattern and fnmatch.fnmatchcase(head.split("/")[-1], loose))
            for head in heads
        ):
            ignored = not rule.startswith("!")
    return ignored


def test_what_is_copied_is_there_and_is_sent_to_the_engine() -> None:
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    sources = [source for line in copied for source in line]
    assert {"pyproject.toml", "worker", "prompts", "constraints.txt"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert not is_ignored(source)
    for inside in (
        "worker/celery/config.py",
        "worker/store/migrations/versions/0001_the_first_schema.py",
        "prompts/_shared/judge.md.j2",
    ):
        assert (ROOT / inside).exists()
        assert not is_ignored(inside)


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", "spotcheck.db", "spotcheck.toml", "tests/conftest.py", "worker/__pycache__/celery.pyc"],
)
def test_what_has_no_business_in_an_image_is_not_sent(path: str) -> None:
    assert is_ignored(path)


def test_it_runs_as_nobody_and_installs_what_the_tests_passed_with() -> None:
    words = [word for word, _ in instructions()]
    bases = [rest for word, rest in instructions() if word == "FROM"]
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users == ["10001:10001"]
    assert words.index("USER") > len(words) - 1 - words[::-1].index("FROM")  # in the last stage
    assert words.index("USER") > max(index for index, word in enumerate(words) if word == "COPY")
    assert all(re.match(r"python:3\.\d+-slim\b", base) for base in bases)
    assert len({base.split()[0] for base in bases}) == 1  # a venv does not survive another interpreter
    assert any("PIP_CONSTRAINT" in rest for word, rest in instructions() if word == "ENV")
    assert ("HEALTHCHECK", "NONE") in instructions()
    assert not {"ADD", "EXPOSE", "VOLUME"} & set(words)


def test_a_wheel_holds_all_that_runs(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": str(site)}
    (tmp_path / "empty").mkdir()

    def spotcheck(*arguments: str) -> bytes:
        # -P: the working folder is no place to import from; PYTHONPATH comes before an editable install
        command = [sys.executable, "-P", "-m", "worker", *arguments]
        return subprocess.run(command, cwd=tmp_path / "empty", env=environ, check=True, capture_output=True).stdout

    where = subprocess.run(
        [sys.executable, "-P", "-c", "import worker; print(worker.__file__)"],
        cwd=tmp_path / "empty", env=environ, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(site)
    shipped = {path.name.split(".")[0] for path in (ROOT / "prompts").glob("*.rubric.md.j2")}
    assert {rubric["name"] for rubric in orjson.loads(spotcheck("rubric", "list", "--json"))["rubrics"]} == shipped
    assert b"has schema" in spotcheck("db", "upgrade")
    assert orjson.loads(spotcheck("db", "check", "--json"))["state"] == "current"
    inside = {str(path.relative_to(site / "worker")) for path in (site / "worker").rglob("*") if path.is_file()}
    wanted = {str(path.relative_to(ROOT / "worker")) for path in (ROOT / "worker").rglob("*") if path.is_file()}
    assert {path for path in wanted if "__pycache__" not in path} <= inside


def test_the_unit_file_is_one(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    (unit,) = re.findall(r"```ini\n(.*?)```", guide, re.DOTALL)
    assert "KillMode=mixed" in unit
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("systemd-analyze is not here")
    command = unit.replace("/opt/spotcheck/bin/spotcheck", sys.executable).replace("User=spotcheck\n", "")
    (tmp_path / "spotcheck.service").write_text(command, encoding="utf-8")
    verify = [analyse, "verify", "--man=no", str(tmp_path / "spotcheck.service")]
    said = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "spotcheck.service" not in said.stdout + said.stderr, said
