"""One run scored because somebody asks for it: what is stored is shown, what is not drawn enters no estimate."""

from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    ingest,
    nightly,
    rows,
    states,
    wait,
)
from tests.support.rubrics import changed
from worker.demo.judge.server import MODEL, Answer, completion, refused
from worker.errors import SettingsError
from worker.jobs.processor import JobProcessor
from worker.pipeline.backfill import plan
from worker.pipeline.score_run import RunVerdicts, score_run
from worker.project.project import Project
from worker.queries.runs import find_runs
from worker.store.budget import accounts
from worker.store.queue.job import WAITS_FOR_MONEY
from worker.store.tables import CellRow, EnrolmentRow, JobRow, RunRow, ScoreRow, core

cell, enrolment, job, run, score = (core(row) for row in (CellRow, EnrolmentRow, JobRow, RunRow, ScoreRow))
STRICTER = {"version: 1.0.0": "version: 1.1.0", "threshold: 0.7": "threshold: 0.9"}
PRICED = f'{PLAIN}[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
HALF = PLAIN.replace("rate = 1.0", "rate = 0.0\nflagged_rate = 0.0\nfloor_per_night = 1")


def ask(project: Project, run_id: str, names: tuple[str, ...] = (), source: str | None = None) -> RunVerdicts:
    ((pk, found),) = find_runs(project, run_id, source)
    with JobProcessor(project) as processor:
        return score_run(
            project, processor, pk, found, datetime.now(UTC), names=names, stop=lambda: False, patience_s=1.0
        )


def test_a_job_that_waits_to_be_tried_again_is_told_while_it_waits(installation: Installation) -> None:
    project = installation.project()
    ingest(project, [document("case-1")])
    half, answers = completion('{"out', tokens_out=9, finish_reason="error"), installation.judge.answer
    told: list[str] = []

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer | Awaitable[Answer]:
        return answers(request, headers) if told else half

    installation.judge.answer = answer
    ((pk, found),) = find_runs(project, "case-1", None)
    with JobProcessor(project) as processor:
        got = score_run(
            project,
            processor,
            pk,
            found,
            datetime.now(UTC),
            stop=lambda: False,
            on_trouble=told.append,
            patience_s=20.0,
        )
    assert got.trouble is None
    assert got.verdicts[0].state == "scored"
    assert "gave an answer that ended in an error" in told[0]
    assert "judge_unavailable" not in told[0]


def purposes(project: Project) -> set[str]:
    return {purpose for (purpose,) in rows(project, select(score.c.purpose).distinct())}


def said(answer: RunVerdicts) -> dict[str, tuple[str, bool, bool]]:
    return {one.scorer: (one.state, one.is_stored, one.is_drawn) for one in answer.verdicts}


def test_before_any_draw_a_run_is_scored_for_whoever_asks_and_for_nobody_else(installation: Installation) -> None:
    project = installation.project()
    ingest(project, [document("case-1"), document("case-2")])
    answer = ask(project, "case-1")
    assert answer.trouble is None
    assert said(answer) == {
        "answer_present": ("scored", False, False),
        "task_completion": ("scored", False, False),
    }
    total = answer.verdicts[0].total
    assert total is not None
    assert (total["value"], total["label"]) == (1.0, "pass")
    assert {row["criterion"] for row in answer.verdicts[0].rows} > {None}
    assert purposes(project) == {"asked"}
    assert rows(project, select(enrolment)) == []
    again = ask(project, "case-1")
    assert said(again) == {"answer_present": ("scored", True, False), "task_completion": ("scored", True, False)}
    assert len(installation.asked) == 1
    # the night is drawn and judged as if nobody had asked, and pays for nothing twice
    assert nightly(project, [MONDAY]).still_open == 0
    assert states(project) == {"scored": 2}
    assert len(installation.asked) == 2
    assert said(ask(project, "case-1"))["task_completion"] == ("scored", True, True)
    assert_reconciles(project)


def test_a_run_that_was_not_drawn_enters_no_estimate(installation: Installation) -> None:
    project = installation.project(HALF)
    ingest(project, [document(f"case-{number}") for number in range(6)])
    assert nightly(project, [MONDAY]).still_open == 0
    before = rows(project, select(func.sum(cell.c.scored), func.sum(cell.c.sampled)))
    drawn = {run_id for (run_id,) in rows(project, _scored_ids())}
    other = next(f"case-{number}" for number in range(6) if f"case-{number}" not in drawn)
    answer = ask(project, other)
    assert (said(answer)["task_completion"], answer.is_drawn) == (("scored", False, False), False)
    nightly(project, [MONDAY])
    assert rows(project, select(func.sum(cell.c.scored), func.sum(cell.c.sampled))) == before
    assert_reconciles(project)


def _scored_ids() -> Any:
    return select(run.c.run_id).join(score, score.c.run_pk == run.c.pk).where(score.c.purpose == "production")


def test_a_run_that_its_night_has_queued_is_scored_as_its_nights(installation: Installation) -> None:
    project = installation.project()
    ingest(project, [document("case-1"), document("case-2")])
    draw_nights(project, [MONDAY])
    assert said(ask(project, "case-2"))["task_completion"] == ("scored", False, True)
    assert states(project) == {"scored": 1, "queued": 1}
    assert purposes(project) == {"production"}
    assert wait(project).still_open == 0
    assert len(installation.asked) == 2
    assert_reconciles(project)


def test_the_active_version_is_asked_beside_the_one_that_a_night_was_drawn_with(
    installation: Installation, tmp_path: Path
) -> None:
    old = installation.project()
    tuesday = MONDAY + timedelta(days=1)
    ingest(old, [document("case-1"), document("case-2", tuesday)])
    nightly(old, [MONDAY])
    new = installation.project(SPOTCHECK_PROMPTS=changed(tmp_path / "mine", STRICTER))
    nightly(new, [tuesday])
    answer = ask(new, "case-1")
    assert [(one.series.partition("+")[0], one.is_drawn) for one in answer.verdicts] == [("1.1.0", False), ("1", True)]
    assert said(ask(new, "case-1", ("task_completion@1.0.0",))) == {"task_completion": ("scored", True, True)}
    assert plan(new, MONDAY, MONDAY).runs == 1, "a backfill scores it all the same"
    with pytest.raises(SettingsError, match="did you mean task_completion"):
        ask(new, "case-1", ("task_completon",))


def test_it_spends_the_money_of_backfills_and_says_where_that_is_spent(installation: Installation) -> None:
    toml = PRICED.replace("concurrency = 8", "concurrency = 8\nbackfill_usd_per_day = 0.00001")
    project = installation.project(toml)
    ingest(project, [document("case-1")])
    answer = ask(project, "case-1")
    assert answer.trouble == WAITS_FOR_MONEY
    assert said(answer)["task_completion"] == ("queued", False, False)
    assert installation.asked == []
    rich = installation.project(toml.replace("0.00001", "1"))
    assert ask(rich, "case-1").trouble is None
    with rich.store.read() as connection:
        today = rich.nights.of(datetime.now(UTC))
        assert accounts.day_balance(connection, today, accounts.BACKFILL).spent_usd > 0
        assert accounts.day_balance(connection, today, accounts.NIGHTLY).spent_usd == 0


def test_a_judge_that_refuses_is_told_and_nothing_is_lost(installation: Installation) -> None:
    project = installation.project()
    ingest(project, [document("case-1")])
    installation.instead = lambda case: refused(401, "wrong key")
    answer = ask(project, "case-1")
    assert answer.trouble is not None
    assert "401" in answer.trouble or "wrong key" in answer.trouble
    installation.instead = lambda case: None
    assert said(ask(project, "case-1"))["task_completion"] == ("scored", False, False)


def test_a_run_of_two_sources_is_told_apart(installation: Installation) -> None:
    project = installation.project()
    ingest(project, [document("case-1", source="shop"), document("case-1", source="mirror")])
    ask(project, "case-1", source="shop")
    assert said(ask(project, "case-1", source="mirror"))["answer_present"] == ("scored", False, False)
    assert rows(project, select(func.count()).select_from(job)) == [(4,)]


def test_a_scorer_that_does_not_apply_says_so(installation: Installation) -> None:
    project = installation.project()
    ingest(project, [document("case-1", status="aborted")])
    states_of = {one.scorer: one.state for one in ask(project, "case-1").verdicts}
    assert states_of["task_completion"] == "filtered"
