"""Drawn nights scored again: by a version that came later, by a smaller sample, and what a budget skipped."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    everything,
    history,
    ingest,
    nightly,
    rows,
    states,
    wait,
)
from tests.support.rubrics import changed
from worker.demo.judge.server import MODEL
from worker.errors import SettingsError
from worker.pipeline.backfill import BackfillPlan, backfill, carry_out, left_alone, plan
from worker.pipeline.nightly import finish
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.queries.findings import list_findings
from worker.store.budget import accounts
from worker.store.queue.job import WAITS_FOR_MONEY
from worker.store.results import cells, outbox
from worker.store.tables import CutRow, EnrolmentRow, JobRow, NightRow, RunRow, ScoreRow, ScorerRow, core

cut, enrolment, job, night_table, run, score, scorer = (
    core(row) for row in (CutRow, EnrolmentRow, JobRow, NightRow, RunRow, ScoreRow, ScorerRow)
)
NIGHTS = [MONDAY + timedelta(days=offset) for offset in range(3)]
LATER = MONDAY + timedelta(days=3)
STRICTER = {"version: 1.0.0": "version: 1.1.0", "threshold: 0.7": "threshold: 0.9"}
PRICED = f'{PLAIN}[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
FEW = {"refund": 9, "order": 9}
RUNS = 18
"""In a night; all of them are judged."""


def now() -> datetime:
    return datetime.now(UTC)


def drawn_before(installation: Installation, tmp_path: Path, toml: str = PLAIN) -> Project:
    """Three nights scored by 1.0.0, and a fourth that was drawn with 1.1.0."""
    old = installation.project(toml)
    ingest(old, history(4, FEW))
    assert nightly(old, NIGHTS).still_open == 0
    new = installation.project(toml, SPOTCHECK_PROMPTS=changed(tmp_path / "mine", STRICTER))
    assert nightly(new, [LATER]).still_open == 0
    return new


def run_it(project: Project, planned: BackfillPlan) -> None:
    carry_out(project, planned, now())
    assert wait(project).still_open == 0
    finish(project, now())


def scored(project: Project) -> Counter[tuple[str, date]]:
    """Runs with an aggregate score by version of the rubric and night."""
    statement = (
        select(scorer.c.version, score.c.night, func.count())
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
        .where(scorer.c.kind == "judge", score.c.criterion.is_(None), score.c.purpose == "production")
        .group_by(scorer.c.version, score.c.night)
    )
    return Counter({(version, night): count for version, night, count in rows(project, statement)})


def summarised(project: Project, version: str) -> dict[date, tuple[int, int]]:
    """Scored and drawn runs of the cells of a version's aggregate, by night."""
    with project.store.read() as connection:
        pks = list(connection.execute(select(scorer.c.pk).where(scorer.c.version == version)).scalars())
        found = cells.read_cells(connection, MONDAY, LATER, pks, aggregates_only=True)
    sums: dict[date, tuple[int, int]] = {}
    for each in found:
        for cell in each.cells:
            done, drawn = sums.get(cell.night, (0, 0))
            sums[cell.night] = done + cell.scored, drawn + cell.sampled
    return sums


def test_the_active_version_scores_drawn_nights_only_where_it_is_asked_for(
    installation: Installation, tmp_path: Path
) -> None:
    project = drawn_before(installation, tmp_path)
    assert scored(project) == {**{("1.0.0", night): RUNS for night in NIGHTS}, ("1.1.0", LATER): RUNS}
    told = [(row.key.version, list(nights), why) for row, nights, why in left_alone(project, [*NIGHTS, LATER])]
    assert told == [("1.1.0", NIGHTS, "new")]

    planned = plan(project, MONDAY, NIGHTS[1])
    ((part),) = planned.parts
    assert (part.scorer.key.version, part.nights, part.runs, part.queued) == ("1.1.0", NIGHTS[:2], 2 * RUNS, 0)
    run_it(project, planned)
    assert scored(project)["1.1.0", MONDAY] == scored(project)["1.1.0", NIGHTS[1]] == RUNS
    assert scored(project)["1.1.0", NIGHTS[2]] == 0
    assert summarised(project, "1.1.0") == {MONDAY: (RUNS, RUNS), NIGHTS[1]: (RUNS, RUNS), LATER: (RUNS, RUNS)}
    assert rows(project, select(enrolment.c.night).where(enrolment.c.purpose == "backfill").distinct()) == [
        (MONDAY,),
        (NIGHTS[1],),
    ]
    assert_reconciles(project)

    before = everything(project)
    again = plan(project, MONDAY, NIGHTS[1])
    assert (again.parts, again.runs) == ([], 0)
    run_it(project, again)
    assert everything(project) == before
    assert not left_alone(project, NIGHTS[:2])


def test_an_id_of_a_backfilled_score_is_that_of_a_night(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(installation, tmp_path)
    run_it(project, plan(project, MONDAY, MONDAY))
    prompts = changed(tmp_path / "other", STRICTER)
    ids = rows(project, select(score.c.score_id).join(scorer, scorer.c.pk == score.c.scorer_pk).where(
        scorer.c.version == "1.1.0", score.c.night == MONDAY
    ))  # fmt: skip
    assert prompts
    nightly_ids = rows(project, select(score.c.score_id).join(scorer, scorer.c.pk == score.c.scorer_pk).where(
        scorer.c.version == "1.1.0", score.c.night == LATER
    ))  # fmt: skip
    assert len(ids) == len(nightly_ids) > 0
    assert rows(project, select(score.c.purpose).distinct()) == [("production",)]


def test_a_rate_scores_the_nested_subset_and_estimates_know_it(installation: Installation, tmp_path: Path) -> None:
    toml = PLAIN.replace("rate = 1.0", "rate = 1.0\nflagged_rate = 0.0\nfloor_per_night = 0")
    project = drawn_before(installation, tmp_path, toml)
    small = plan(project, MONDAY, MONDAY, rate=0.5)
    everyone = rows(project, select(run.c.sample_key, run.c.flagged).where(run.c.night == MONDAY))
    wanted = sum(key < 0.5 for key, _ in everyone)
    assert small.runs == wanted < RUNS
    run_it(project, small)
    statement = (
        select(run.c.sample_key)
        .select_from(score)
        .join(run, run.c.pk == score.c.run_pk)
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
        .where(scorer.c.version == "1.1.0", score.c.night == MONDAY, score.c.criterion.is_(None))
    )
    assert all(key < 0.5 for (key,) in rows(project, statement))
    assert states(project)["shed"] == RUNS - wanted
    assert {reason for (reason,) in rows(project, select(cut.c.reason))} == {"rate"}
    assert summarised(project, "1.1.0")[MONDAY] == (wanted, RUNS)
    assert_reconciles(project)
    assert not left_alone(project, [MONDAY]), "a smaller sample was asked for"

    larger = plan(project, MONDAY, MONDAY, rate=0.8)
    assert larger.runs == sum(0.5 <= key < 0.8 for key, _ in everyone)
    run_it(project, larger)
    assert plan(project, MONDAY, MONDAY, rate=0.3).runs == 0
    run_it(project, plan(project, MONDAY, MONDAY))
    assert states(project)["shed"] == 0
    assert rows(project, select(cut)) == []
    assert summarised(project, "1.1.0")[MONDAY] == (RUNS, RUNS)
    assert_reconciles(project)


def test_a_rate_above_the_draw_is_refused_and_names_what_draws_more(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(installation, tmp_path, PLAIN.replace("rate = 1.0", "rate = 0.4"))
    with pytest.raises(SettingsError, match=r"--rate 0\.6 is above the 0\.4 .* spotcheck sample --since 2026-09-07"):
        plan(project, MONDAY, MONDAY, rate=0.6)
    draw_nights(project, [MONDAY], 0.6)
    assert plan(project, MONDAY, MONDAY, rate=0.6).runs > 0


def test_a_night_whose_draw_grows_keeps_the_rate_of_a_backfill(installation: Installation, tmp_path: Path) -> None:
    toml = PLAIN.replace("rate = 1.0", "rate = 0.5\nflagged_rate = 0.0\nfloor_per_night = 0")
    project = drawn_before(installation, tmp_path, toml)
    run_it(project, plan(project, MONDAY, MONDAY, rate=0.2))
    done = scored(project)["1.1.0", MONDAY]
    draw_nights(project, [MONDAY], 0.9)
    wait(project)
    finish(project, now())
    assert scored(project)["1.1.0", MONDAY] == done
    assert scored(project)["1.0.0", MONDAY] > done
    assert summarised(project, "1.1.0")[MONDAY][0] == done
    assert_reconciles(project)


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


def account(project: Project, which: str | None = None) -> accounts.AccountBalance:
    with project.store.read() as connection:
        return accounts.day_balance(connection, project.nights.of(now()), which)


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


def test_failed_jobs_are_tried_again_only_where_asked(installation: Installation) -> None:
    project = installation.project()
    ingest(project, history(1, FEW))
    nightly(project, [MONDAY])
    gone = {"state": "failed", "reason": "scorer_error", "attempt": 3}
    with project.store.write() as connection:
        pks = list(connection.execute(select(job.c.pk).where(job.c.lane == "judge").limit(4)).scalars())
        runs = select(job.c.run_pk).where(job.c.pk.in_(pks))
        connection.execute(score.delete().where(score.c.run_pk.in_(runs), score.c.prompt_hash.is_not(None)))
        connection.execute(update(job).where(job.c.pk.in_(pks)).values(**gone))
    assert plan(project, None, None).runs == 0
    planned = plan(project, None, None, with_failed=True)
    assert planned.runs == 4
    run_it(project, planned)
    assert states(project) == {"scored": RUNS}
    assert_reconciles(project)


def test_a_series_that_was_replaced_can_be_scored_further(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(installation, tmp_path)
    ((old,),) = rows(project, select(scorer.c.series).where(scorer.c.version == "1.0.0", scorer.c.kind == "judge"))
    for name in ("task_completion@1.0.0", old, f"task_completion@{old}"):
        planned = plan(project, LATER, LATER, [name])
        assert [(part.scorer.key.series, part.runs) for part in planned.parts] == [(old, RUNS)]
    run_it(project, planned)
    assert scored(project)["1.0.0", LATER] == RUNS
    assert_reconciles(project)


def test_a_heuristic_is_scored_again_by_its_name_and_costs_nothing(installation: Installation) -> None:
    project = installation.project()
    ingest(project, history(2, FEW))
    nightly(project, NIGHTS[:1])
    more = installation.project(PLAIN.replace('["answer_present"]', '["answer_present", "completed"]'))
    nightly(more, NIGHTS[1:2])
    assert plan(more, None, None).runs == 0
    planned = plan(more, None, None, ["completed"])
    assert [(part.scorer.key.name, part.runs, part.usd) for part in planned.parts] == [("completed", RUNS, 0.0)]
    run_it(more, planned)
    assert states(more, "heuristic") == {"scored": RUNS * 4}
    assert_reconciles(more)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["task_completio"], "did you mean task_completion"),
        (["task_completion@9.9.9"], "has no version '9.9.9'; stored are 1.0.0"),
        (["groundedness"], "known are|did you mean"),
        (["9.9.9+00000000"], "is not known"),
    ],
)
def test_an_unknown_scorer_is_refused(installation: Installation, names: Sequence[str], said: str) -> None:
    project = installation.project()
    ingest(project, history(1, FEW))
    nightly(project, [MONDAY])
    with pytest.raises(SettingsError, match=said):
        plan(project, None, None, names)


def test_nights_that_are_not_drawn_are_left_alone_and_named(installation: Installation) -> None:
    project = installation.project()
    empty = plan(project, None, None)
    assert (empty.parts, empty.nights, empty.undrawn) == ([], [], [])
    ingest(project, history(3, FEW))
    nightly(project, NIGHTS[1:2])
    planned = plan(project, MONDAY, NIGHTS[2])
    assert (planned.nights, planned.undrawn) == (NIGHTS[1:2], [MONDAY, NIGHTS[2]])
    row = [one for one in project.scorers.active() if one.key.kind == "judge"]
    backfill(project, NIGHTS, row, now())
    drawn = rows(project, select(night_table.c.night).where(night_table.c.drawn_at.is_not(None)))
    assert drawn == [(NIGHTS[1],)]


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


def test_a_night_is_compared_again_once_its_backfill_has_ended(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(installation, tmp_path)

    def compared() -> Any:
        return rows(project, select(night_table.c.compared_at).where(night_table.c.night == MONDAY))[0][0]

    first = compared()
    assert first is not None
    carry_out(project, plan(project, MONDAY, MONDAY), now())
    finish(project, now())
    assert compared() == first, "not while its jobs are open"
    wait(project)
    finish(project, now())
    second = compared()
    assert second > first
    finish(project, now())
    assert compared() == second


def test_jobs_of_a_backfill_go_the_way_that_the_settings_or_a_person_say(
    installation: Installation, tmp_path: Path
) -> None:
    def lanes(project: Project) -> Counter[str]:
        queued = (job.c.state == "queued", job.c.account == "backfill")
        return Counter(lane for (lane,) in rows(project, select(job.c.lane).where(*queued)))

    project = drawn_before(installation, tmp_path)
    batched = installation.project(
        PLAIN.replace("concurrency = 8", 'concurrency = 8\nbackfill_lane = "batch"'),
        SPOTCHECK_PROMPTS=str(tmp_path / "mine"),
    )
    carry_out(batched, plan(batched, MONDAY, MONDAY), now())
    assert lanes(batched) == {"batch": RUNS}
    reconcile(project, now(), lambda lane, due: None)
    assert lanes(batched) == {"batch": RUNS}
    batched.lanes.wanted = "now"
    carry_out(batched, plan(batched, MONDAY, MONDAY), now())
    assert lanes(batched) == {"judge": RUNS}


def test_findings_of_a_backfill_are_stored_and_sent_nowhere(installation: Installation) -> None:
    toml = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = ["no_repeats"]\nrubrics = []\n[alerts]\nsend = "all"\n'
    sink = {"SPOTCHECK_WEBHOOK_URL": "http://127.0.0.1:9/hook"}
    old = installation.project(toml, **sink)
    newest = old.nights.last_over(now())
    nights = [newest - timedelta(days=offset) for offset in range(40, -1, -1)]
    for night in nights:
        lost = {"output": ""} if night >= newest - timedelta(days=1) else {}
        ingest(old, [document(f"case-{night}-{number}", night, **lost) for number in range(20)])
    nightly(old, nights[:-1])
    new = installation.project(toml.replace('["no_repeats"]', '["no_repeats", "answer_present"]'), **sink)
    nightly(new, nights[-1:])
    run_it(new, plan(new, None, None, ["answer_present"]))
    found = [(one.stream.scorer, one.found_night) for one in list_findings(new)]
    assert ("answer_present", newest - timedelta(days=1)) in found
    with new.store.read() as connection:
        assert outbox.waiting(connection) == {}


@pytest.mark.parametrize("reason", ["superseded", "retired", "budget", "rate"])
def test_whatever_a_job_was_skipped_for_it_comes_back(installation: Installation, reason: str) -> None:
    project = installation.project()
    ingest(project, history(1, FEW))
    draw_nights(project, [MONDAY])
    with project.store.write() as connection:
        skipped = {"state": "shed", "reason": reason, "resolved_at": now()}
        connection.execute(update(job).where(job.c.lane == "judge").values(**skipped))
    planned = plan(project, None, None)
    assert planned.runs == RUNS
    run_it(project, planned)
    assert states(project) == {"scored": RUNS}
    assert_reconciles(project)
