"""A project with six weeks of scored runs, which the tests of the command line read."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import stores
from tests.support.backfilled_team import backfilled_team
from tests.support.documents import a_document, lines
from tests.support.scored_project import TOML, ScoredProject
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict

NIGHTS = 42
BROKEN_SINCE = 30
"""From this night on most refunds go wrong, so that there is something to find."""


@pytest.fixture
def empty(shell: Shell, sqlite_ready: Path) -> Shell:
    """A shell beside a database that holds nothing."""
    stores.sqlite_copy(sqlite_ready, shell.folder)
    return shell


@pytest.fixture
def team(database_url: str, tmp_path: Path, judge: JudgeServer) -> Shell:
    """Three drawn nights, the first two scored by 1.0.0, the last by 1.1.0."""
    return backfilled_team(database_url, tmp_path, judge)


def _history(today: datetime) -> Iterator[dict[str, Any]]:
    for night in range(NIGHTS):
        for task_type in ("refund", "faq"):
            for number in range(8):
                is_broken = task_type == "refund" and night >= BROKEN_SINCE and number < 6
                ended = today - timedelta(days=NIGHTS - night, minutes=number)
                failed = {"error": "refused"} if is_broken else {}
                yield a_document(
                    f"{task_type}-{night}-{number}",
                    task_type=task_type,
                    ended_at=ended.isoformat(),
                    started_at=(ended - timedelta(seconds=20 + number)).isoformat(),
                    agent="bot",
                    agent_version="2.0" if night >= BROKEN_SINCE else "1.0",
                    cost_usd=0.01,
                    output="" if is_broken else f"It is done: order {night}-{number}.",
                    steps=[
                        {"kind": "tool", "name": "look_up", "arguments": {"order": number}, "result": "ok", **failed}
                    ],
                )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> ScoredProject:
    """Six weeks of two task types, scored by two heuristics and the simulated judge; refunds break in the fifth."""
    folder = tmp_path_factory.mktemp("world")
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    (folder / "runs.jsonl").write_bytes(lines(*_history(today)))
    first, newest = ((today - timedelta(days=days)).date().isoformat() for days in (NIGHTS, 1))
    with JudgeServer(lambda request, headers: simulated_verdict(request, _p_pass)) as judge:
        shell = Shell(folder, {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url})
        assert shell("ingest", "runs.jsonl").code == 0
        said = shell("nightly", "--since", first, "--until", newest, "--wait", "--json")
    assert said.code == 0, said
    assert said.json["open"] == 0
    return ScoredProject(shell, newest, first)


def _p_pass(prompt: str) -> float:
    return 0.9 if "It is done" in prompt else 0.1
