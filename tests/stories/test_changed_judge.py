"""A judge, a rubric or a key that comes, goes or changes while nights are open: nothing is lost or waited for."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

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
    wait,
)
from worker.core.calendar import nights_between
from worker.pipeline.nightly import open_jobs
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.store.results import findings
from worker.store.tables import JobRow, ScorerRow, core

job, scorer = core(JobRow), core(ScorerRow)
RUNS = 12


def states(project: Project) -> dict[str | None, Counter[tuple[str, str | None]]]:
    """Judge's jobs by model, state and reason."""
    found: dict[str | None, Counter[tuple[str, str | None]]] = {}
    statement = select(scorer.c.spec, job.c.state, job.c.reason).join(scorer, scorer.c.pk == job.c.scorer_pk)
    for spec, state, reason in rows(project, statement.where(job.c.lane == "judge")):
        found.setdefault(spec["model"], Counter())[state, reason if state != "scored" else None] += 1
    return found


def heal(project: Project) -> None:
    reconcile(project, datetime.now(UTC), lambda lane, due: None)


@pytest.fixture
def drawn(installation: Installation) -> Project:
    """A night of long ago, drawn for the model that the bench has; its judge's jobs are open."""
    project = installation.project()
    ingest(project, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(project, [MONDAY])
    return project


def test_a_night_ends_with_the_model_it_was_drawn_with_and_the_next_begins_with_another(
    installation: Installation, drawn: Project
) -> None:
    changed = installation.project(SPOTCHECK_JUDGE_MODEL="another")
    heal(changed)
    assert wait(changed).still_open == 0
    assert states(changed) == {"simulated-judge": Counter({("scored", None): RUNS})}
    tuesday = MONDAY + timedelta(days=1)
    ingest(changed, [document(f"case-{number}-tuesday", tuesday) for number in range(RUNS)])
    assert nightly(changed, [MONDAY, tuesday]).still_open == 0
    assert states(changed) == {
        "simulated-judge": Counter({("scored", None): RUNS}),
        "another": Counter({("scored", None): RUNS}),
    }
    assert open_jobs(changed) == 0
    assert_reconciles(changed)


def test_without_a_judge_its_jobs_wait_for_it_and_nobody_waits_for_them(
    installation: Installation, drawn: Project
) -> None:
    without = installation.project(SPOTCHECK_JUDGE_MODEL="")
    heal(without)
    assert wait(without).still_open == 0
    assert open_jobs(without) == RUNS
    assert states(without) == {"simulated-judge": Counter({("queued", None): RUNS})}
    again = installation.project()
    heal(again)
    assert wait(again).still_open == 0
    assert states(again) == {"simulated-judge": Counter({("scored", None): RUNS})}


def test_nights_drawn_without_a_judge_are_judged_when_asked_for_again_and_a_drop_in_them_is_found(
    installation: Installation,
) -> None:
    nights = list(nights_between(MONDAY, MONDAY + timedelta(days=34)))
    installation.passes = lambda case: not any(f"refund-{offset}-" in case for offset in range(28, 35))
    without = installation.project(SPOTCHECK_JUDGE_MODEL="")
    runs = history(35, {"refund": 8})
    ingest(without, runs)
    nightly(without, nights)
    assert states(without) == {None: Counter({("unscored", "no_judge_configured"): len(runs)})}
    judged = installation.project()
    heal(judged)
    assert states(judged) == states(without), "history is never paid for unasked"
    assert nightly(judged, nights).still_open == 0
    assert states(judged)["simulated-judge"] == Counter({("scored", None): len(runs)})
    assert_reconciles(judged)
    with judged.store.read() as connection:
        found = [
            finding for finding in findings.list_findings(connection) if finding.stream.scorer == "task_completion"
        ]
    assert found
    assert nights[28] <= min(finding.found_night for finding in found)
    asked = len(installation.asked)
    nightly(judged, nights)
    assert len(installation.asked) == asked


def test_a_recent_night_drawn_without_a_judge_is_judged_unasked(installation: Installation) -> None:
    night = datetime.now(UTC).date() - timedelta(days=2)
    without = installation.project(SPOTCHECK_JUDGE_MODEL="")
    ingest(without, [document(f"case-{number}", night) for number in range(RUNS)])
    nightly(without, [night])
    judged = installation.project()
    heal(judged)
    assert wait(judged).still_open == 0
    assert states(judged)["simulated-judge"] == Counter({("scored", None): RUNS})


def test_a_rubric_that_is_not_wanted_any_more_leaves_no_open_job_and_takes_them_up_when_it_is_back(
    installation: Installation,
    drawn: Project,
) -> None:
    dropped = installation.project(PLAIN.replace("[scoring]", "[scoring]\nrubrics = []"))
    heal(dropped)
    assert wait(dropped).still_open == 0
    assert open_jobs(dropped) == 0
    assert states(dropped) == {"simulated-judge": Counter({("shed", "retired"): RUNS})}
    again = installation.project()
    draw_nights(again, [MONDAY])
    assert wait(again).still_open == 0
    assert states(again) == {"simulated-judge": Counter({("scored", None): RUNS})}
    assert_reconciles(again)


def test_late_runs_of_a_drawn_night_are_taken_in_by_whoever_has_a_new_judge(
    installation: Installation, drawn: Project
) -> None:
    changed = installation.project(SPOTCHECK_JUDGE_MODEL="another")
    ingest(changed, [document("case-late")])  # the first that hears of the new judge
    assert states(changed) == {"simulated-judge": Counter({("queued", None): RUNS + 1})}
