"""Scores that no figure holds yet are said to be so: for half a minute a scored night looked unscored."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.backfilled_team import TOML
from tests.support.documents import lines
from tests.support.project import document
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict
from worker.jobs.processor import JobProcessor
from worker.project.project import Project
from worker.settings import Settings
from worker.store.engine import Store

SAID = "are not summarised yet, and in no figure here"


def team(tmp_path: Path, database_url: str, judge: JudgeServer) -> tuple[Shell, list[str]]:
    """Two nights; the first is scored and summarised."""
    judge.answer = lambda request, headers: simulated_verdict(request, lambda prompt: 1.0)
    (tmp_path / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    newest = datetime.now(UTC).date() - timedelta(days=1)
    nights = [newest - timedelta(days=1), newest]
    runs = [document(f"case-{night}-{number}", night) for night in nights for number in range(4)]
    (tmp_path / "runs.jsonl").write_bytes(lines(*runs))
    environ = {
        "SPOTCHECK_DATABASE_URL": database_url,
        "SPOTCHECK_JUDGE_MODEL": MODEL,
        "OPENAI_BASE_URL": judge.base_url,
    }
    shell = Shell(tmp_path, environ)
    assert shell("ingest", "runs.jsonl").code == 0
    return shell, [str(night) for night in nights]


def work(shell: Shell, lane: str) -> None:
    """As a worker does: jobs are scored, and nobody has summarised the night yet."""
    settings = Settings.read(shell.environ, TOML)
    store = Store(shell.environ["SPOTCHECK_DATABASE_URL"])
    with JobProcessor(Project(settings, store)) as processor:
        assert processor.drain(lane).settled == 4
    store.close()


def test_what_is_scored_and_not_summarised_is_said_wherever_it_is_missing(
    tmp_path: Path, database_url: str, judge: JudgeServer
) -> None:
    shell, (first, second) = team(tmp_path, database_url, judge)
    assert shell("nightly", "--date", first).code == 0
    work(shell, "heuristic")
    said = shell("trends").out
    assert said.startswith(f"4 scores of 1 night {SAID}: 4 jobs of it are still open")
    work(shell, "judge")
    said = shell("trends").out
    assert said.startswith(f"8 scores of 1 night {SAID}: running workers do so within a minute, spotcheck score --wait")
    assert f"8 scores of 1 night {SAID}" in shell("report", "--since", first).out
    assert shell("trends", "--json").json["unsummarised"] == [{"night": first, "scores": 8, "open_jobs": 0}]
    assert shell("score", "--wait").code == 0
    for command in (("trends",), ("report", "--since", first)):
        assert SAID not in shell(*command).out
    assert "unsummarised" not in shell("trends", "--json").json

    assert shell("nightly", "--date", second).code == 0
    work(shell, "heuristic")
    work(shell, "judge")
    assert f"\n8 scores of 1 night {SAID}" in shell("trends").out, "beside the first night's figures"
    assert SAID in shell("trends", "--format", "csv").err
    narrow = shell("trends", COLUMNS="60").out
    assert max(map(len, narrow.splitlines())) <= 80
    assert SAID in shell("report", "--markdown", "-", "--since", first).out
    assert shell("report", "--since", first, "--until", first).out.count(SAID) == 0, "another night's"
    shell("drift")
    assert shell("trends", "--json").json["unsummarised"][0]["scores"] == 8, "no reader writes"
