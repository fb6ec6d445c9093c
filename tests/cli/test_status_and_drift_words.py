"""`status` tells its rows apart and cuts none; `drift` speaks of dollars and percent as `alerts` does."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell
from worker.cli.commands.drift import describe
from worker.cli.table import show_table
from worker.cli.views import status_counts
from worker.queries.counts import TERMS, NightCounts
from worker.records import Drift, Stream

CLOCK = "2026-11-25T12:00Z@9000-01-01T00:00Z x5000"
TOML = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = ["answer_present"]\n'


@pytest.fixture
def changed(tmp_path: Path) -> Shell:
    """Three nights, each with another judge; the third night's model has another address but is the first again."""
    (tmp_path / "spotcheck.toml").write_text(TOML)
    shell = Shell(tmp_path, {"SPOTCHECK_CLOCK": CLOCK, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    documents = [a_document(f"r-{day}", ended_at=f"2026-11-{day}T10:00:00Z") for day in (22, 23, 24)]
    assert shell("ingest", "-", stdin=lines(*documents)).code == 0
    for day, model in ((22, "first-model"), (23, "vendor/second-model"), (24, "first-model")):
        assert shell("nightly", "--date", f"2026-11-{day}", SPOTCHECK_JUDGE_MODEL=model).code == 0
    return shell


def test_rows_of_one_scorer_are_told_apart_by_model_and_single_ones_keep_their_name(changed: Shell) -> None:
    rows = [line for line in changed("status").out.splitlines() if re.match(r"(task|answer)_", line)]
    assert [re.split(r"  +", row)[0] for row in rows] == [
        "answer_present",
        "task_completion first-model",
        "task_completion second-model",
    ]
    listed = re.findall(r"^series task_completion (\S+): (\S+)$", changed("status").out, re.MULTILINE)
    assert sorted(model for model, _ in listed) == ["first-model", "second-model"]
    (own,) = [series for model, series in listed if model == "first-model"]
    rubrics = changed("rubric", "list", "--json", SPOTCHECK_JUDGE_MODEL="first-model").json["rubrics"]
    assert own in {rubric["series"] for rubric in rubrics}, "one name for it everywhere"


def test_where_the_model_is_the_same_the_version_tells_them_apart(changed: Shell) -> None:
    assert changed("init", "--force").code == 0
    (changed.folder / "spotcheck.toml").write_text(TOML)
    rubric = changed.folder / "prompts" / "task_completion.rubric.md.j2"
    text = rubric.read_text(encoding="utf-8")
    rubric.write_text(text.replace("version: 1.0.0", "version: 1.1.0"), encoding="utf-8")
    assert rubric.read_text(encoding="utf-8") != text
    changed("ingest", "-", stdin=lines(a_document("r-21", ended_at="2026-11-21T10:00:00Z")))
    changed("nightly", "--date", "2026-11-21", SPOTCHECK_JUDGE_MODEL="first-model")
    named = re.findall(r"^task_completion \S+", changed("status").out, re.MULTILINE)
    assert len(named) == len(set(named)) == 3
    assert all(re.fullmatch(r"task_completion 1\.[01]\.0\+[0-9a-f]{8}", name) for name in named)


def test_pending_runs_that_no_queue_has_are_explained(changed: Shell) -> None:
    assert "not drawn yet" not in changed("status").out
    today = [a_document(f"t-{number}", ended_at="2026-11-25T10:00:00Z") for number in range(4)]
    changed("ingest", "-", stdin=lines(*today))
    said = changed("status").out.splitlines()
    assert "pending: 4 of nights that are not drawn yet" in said
    assert "queue heuristics 3 due, 0 waiting out a back-off, 0 being scored" in "\n".join(said)


def test_people_see_one_word_for_a_lane(changed: Shell) -> None:
    out = changed("status").out
    assert re.search(r"^queue heuristics ", out, re.MULTILINE)
    assert not re.search(r"\bheuristic\b", out)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_with_every_term_is_broken_into_whole_columns(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = NightCounts("grounded_figures", "1", date(2026, 11, 22), 45_000, *[5_000] * 8)
    tables = status_counts._tables([row, row._replace(scorer="task_completion")], {}, width)
    heads = [head for table in tables for head in table.heads]
    assert [head for head in heads if head != "scorer"] == [status_counts._HEADS.get(term, term) for term in TERMS]
    for table in tables:
        assert max(map(len, table.lines(None))) <= width
        show_table(table)
    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "scorer", "before", "after", "said"),
    [
        ("cost", "cost_per_run", 0.0126, 0.0173, "COST  refund · cost per run   $0.0126 → $0.0173 over 3 nights"),
        ("tool", "tool_failure:carrier", 0.007, 0.273, "TOOL  refund · failures of tool carrier   0.7 % → 27.3 %"),
        ("errors", "error_rate", 0.01, 0.055, "ERRORS  refund · error rate   1.0 % → 5.5 %"),
        ("steps", "steps_per_run", 4.0, 6.25, "STEPS  refund · steps per run   4.0 → 6.2"),
        ("agent", "task_completion", 0.93, 0.53, "QUALITY  refund · task_completion   0.93 → 0.53"),
    ],
)
def test_levels_stand_in_their_own_unit_and_the_badge_is_a_word(
    kind: Any, scorer: str, before: float, after: float, said: str
) -> None:
    finding = Drift(
        finding_id=1,
        stream=Stream("refund", scorer, "1"),
        kind=kind,
        direction="up",
        before=before,
        after=after,
        window_nights=3,
        scored=145,
        z=5.0,
        chance_per_year=1.1,
        since=date(2026, 11, 10),
        found_night=date(2026, 11, 12),
    )
    assert describe(finding)[0].startswith(f"[1] {said}")
    hourly = finding.model_copy(update={"window_hours": 4})
    assert "over 4 hours to 2026-11-12" in describe(hourly)[0]


def test_drift_and_alerts_tell_the_same_levels(world: ScoredProject) -> None:
    listed, told = world.shell("alerts").out, world.shell("drift").out
    levels = re.findall(r"\S+(?: %)? → \S+(?: %)?(?= over)", told)
    assert levels
    assert all(level in listed for level in levels)
