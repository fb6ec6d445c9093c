"""What the read models promise to whoever shows them: fields in the order of `--json`, and nothing written."""

from pathlib import Path

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from worker.project.project import Project
from worker.queries.counts import TERMS, read_counts
from worker.queries.empty import EmptyFilter, RunFilters, empty_run_filters
from worker.queries.overview import OverviewReader
from worker.queries.runs import RunSummary, list_runs, night_span
from worker.queries.trends import TrendsRequest, missing_scores, read_points
from worker.settings import Settings
from worker.store.tables import RunRow, core

_UNTOLD = {"pk", "content_sha", "sample_key"}


def a_project(folder: Path) -> Project:
    return Project(Settings.read({"SPOTCHECK_DATABASE_URL": f"sqlite:///{folder / 'spotcheck.db'}"}, None)).open()


def test_a_summary_has_every_column_of_a_run_but_its_keys() -> None:
    assert [column.name for column in core(RunRow).columns if column.name not in _UNTOLD] == list(RunSummary._fields)


def test_an_empty_store_has_nothing_of_anything(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    now = project.settings.clock.now()
    assert list_runs(project, limit=5).runs == []
    assert night_span(project) is None
    assert empty_run_filters(project, RunFilters(task_type="refund")) == []
    assert read_points(project, TrendsRequest()) == []
    assert missing_scores(project, TrendsRequest()) == {}
    counted = read_counts(project, None, None, now)
    assert counted.rows == []
    assert counted.reconciles
    assert counted.totals == dict.fromkeys(TERMS, 0)
    assert counted.pending_undrawn == 0
    seen = OverviewReader(project).read(now)
    assert (seen.next_night, seen.next_at, seen.findings, seen.alerts_now, seen.trouble) == (None, None, 0, 0, None)
    project.store.close()


def test_runs_are_records_and_not_rows_of_the_database(shell: Shell) -> None:
    assert shell("ingest", "-", stdin=lines(a_document("r-1"))).code == 0
    project = a_project(shell.folder)
    (run,) = list_runs(project, limit=5).runs
    assert type(run) is RunSummary
    assert run.run_id == "r-1"
    assert night_span(project) == (run.night, run.night)
    assert empty_run_filters(project, RunFilters(task_type="faq")) == [
        EmptyFilter("--task-type", "faq", "task types", ["refund"])
    ]
    project.store.close()
