"""Troubles of the pipeline: raised once, ended once, left alone by replays, and quiet where somebody muted them."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.projects import OpenProject
from tests.support.watched_team import project
from worker.pipeline.decide import decide_alerts
from worker.pipeline.operations.troubles import PipelineTrouble, settle
from worker.project.project import Project
from worker.store.results import alerts, outbox

NOW = datetime.now(UTC)
NIGHT = NOW.date() - timedelta(days=1)
TROUBLE = PipelineTrouble("runs", NIGHT, "no runs", "faq")


@pytest.fixture
def opened(open_project: OpenProject, database_url: str) -> Project:
    made = project(open_project, database_url, environ={"SPOTCHECK_WEBHOOK_URL": "http://127.0.0.1:9/hook"})
    made.nights.first_tick(NOW)
    return made


def look(opened: Project, *found: PipelineTrouble, nights_ago: int = 0) -> list[str]:
    with opened.store.write() as connection:
        return settle(opened, connection, "runs", found, NIGHT - timedelta(days=nights_ago), NOW)


def waiting(opened: Project) -> int:
    with opened.store.read() as connection:
        return outbox.waiting(connection).get("queued", 0)


def test_the_beginning_and_the_end_are_sent_once_each(opened: Project) -> None:
    assert look(opened, TROUBLE) == ["no runs"]
    assert look(opened, TROUBLE) == []
    assert waiting(opened) == 1
    assert look(opened) == ["over: no runs"]
    assert look(opened) == []
    assert waiting(opened) == 2


def test_a_trouble_that_was_muted_ends_in_silence(opened: Project) -> None:
    look(opened, TROUBLE)
    with opened.store.read() as connection:
        (one,) = alerts.open_troubles(connection, "runs")
    decide_alerts(opened, {"muted": [one.pk]}, muted_until=NIGHT + timedelta(days=7))
    assert look(opened) == ["over: no runs"]
    assert waiting(opened) == 1


def test_a_look_at_an_older_night_ends_nothing_that_began_after_it(opened: Project) -> None:
    look(opened, TROUBLE)
    assert look(opened, nights_ago=3) == []
    with opened.store.read() as connection:
        assert len(alerts.open_troubles(connection, "runs")) == 1


def test_checks_and_task_types_are_told_apart(opened: Project) -> None:
    other = TROUBLE._replace(task_type="refund", text="no refunds")
    assert look(opened, TROUBLE, other) == ["no runs", "no refunds"]
    assert look(opened, other) == ["over: no runs"]
    with opened.store.write() as connection:
        assert settle(opened, connection, "run", [], NIGHT, NOW) == [], (
            "a check ends none whose name begins like its own"
        )
