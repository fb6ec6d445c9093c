"""The README's commands do what it says: those of its first block in their order, then every one in its text."""

import gzip
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.receivers import receiving
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = ("worker", "beat", "up", "demo", "init")
"""Processes that run until they are told to stop, the demo, and what is done once; other tests run them."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def first_steps() -> list[str]:
    """The commands of the block that begins with one's own runs, without comments and exports."""
    (block,) = [block for block in blocks("sh") if "spotcheck init" in block]
    lines = (line.split("#")[0].strip() for line in block.splitlines())
    return [line for line in lines if line.startswith("spotcheck ")]


def in_the_text() -> Iterator[str]:
    """Complete commands in the text: no placeholder, no choice, nothing that stays."""
    for command in re.findall(r"`(spotcheck [^`]+)`", README):
        is_complete = not re.search(r"[\[\]|…]|\b[A-Z]{1,5}\b(?![\w.-])", command)
        if is_complete and command.split()[1] not in ELSEWHERE:
            yield command


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder in which a stranger has followed the first block, with the README's own run among a few more."""
    folder = tmp_path_factory.mktemp("stranger")
    (example,) = blocks("json")
    run = orjson.loads(example)
    more = [{**run, "run_id": f"r-{number}", "ended_at": f"2026-11-2{number % 3}T10:00:00Z"} for number in range(30)]
    (folder / "runs.jsonl.gz").write_bytes(
        gzip.compress(b"\n".join(orjson.dumps(document) for document in [run, *more]))
    )
    with JudgeServer(lambda request, headers: simulated_verdict(request, lambda prompt: 0.8)) as judge:
        shell = Shell(folder, {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url})
        for command in first_steps():
            said = shell(*shlex.split(command)[1:])
            assert said.code == 0, (command, said)
        with receiving() as receiver:
            shell.environ["SPOTCHECK_WEBHOOK_URL"] = receiver.url
            yield shell


def test_there_are_commands_to_follow() -> None:
    assert len(first_steps()) >= 5
    assert len(set(in_the_text())) >= 10


@pytest.mark.parametrize("command", sorted(set(in_the_text())))
def test_every_command_in_the_text_works(followed: Shell, command: str) -> None:
    said = followed(*shlex.split(command)[1:])
    assert said.code == 0, said
    assert said.out or "html" in command


def test_the_run_of_the_example_was_taken_in_and_decided(followed: Shell) -> None:
    shown = followed("show", "r-88121", "--json").json
    assert (shown["task_type"], shown["steps"][0]["name"]) == ("refund", "issue_refund")
    states = [decision["state"] for decision in followed("explain", "r-88121", "--json").json["decisions"]]
    assert states[0] == "taken"
    assert "drawn" in states or "sampled_out" in states or any(state == "scored" for state in states)
