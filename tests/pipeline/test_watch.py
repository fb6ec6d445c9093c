"""All ended runs watched: what is planted is found and named, what is not stays quiet, and looking twice is free."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import delete

from tests.support import stores
from tests.support.projects import OpenProject
from tests.support.watched_team import MONDAY, TOOLS, Way, Ways, live, night_of_runs, project, send, sqlite, steady
from worker.pipeline.draw import draw_night
from worker.pipeline.operations.watch import watch
from worker.project.project import Project
from worker.records import Drift
from worker.store.results import alerts, findings
from worker.store.runs import operational
from worker.store.runs.runs import TOOL_FAILURES_SINCE, tool_failures_since
from worker.store.tables import MetaRow, core

meta = core(MetaRow)

CHANGE = 42
"""The night from which the planted change holds."""


def _planted(task: str, changed: Way) -> Ways:
    return lambda task_type, offset: changed if task_type == task and offset >= CHANGE else Way()


class Past(NamedTuple):
    """Six steady weeks, as a database to be copied, and where the random numbers stand after them."""

    database: Path
    state: tuple[Any, ...]

    def go_on(self, open_project: OpenProject, folder: Path, nights: int, ways: Ways) -> tuple[Project, list[Drift]]:
        """A copy of the project, and what is found in so many nights more."""
        opened = project(open_project, stores.sqlite_copy(self.database, folder))
        rng = random.Random()
        rng.setstate(self.state)
        return opened, live(opened, CHANGE + nights, ways, lived=CHANGE, rng=rng)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("past")
    open_project, rng = OpenProject(), random.Random(1)
    assert live(project(open_project, sqlite(folder)), CHANGE, steady, rng=rng) == []
    open_project.close()
    return Past(folder / stores.NAME, rng.getstate())


@pytest.mark.parametrize(
    ("changed", "scorer", "kind", "direction", "within"),
    [
        (Way(errors=0.15), "error_rate", "errors", "up", 7),
        (Way(aborts=0.15), "abort_rate", "errors", "up", 7),
        (Way(tool_fails=0.25), "tool_failure:issue_refund", "tool", "up", 3),
        (Way(cost_usd=0.03), "cost_per_run", "cost", "up", 4),
        (Way(calls=4.0), "steps_per_run", "steps", "up", 4),
    ],
)
def test_each_planted_change_is_found_in_its_task_type_and_named(
    open_project: OpenProject,
    past: Past,
    tmp_path: Path,
    changed: Way,
    scorer: str,
    kind: str,
    direction: str,
    within: int,
) -> None:
    opened, found = past.go_on(open_project, tmp_path, 10, _planted("billing", changed))
    assert [(finding.stream.task_type, finding.stream.scorer, finding.kind) for finding in found] == [
        ("billing", scorer, kind)
    ]
    (one,) = found
    assert one.direction == direction
    assert 0 <= (one.found_night - MONDAY).days - CHANGE <= within
    with opened.store.read() as connection:
        (alert,) = [alert for alert in alerts.list_alerts(connection) if alert.kind == "drift"]
    assert alert.urgency == "now"
    assert alert.finding_id == one.finding_id
    assert "billing" in alert.text


def test_before_and_after_are_told_in_the_unit_of_the_figure(
    open_project: OpenProject, past: Past, tmp_path: Path
) -> None:
    _, (cost,) = past.go_on(open_project, tmp_path, 8, _planted("billing", Way(cost_usd=0.04)))
    # the mean of a lognormal is its median times exp(sigma²/2) = 1.133
    assert cost.before == pytest.approx(0.02 * 1.133, rel=0.1)
    assert cost.after == pytest.approx(0.04 * 1.133, rel=0.2)


def test_a_change_of_the_traffic_and_of_nothing_else_raises_nothing(
    open_project: OpenProject, past: Past, tmp_path: Path
) -> None:
    _, found = past.go_on(open_project, tmp_path, 10, _planted("billing", Way(runs=180)))
    assert found == []


def test_failures_that_are_counted_otherwise_since_an_upgrade_are_no_change_of_the_tool(
    open_project: OpenProject, past: Past, tmp_path: Path
) -> None:
    """A release that looked at steps' errors alone left no mark; what results say counts from the upgrade on."""
    store = open_project("", SPOTCHECK_DATABASE_URL=stores.sqlite_copy(past.database, tmp_path)).store
    with store.write() as connection:
        connection.execute(delete(meta).where(meta.c.key == TOOL_FAILURES_SINCE))
    rng = random.Random()
    rng.setstate(past.state)
    opened = project(open_project, stores.sqlite_url(tmp_path))
    counted_now = _planted("billing", Way(tool_fails=0.25))
    assert live(opened, CHANGE + 12, counted_now, lived=CHANGE, rng=rng) == []
    with opened.store.read() as connection:
        assert tool_failures_since(connection) == MONDAY + timedelta(days=CHANGE)
    worse = _planted("billing", Way(tool_fails=0.6))
    found = live(opened, CHANGE + 19, worse, lived=CHANGE + 12, rng=rng)
    assert [finding.stream.scorer for finding in found] == ["tool_failure:issue_refund"], "it has learned anew"


@pytest.mark.slow
def test_constant_figures_raise_nothing_in_eight_weeks(open_project: OpenProject, tmp_path: Path) -> None:
    """One seed; `python -m bench.simulations` looks at six."""
    opened = project(open_project, sqlite(tmp_path))
    assert live(opened, 56, steady, seed=1) == []
    with opened.store.read() as connection:
        assert alerts.list_alerts(connection, everything=True) == []


def test_an_outage_is_seen_within_hours_before_its_night_is_over(open_project: OpenProject, tmp_path: Path) -> None:
    opened = project(open_project, sqlite(tmp_path))
    live(opened, 20, steady)
    night = MONDAY + timedelta(days=20)
    bad = [
        {**run, "status": "errored"} if index % 2 and run["task_type"] == "faq" else run
        for index, run in enumerate(night_of_runs(random.Random(5), night, 20, lambda *_: Way(runs=120)))
    ]
    noon = datetime(night.year, night.month, night.day, 14, 5, tzinfo=UTC)
    send(opened, [run for run in bad if run["ended_at"] < noon.isoformat()], noon)
    found = watch(opened, noon).found
    assert [(finding.stream.task_type, finding.stream.scorer) for finding in found] == [("faq", "error_rate")]
    assert found[0].window_hours is not None
    assert found[0].found_night == night
    assert watch(opened, noon + timedelta(minutes=1)).found == []
    # the night's own look does not tell it again
    send(opened, [run for run in bad if run["ended_at"] >= noon.isoformat()], noon + timedelta(hours=12))
    morning = noon + timedelta(hours=12)
    draw_night(opened, night, morning)
    assert watch(opened, morning).found == []


def test_figures_are_those_of_the_runs_counted_by_hand(open_project: OpenProject, database_url: str) -> None:
    opened = project(open_project, database_url)
    documents = list(night_of_runs(random.Random(3), MONDAY, 0, steady))
    now = datetime(2026, 9, 29, 2, 5, tzinfo=UTC)
    send(opened, documents, now)
    assert watch(opened, now).summed == [MONDAY]
    with opened.store.read() as connection:
        rows = {
            (row.task_type, row.measure, row.subject): row
            for row in operational.night_figures(connection, MONDAY, MONDAY)
        }
        by_hour = operational.hour_figures(connection, MONDAY, MONDAY)
    for task_type in TOOLS:
        own = [run for run in documents if run["task_type"] == task_type]
        status = Counter(run["status"] for run in own)
        assert (rows[task_type, "errors", ""].n, rows[task_type, "errors", ""].s) == (len(own), status["errored"])
        assert rows[task_type, "completed", ""].s == status["completed"]
        assert rows[task_type, "cost", ""].total == pytest.approx(sum(run["cost_usd"] for run in own))
        assert rows[task_type, "steps", ""].total == sum(len(run["steps"]) for run in own)
        tool = rows[task_type, "tool", TOOLS[task_type]]
        shares = [sum(1 for step in run["steps"] if step["error"]) / len(run["steps"]) for run in own]
        assert (tool.n, tool.total) == (len(own), sum(len(run["steps"]) for run in own))
        assert tool.s == pytest.approx(sum(shares))
        assert tool.ss == pytest.approx(sum(share * share for share in shares))
    for key, row in rows.items():
        parts = [figure for figure in by_hour if (figure.task_type, figure.measure, figure.subject) == key]
        assert sum(part.n for part in parts) == row.n
        assert sum(part.total for part in parts) == pytest.approx(row.total)


def test_late_runs_are_summed_in_and_nothing_else_is_summed_again(open_project: OpenProject, database_url: str) -> None:
    opened = project(open_project, database_url)
    rng = random.Random(3)
    now = datetime(2026, 9, 29, 2, 5, tzinfo=UTC)
    send(opened, list(night_of_runs(rng, MONDAY, 0, steady)), now)
    assert watch(opened, now).summed == [MONDAY]
    assert watch(opened, now).summed == []
    late = list(night_of_runs(rng, MONDAY, 0, steady))[:5]
    send(opened, late, now + timedelta(minutes=5))
    assert watch(opened, now + timedelta(minutes=6)).summed == [MONDAY]


def test_history_from_before_the_first_tick_is_summed_and_never_alarmed(
    open_project: OpenProject, tmp_path: Path
) -> None:
    opened = project(open_project, sqlite(tmp_path))
    rng = random.Random(1)
    for offset in range(50):
        night = MONDAY + timedelta(days=offset)
        ways = _planted("billing", Way(errors=0.5))
        send(opened, list(night_of_runs(rng, night, offset, ways)), datetime(2026, 11, 20, tzinfo=UTC))
    assert len(watch(opened, datetime(2026, 11, 20, 2, 5, tzinfo=UTC)).summed) == 50
    with opened.store.read() as connection:
        assert findings.list_findings(connection, everything=True) == []
