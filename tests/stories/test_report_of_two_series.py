"""A week that two series of a rubric have measured: its report says which nights and runs each figure is of."""

from pathlib import Path

from sqlalchemy import update

from tests.support.backfills import NIGHTS, RUNS, drawn_before, now, run_it
from tests.support.changed_ruler import CHANGED, SINCE, Ruler, change
from tests.support.history import NOW, night
from tests.support.project import Installation
from worker.cli.views import report as report_text
from worker.core.report.model import Report
from worker.pipeline.backfill import plan
from worker.project.project import Project
from worker.queries.report.gather import ReportRequest, gather
from worker.render import markdown
from worker.store.engine import Store
from worker.store.tables import ScoreRow, core


def a_report(project: Project) -> Report:
    """Of the three nights of 1.0.0 and the one of 1.1.0."""
    return gather(project, ReportRequest(), now())


def told(report: Report) -> str:
    return "\n".join(report_text.lines(report, None))


def test_runs_that_the_earlier_series_judged_are_judged(installation: Installation, tmp_path: Path) -> None:
    project = drawn_before(installation, tmp_path)
    report = a_report(project)
    by = dict(report.sampled.quality.by)
    old, new = by
    assert (old[:5], new[:5], list(by.values())) == ("1.0.0", "1.1.0", [3 * RUNS, RUNS])
    said = f"{4 * RUNS} of {4 * RUNS} sampled runs judged"
    assert f"{said} ({3 * RUNS} by {old}, {RUNS} by {new}) · " in " ".join(told(report).split())
    assert f"{said} ({3 * RUNS} by `{old}`, {RUNS} by `{new}`) · " in markdown.render(report)


def test_after_a_backfill_headline_table_and_counts_are_of_the_same_nights(
    installation: Installation, tmp_path: Path
) -> None:
    project = drawn_before(installation, tmp_path)
    run_it(project, plan(project, NIGHTS[2], NIGHTS[2]))
    report = a_report(project)
    assert report.groups[0].good.n == 2 * RUNS
    (counts,) = report.primary_counts
    assert counts.scored == 2 * RUNS
    text = " ".join(told(report).split())
    assert " in 2026-W37 since Wed 9 Sep (95 % interval" in text
    assert f", n {2 * RUNS} of {2 * RUNS} runs)." in text
    by = "".join(f"{count} by {series}, " for series, count in report.sampled.quality.by).removesuffix(", ")
    assert f"{4 * RUNS} of {4 * RUNS} sampled runs judged ({by}; {RUNS} by both)" in text


def test_a_new_series_without_a_score_does_not_hide_what_is_known(fresh: Store, tmp_path: Path) -> None:
    def refuses(scorer: str, run_id: str) -> float | str:
        return "refusal" if scorer == "task_completion" else 1.0

    changed = change(fresh, tmp_path, Ruler(), Ruler(model="gpt-b"), refuses)
    report = gather(changed.made.project, ReportRequest(), NOW)
    (old, before), (new, none) = report.sampled.quality.by
    assert (before, none) == (40, 0)
    line = next(stream for stream in report.streams if stream.is_rubric and stream.task_type is None)
    (level,) = [point.mean for point in line.points if (point.week, point.series) == ("2026-W47", old)]
    assert level is not None
    drawn = 20 * (CHANGED + 1)
    known = (
        f"Nothing is known of the quality in week 2026-W47 since Wed 18 Nov (new series {new}): none of {drawn} "
        f"sampled runs has a score, most often: refusal ({drawn}); before it {100 * level:.0f} %, n 40, by {old}."
    )
    assert known in map("".join, report.sentences)
    of_new = gather(changed.made.project, ReportRequest(SINCE, night(0)), NOW)
    since = f"Nothing is known of the quality in the nights {SINCE} to {night(0)}: none of {drawn} sampled runs"
    assert any("".join(one).startswith(since) for one in of_new.sentences)


def test_low_coverage_says_by_which_series(fresh: Store, tmp_path: Path) -> None:
    def refuses(scorer: str, run_id: str) -> float | str:
        return "refusal" if scorer == "task_completion" and run_id.startswith("faq") else 1.0

    changed = change(fresh, tmp_path, Ruler(), Ruler(model="gpt-b"), refuses)
    report = gather(changed.made.project, ReportRequest(), NOW)
    said = (
        f"Only 50 % of {20 * (CHANGED + 1)} sampled runs have a score of quality by {report.primary_series}, most often"
    )
    assert any("".join(one).startswith(said) for one in report.sentences)


def test_what_judging_cost_names_the_answers_of_unknown_price(fresh: Store, tmp_path: Path) -> None:
    changed = change(fresh, tmp_path, Ruler(), Ruler(model="gpt-b"))
    score = core(ScoreRow)
    with fresh.write() as connection:
        connection.execute(update(score).where(score.c.night < SINCE).values(cost_usd=None))
    report = gather(changed.made.project, ReportRequest(), NOW)
    cost = "judging cost $0.10 and 40 answers of unknown price"
    assert cost in " ".join(told(report).split())
    assert cost in markdown.render(report)
