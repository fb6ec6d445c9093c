"""What a backfill may spend: never the money of nights, and nothing is skipped when its own is spent."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.support.backfills import (
    FEW,
    LATER,
    PRICED,
    RUNS,
    account,
    cut,
    drawn_before,
    job,
    now,
    run,
    run_it,
    scored,
    scorer,
    summarised,
)
from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    history,
    ingest,
    nightly,
    rows,
    states,
    wait,
)
from worker.pipeline.backfill import carry_out, left_alone, plan
from worker.store.budget import accounts
from worker.store.queue.job import WAITS_FOR_MONEY

BUDGET = PRICED.replace("concurrency = 8", "concurrency = 8\nanswers_days = 0\nbudget_usd_per_day = {cap}")


def test_what_a_budget_skipped_comes_back_once_there_is_money(installation: Installation) -> None:
    poor = installation.project(BUDGET.format(cap=0.05))
    ingest(poor, history(1, FEW))
    assert nightly(poor, [MONDAY]).still_open == 0
    before = states(poor)
    assert before["shed"] > 0
    ((shed,),) = [[nights for _, nights, why in left_alone(poor, [MONDAY]) if why == "budget"]]
    assert shed == [MONDAY]
    rich = installation.project(BUDGET.format(cap=50))
    planned = plan(rich, MONDAY, MONDAY)
    assert planned.runs == before["shed"]
    run_it(rich, planned)
    assert states(rich) == {"scored": RUNS}
    assert rows(rich, select(cut)) == []
    assert summarised(rich, "1.0.0")[MONDAY][0] >= RUNS
    accounts_used = rows(rich, select(job.c.account, func.count()).where(job.c.lane == "judge").group_by(job.c.account))
    assert dict(map(tuple, accounts_used)) == {"nightly": before["scored"], "backfill": before["shed"]}
    assert len(installation.asked) == RUNS
    assert_reconciles(rich)


def test_a_backfill_has_money_of_its_own_and_skips_nothing(installation: Installation, tmp_path: Path) -> None:
    toml = BUDGET.format(cap=50).replace("answers_days", "backfill_usd_per_day = 0.05\nanswers_days")
    project = drawn_before(installation, tmp_path, toml)
    spent_before = account(project, accounts.NIGHTLY).spent_usd
    taken = carry_out(project, plan(project, MONDAY, MONDAY), now())
    assert taken == (RUNS, 0)
    waited = wait(project)
    assert 0 < waited.postponed == waited.still_open < RUNS
    own = account(project, accounts.BACKFILL)
    assert 0 < own.spent_usd <= 0.05
    assert own.reserved_usd == pytest.approx(0, abs=1e-9)
    assert account(project, accounts.NIGHTLY).spent_usd == spent_before
    assert states(project)["shed"] == 0
    assert_reconciles(project, pending=waited.postponed)
    waiting = rows(project, select(job.c.reason, job.c.not_before).where(job.c.state == "queued"))
    assert {reason for reason, _ in waiting} == {WAITS_FOR_MONEY}
    tomorrow = project.nights.begins_at(project.nights.of(now()) + timedelta(days=1))
    assert {at for _, at in waiting} == {tomorrow}

    rich = installation.project(
        toml.replace("backfill_usd_per_day = 0.05", "backfill_usd_per_day = 5"),
        SPOTCHECK_PROMPTS=str(tmp_path / "mine"),
    )
    again = plan(rich, MONDAY, MONDAY)
    assert (again.runs, again.queued) == (0, waited.postponed)
    run_it(rich, again)
    assert scored(rich)["1.1.0", MONDAY] == RUNS
    assert_reconciles(rich)


def test_without_a_budget_of_its_own_a_backfill_gets_what_the_day_leaves_over(
    installation: Installation, tmp_path: Path
) -> None:
    project = drawn_before(installation, tmp_path, BUDGET.format(cap=50))
    spent = account(project).spent_usd
    tight = installation.project(BUDGET.format(cap=round(spent + 0.04, 4)), SPOTCHECK_PROMPTS=str(tmp_path / "mine"))
    carry_out(tight, plan(tight, MONDAY, MONDAY), now())
    waited = wait(tight)
    assert 0 < waited.postponed < RUNS
    assert account(tight).spent_usd <= spent + 0.04
    # what the backfill took is no money of the nights'
    ingest(tight, [document(f"case-late-{number}", LATER + timedelta(days=1)) for number in range(3)])
    draw_nights(tight, [LATER + timedelta(days=1)])
    wait(tight)
    assert scored(tight)["1.1.0", LATER + timedelta(days=1)] == 3


def test_nights_come_before_backfills(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(
        installation, tmp_path, PLAIN.replace("concurrency = 8", "concurrency = 1\nanswers_days = 0")
    )
    carry_out(project, plan(project, None, None), now())
    newest = LATER + timedelta(days=1)
    ingest(project, [document(f"case-new-{number}", newest) for number in range(4)])
    draw_nights(project, [newest])
    before = len(installation.asked)
    wait(project)
    asked = installation.asked[before:]
    first = ["case-new" in one["messages"][-1]["content"] for one in asked]
    assert sum(first) == 4
    assert all(first[:4]) or sum(first[:20]) == 4, "the newest night is asked about before 60 older runs"


def test_late_runs_of_a_backfilled_night_spend_the_backfills_money(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(installation, tmp_path)
    run_it(project, plan(project, MONDAY, MONDAY))
    ingest(project, [document("case-late")])
    draw_nights(project, [MONDAY])
    wait(project)
    statement = (
        select(scorer.c.version, job.c.account, job.c.state)
        .join(scorer, scorer.c.pk == job.c.scorer_pk)
        .join(run, run.c.pk == job.c.run_pk)
        .where(run.c.run_id == "case-late", scorer.c.kind == "judge")
    )
    assert sorted(map(tuple, rows(project, statement))) == [
        ("1.0.0", "nightly", "scored"),
        ("1.1.0", "backfill", "scored"),
    ]
