"""`spotcheck runs --worst`: the runs that a person should read, by score, version and tag."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict
from worker.store.engine import Store
from worker.store.tables import ScoreRow, ScorerRow, core

score, scorer = core(ScoreRow), core(ScorerRow)


@pytest.fixture
def scored(shell: Shell, database_url: str) -> Shell:
    """Twelve runs of two versions and regions; every third is judged bad."""
    shell.environ["SPOTCHECK_DATABASE_URL"] = database_url
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1.0\nflagged_rate = 1.0\n", encoding="utf-8")
    night = datetime.now(UTC) - timedelta(days=2)
    runs = [
        a_document(
            f"r-{number}",
            agent_version="1.0" if number < 6 else "2.0",
            tags={"region": "eu" if number % 2 else "us", "tier": number % 4},
            ended_at=night.isoformat(),
            output="It is broken." if number % 3 == 0 else "It is done.",
        )
        for number in range(12)
    ]
    assert shell("ingest", "-", stdin=lines(*runs)).code == 0

    def pass_chance(prompt: str) -> float:
        return 0.0 if "It is broken." in prompt else 1.0

    with JudgeServer(lambda request, headers: simulated_verdict(request, pass_chance)) as judge:
        environ = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        day = night.date()
        assert shell("nightly", "--since", day, "--until", day, "--wait", **environ).code == 0
    return shell


def ids(shell: Shell, *options: str) -> list[str]:
    return [run["run_id"] for run in shell("runs", *options, "--json").json["runs"]]


def test_the_worst_come_first_with_score_and_reason(scored: Shell) -> None:
    found = scored("runs", "--worst", "--json").json["runs"]
    assert {run["run_id"] for run in found[:4]} == {"r-0", "r-3", "r-6", "r-9"}
    values = [run["score"]["value"] for run in found]
    assert values == sorted(values)
    assert found[0]["score"]["scorer"] == "task_completion"
    assert found[0]["score"]["scorer_version"].startswith("1.0.0+")
    criterion, _, why = found[0]["score"]["reason"].partition(": ")
    assert criterion.isidentifier()
    assert why
    shown = scored("runs", "--worst", "--limit", "2")
    assert shown.out.splitlines()[0] == "by task_completion, the lowest first"
    assert shown.out.splitlines()[1].startswith(f"{values[0]:.2f}  ")
    assert shown.err == "the lowest 2; --limit shows more\n"


def test_below_version_and_tags_choose_among_them(scored: Shell) -> None:
    assert set(ids(scored, "--below", "0.5")) == {"r-0", "r-3", "r-6", "r-9"}
    assert set(ids(scored, "--below", "0.5", "--agent-version", "2.0")) == {"r-6", "r-9"}
    assert set(ids(scored, "--below", "0.5", "--tag", "region=eu")) == {"r-3", "r-9"}
    assert set(ids(scored, "--tag", "tier=2")) == {"r-2", "r-6", "r-10"}, "a number is compared as it is written"
    assert len(ids(scored, "--agent-version", "1.0")) == 6
    assert ids(scored, "--scorer", "answer_present", "--below", "0.5") == []
    assert scored("runs", "--scorer", "answer_present", "--below", "0.5").out == (
        "no run that matches has such a score by answer_present\n"
    )
    assert scored("runs", "--agent-version", "9").out.rstrip().endswith("agent versions here: 1.0, 2.0")


def test_what_cannot_be_is_said_in_one_line(scored: Shell) -> None:
    assert "--tag 'region' is not NAME=VALUE" in scored.refused("runs", "--tag", "region")
    assert "did you mean task_completion?" in scored.refused("runs", "--worst", "--scorer", "task_completon")
    (scored.folder / "spotcheck.toml").write_text("[scoring]\nrubrics = []\n", encoding="utf-8")
    assert "no rubric of the settings has scores; say --scorer NAME; there are task_completion" in scored.refused(
        "runs", "--worst"
    )


def test_a_run_that_two_series_have_scored_is_listed_once_by_the_newer(team: Shell) -> None:
    before = team("runs", "--worst", "--json").json["runs"]
    assert {run["score"]["scorer_version"].partition("+")[0] for run in before} == {"1.0.0", "1.1.0"}
    assert team("backfill", "--yes", "--wait").code == 0
    after = team("runs", "--worst", "--json").json["runs"]
    assert sorted(run["run_id"] for run in after) == sorted(run["run_id"] for run in before)
    assert {run["score"]["scorer_version"].partition("+")[0] for run in after} == {"1.1.0"}
    store = Store(team.environ["SPOTCHECK_DATABASE_URL"])
    with store.write() as connection:
        older = select(scorer.c.pk).where(scorer.c.version == "1.0.0")
        changed = connection.execute(update(score).where(score.c.scorer_pk.in_(older)).values(value=0.0))
        assert changed.rowcount
    store.close()
    assert team("runs", "--worst", "--json").json["runs"] == after, "also where the older one was worse"
