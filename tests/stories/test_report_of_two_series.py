"""A week that two series of a rubric have measured: its report says which nights and runs each figure is of."""

from pathlib import Path

from tests.support.backfills import NIGHTS, RUNS, drawn_before, now, run_it
from tests.support.project import Installation
from worker.cli.views import report as report_text
from worker.core.report.model import Report
from worker.pipeline.backfill import plan
from worker.project.project import Project
from worker.queries.report.gather import ReportRequest, gather
from worker.render import markdown


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
