"""What `trends` says beside its numbers: why there are none, a week that is not whole, and what traffic did."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell
from worker.cli.views import trends_table
from worker.cli.views.trends_table import TableNotes
from worker.demo.judge.server import MODEL
from worker.queries.trends import PartialWeek
from worker.store.budget import cuts
from worker.store.engine import Store
from worker.store.tables import JobRow, core

WEDNESDAY = "2026-11-25T12:00Z@9000-01-01T00:00Z x5000"
"""A clock that stands still in week 48."""
NEXT_WEEK = "2026-12-02T12:00Z@9000-01-01T00:00Z x5000"
TOML = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = ["answer_present"]\n'


@pytest.fixture
def short(tmp_path: Path) -> Shell:
    """Nine nights with two runs each, the last two of them in week 48."""
    (tmp_path / "spotcheck.toml").write_text(TOML)
    shell = Shell(tmp_path, {"SPOTCHECK_CLOCK": WEDNESDAY})
    documents = [
        a_document(f"r-{day}-{number}", ended_at=f"2026-11-{day}T10:00:00Z") for day in range(16, 25) for number in "ab"
    ]
    assert shell("ingest", "-", stdin=lines(*documents)).code == 0
    return shell


NIGHTS = ("nightly", "--since", "2026-11-16", "--until", "2026-11-24")


def test_jobs_that_wait_for_a_judge_are_the_reason(short: Shell) -> None:
    judged = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert short(*NIGHTS, **judged).code == 0
    for arguments in (["--scorer", "task_completion"], [], ["--format", "png"]):
        assert short("trends", *arguments, **judged).out == "18 jobs wait for a judge: spotcheck score --wait\n"
    assert short("trends", "--task-type", "refund", **judged).out.startswith("18 jobs wait for a judge")
    assert short("trends", "--scorer", "answer_present").out == "18 jobs wait for a worker: spotcheck score --wait\n"
    assert short("trends", "--scorer", "task_completion", "--json", **judged).json == {"points": []}


def test_runs_that_are_unscored_are_counted_with_their_reason(short: Shell) -> None:
    assert short(*NIGHTS, "--wait").code == 0
    out = short("trends", "--scorer", "task_completion").out
    assert out.splitlines()[-1].endswith(": nothing scored; 18 runs are unscored: no_judge_configured")
    assert "unscored" not in short("trends", "--scorer", "answer_present").out


def test_runs_that_a_budget_skipped_are_the_reason(short: Shell) -> None:
    judged = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert short(*NIGHTS, **judged).code == 0
    job = core(JobRow)
    with closing(Store(f"sqlite:///{short.folder / 'spotcheck.db'}")) as store, store.write() as connection:
        assert cuts.shed(connection, datetime(2026, 11, 25, 12, tzinfo=UTC), "budget", job.c.lane == "judge") == 18
    only = ("trends", "--scorer", "task_completion")
    assert short(*only, **judged).out == "18 shed (budget)\n"
    assert short("score", "--wait", **judged).code == 0
    assert short(*only, **judged).out.splitlines()[-1].endswith(": nothing scored; 18 shed (budget)")
    assert short(*only, "--task-type", "refund", **judged).out.splitlines()[-1].endswith("18 shed (budget)")


def test_where_nothing_was_drawn_the_next_step_is_told(short: Shell) -> None:
    assert short("trends", "--scorer", "task_completion").out.startswith("no trend yet: take runs in")


def test_a_week_that_is_not_whole_is_marked_and_one_that_is_not(short: Shell) -> None:
    short("nightly", "--since", "2026-11-16", "--until", "2026-11-22", "--wait")
    assert "of 7 nights" not in short("trends").out
    short(*NIGHTS, "--wait")
    assert "\nW48 so far: 2 of 7 nights\n" in short("trends", COLUMNS="80").out
    assert "\nW48: 2 of 7 nights\n" in short("trends", SPOTCHECK_CLOCK=NEXT_WEEK).out


def test_nights_without_runs_make_a_week_whole_too(short: Shell) -> None:
    # an empty night is decided when no late run is awaited any more
    late = {"SPOTCHECK_CLOCK": NEXT_WEEK.replace("12-02", "12-05")}
    short("nightly", "--since", "2026-11-16", "--until", "2026-11-29", "--wait", **late)
    assert "of 7 nights" not in short("trends", **late).out


def test_the_picture_marks_it_too(short: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    short(*NIGHTS, "--wait")
    drawn: list[str] = []

    def save(self: Any, path: Path, **_: object) -> None:
        drawn.extend(text.get_text() for axis in self.axes for text in axis.texts)
        path.write_bytes(b"")

    monkeypatch.setattr(figure.Figure, "savefig", save)
    assert short("trends", "--format", "png", "--scorer", "answer_present").code == 0
    assert drawn
    assert all(text.startswith("W48 so far: 2 of 7 nights\n1.00 [") for text in drawn)


@pytest.mark.parametrize(
    ("mean", "raw", "half_width", "is_told"),
    [
        (0.80, 0.70, 0.05, True),
        (0.80, 0.815, 0.01, False),  # less than two points
        (0.80, 0.76, 0.06, False),  # less than chance makes
        (0.80, 0.83, 0.02, True),
    ],
)
def test_traffic_is_blamed_only_for_what_it_did(mean: float, raw: float, half_width: float, is_told: bool) -> None:
    point = {
        "week": "2026-W47",
        "task_type": None,
        "segment": None,
        "scorer": "s",
        "criterion": None,
        "scorer_version": "1",
        "population": 100,
        "sampled": 50,
        "scored": 50,
        "unscored": 0,
        "coverage": 1.0,
        "mean": mean,
        "low": mean - half_width,
        "high": mean + half_width,
        "raw_mean": raw,
    }
    said = "\n".join(trends_table.lines([point], "task_type", 80, TableNotes("UTC", 0, None, {})))
    assert ("the difference is traffic" in said) == is_told


def test_words_of_a_week_that_is_not_whole_fit_80_columns(world: ScoredProject) -> None:
    assert all(len(line) <= 80 for line in world.shell("trends", COLUMNS="80").out.splitlines())
    assert len(PartialWeek("2026-W48", 6, is_over=False).text) <= 80
