"""Caps of single rubrics from the settings to the ledger, what is told of them, and a process that was away."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tests.support.project import MONDAY, Installation, document, draw_nights, ingest, job, rows, scorer, wait
from worker.demo.judge.server import MODEL
from worker.errors import SettingsError
from worker.jobs.outcome import failed
from worker.jobs.queue import ClaimedBatch, JobQueue
from worker.project.project import Project
from worker.queries.budgets import BudgetStatus, budgets
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.budget.accounts import AccountBalance

PRICED = f'[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
TWO = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = []\nrubrics = ["task_completion", "tone_and_format"]\n'


def most_usd(project: Project, name: str) -> float:
    (one,) = [scorer for scorer in project.scorers.all if isinstance(scorer, RubricScorer) and scorer.key.name == name]
    most = project.prices.max_usd(one)
    assert most is not None
    return most


def test_a_rubric_spends_its_own_money_and_the_others_theirs(installation: Installation) -> None:
    most = most_usd(installation.project(TWO + PRICED), "tone_and_format")
    cap = 3.5 * most
    project = installation.project(
        f"{TWO}{PRICED}[judge.budgets.tone_and_format]\nusd_per_day = {cap}\nusd_per_month = 9.0\n"
    )
    ingest(project, [document(f"case-{number}") for number in range(120)])
    draw_nights(project, [MONDAY])
    wait(project)
    jobs = rows(project, select(job.c.state, job.c.u, scorer.c.name).join(scorer, scorer.c.pk == job.c.scorer_pk))
    by = Counter((job.name, job.state) for job in jobs)
    assert by["task_completion", "scored"] == 120
    scored, shed = by["tone_and_format", "scored"], by["tone_and_format", "shed"]
    assert 3 <= scored < 120
    assert scored + shed == 120
    tone = [job for job in jobs if job.name == "tone_and_format"]
    assert max(job.u for job in tone if job.state == "scored") < min(job.u for job in tone if job.state == "shed")
    with project.store.read() as connection:
        of_all, other, own = budgets(project, connection)
    assert (of_all.rubric, other.rubric, own.rubric) == (None, "task_completion", "tone_and_format")
    assert (of_all.usd_per_day, other.usd_per_day, own.usd_per_day, own.usd_per_month) == (None, None, cap, 9.0)
    assert cap - most < own.today.spent_usd <= cap
    assert own.month == own.today
    assert of_all.today.spent_usd == pytest.approx(own.today.spent_usd + other.today.spent_usd)


def test_a_rubric_that_has_spent_nothing_is_told_with_its_cap(installation: Installation) -> None:
    project = installation.project(
        "[judge]\nbudget_usd_per_day = 2\n[judge.budgets.tone_and_format]\nusd_per_month = 3\n"
    )
    nothing = AccountBalance(0, 0, 0)
    with project.store.read() as connection:
        assert budgets(project, connection) == [
            BudgetStatus(None, nothing, 2, nothing, None),
            BudgetStatus("tone_and_format", nothing, None, nothing, 3),
        ]


def test_a_budget_of_a_rubric_that_nobody_knows_is_told_with_what_was_meant(installation: Installation) -> None:
    project = installation.project("[judge.budgets.tone_and_formt]\nusd_per_day = 1\n")
    with pytest.raises(SettingsError, match=r"judge.budgets: 'tone_and_formt' is not known; did you mean tone_and_fo"):
        project.prices.check()
    resting = installation.project("[judge.budgets.tone_and_format]\nusd_per_day = 1\n")
    resting.prices.check()  # known, though not in force


def test_only_a_rubric_with_a_budget_needs_a_price(installation: Installation) -> None:
    installation.project(f"{TWO}[judge.budgets.safety_of_actions]\nusd_per_day = 1\n").prices.check()
    with pytest.raises(SettingsError, match="the price of 'simulated-judge' is unknown"):
        installation.project(f"{TWO}[judge.budgets.tone_and_format]\nusd_per_day = 1\n").prices.check()


def test_a_lane_that_was_away_settles_what_nobody_took_over(installation: Installation) -> None:
    project = installation.project(f"{TWO}[judge]\nbudget_usd_per_day = 50\n{PRICED}")
    ingest(project, [document(f"case-{number}") for number in range(3)])
    draw_nights(project, [MONDAY])
    away, other = JobQueue(project, "judge"), JobQueue(project, "judge")
    mine = away.claim(10)
    assert len(mine.work) == 6
    with project.store.write() as connection:
        connection.execute(update(job).values(lease_until=datetime.now(UTC) - timedelta(seconds=1)))
    theirs: ClaimedBatch = other.claim(2)
    done = [failed(work.job, "whatever", was_called=False) for work in mine.work]
    assert away.settle(done) == 4
    assert other.settle([failed(work.job, "whatever", was_called=False) for work in theirs.work]) == 2
    with project.store.read() as connection:
        of_all = budgets(project, connection)[0]
    reserved = sum(work.job.reserved_usd for work in theirs.work)
    assert of_all.today.spent_usd == of_all.today.presumed_usd == pytest.approx(reserved)
