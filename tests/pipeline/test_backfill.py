"""Drawn nights scored again: by a version that came later, by a smaller sample, and what a budget skipped."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.backfills import (
    FEW,
    LATER,
    NIGHTS,
    RUNS,
    cut,
    drawn_before,
    enrolment,
    job,
    night_table,
    now,
    run,
    run_it,
    score,
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
    everything,
    history,
    ingest,
    nightly,
    rows,
    states,
    wait,
)
from worker.errors import SettingsError
from worker.pipeline.backfill import backfill, carry_out, left_alone, plan
from worker.pipeline.nightly import finish
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.queries.findings import list_findings
from worker.records import score_id
from worker.store.queue import enrol
from worker.store.results import outbox
from worker.store.runs import runs


def test_the_active_version_scores_drawn_nights_only_where_it_is_asked_for(
    installation: Installation, tmp_path: Path
) -> None:
    project = drawn_before(installation, tmp_path)
    assert scored(project) == {**{("1.0.0", night): RUNS for night in NIGHTS}, ("1.1.0", LATER): RUNS}
    told = [(row.key.version, list(nights), why) for row, nights, why in left_alone(project, [*NIGHTS, LATER])]
    assert told == [("1.1.0", NIGHTS, "new")]
    for looked_at, named in (([NIGHTS[2], LATER], NIGHTS), ([LATER], None)):
        wide = [list(nights) for _, nights, _ in left_alone(project, looked_at, with_older=True)]
        assert wide == ([named] if named else []), "the whole range that a backfill without dates scores"

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
    stored = rows(
        project, select(score).join(scorer, scorer.c.pk == score.c.scorer_pk).where(scorer.c.version == "1.1.0")
    )
    assert {row.night for row in stored} == {MONDAY, LATER}
    with project.store.read() as connection:
        keys = {one.pk: one.key for one in enrol.registered(connection)}
        loaded = runs.load(connection, [row.run_pk for row in stored])
    for row in stored:
        expected = score_id(loaded[row.run_pk], keys[row.scorer_pk], row.criterion, "production", 0)
        assert (row.score_id, row.purpose) == (expected, "production")


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


def test_failed_jobs_are_tried_again_only_where_asked(installation: Installation) -> None:
    project = installation.project()
    ingest(project, history(1, FEW))
    nightly(project, [MONDAY])
    gone = {"state": "failed", "reason": "scorer_error", "attempt": 3}
    with project.store.write() as connection:
        pks = list(connection.execute(select(job.c.pk).where(job.c.lane == "judge").limit(4)).scalars())
        of_them = select(job.c.run_pk).where(job.c.pk.in_(pks))
        connection.execute(score.delete().where(score.c.run_pk.in_(of_them), score.c.prompt_hash.is_not(None)))
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
    assert [(part.scorer.key.name, part.runs, part.most_usd) for part in planned.parts] == [("completed", RUNS, 0.0)]
    run_it(more, planned)
    assert states(more, "heuristic") == {"scored": RUNS * 4}
    assert_reconciles(more)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["task_completio"], "did you mean task_completion"),
        (["task_completion@9.9.9"], "has no version '9.9.9'; stored are 1.0.0"),
        (["groundedness"], "rubric groundedness has a file, but scoring.rubrics does not name it"),
        (["nosuch"], "known are|did you mean"),
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
