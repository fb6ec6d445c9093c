"""A team with three drawn nights, of which the last two were judged by different versions of a rubric."""

from datetime import timedelta
from pathlib import Path

from tests.support.documents import lines
from tests.support.project import MONDAY, document
from tests.support.rubrics import changed
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict

NIGHTS = [MONDAY + timedelta(days=offset) for offset in range(3)]
RUNS = 4
TOML = f"""\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present"]
[judge]
concurrency = 4
backfill_usd_per_day = 5.0
[judge.prices."{MODEL}"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 4.0
"""
STRICTER = {"version: 1.0.0": "version: 1.1.0", "threshold: 0.7": "threshold: 0.9"}


def backfilled_team(database_url: str, tmp_path: Path, judge: JudgeServer) -> Shell:
    """Three drawn nights, the first two scored by 1.0.0, the last by 1.1.0."""
    judge.answer = lambda request, headers: simulated_verdict(request, lambda prompt: 1.0)
    folder = tmp_path / "team"
    folder.mkdir()
    (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    environ = {
        "SPOTCHECK_DATABASE_URL": database_url,
        "SPOTCHECK_JUDGE_MODEL": MODEL,
        "OPENAI_BASE_URL": judge.base_url,
    }
    runs = [document(f"case-{night:%d}-{number}", night) for night in NIGHTS for number in range(RUNS)]
    (folder / "runs.jsonl").write_bytes(lines(*runs))
    shell = Shell(folder, environ)
    assert shell("ingest", "runs.jsonl").code == 0
    assert shell("nightly", "--since", MONDAY, "--until", NIGHTS[1], "--wait").code == 0
    shell.environ["SPOTCHECK_PROMPTS"] = changed(folder / "prompts", STRICTER)
    assert shell("nightly", "--date", NIGHTS[2], "--wait").code == 0
    return shell
