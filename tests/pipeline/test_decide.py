"""What a person decides is stored whole, or not at all."""

from datetime import date
from pathlib import Path

import pytest

from tests.support.projects import OpenProject
from worker.errors import SettingsError
from worker.pipeline.decide import decide_alerts, decide_findings
from worker.project.project import Project
from worker.queries.alerts import list_alerts
from worker.records import Alert
from worker.store.results import alerts

NIGHT = date(2026, 11, 20)


@pytest.fixture
def project(open_project: OpenProject, tmp_path: Path) -> Project:
    return open_project(SPOTCHECK_DATABASE_URL=f"sqlite:///{tmp_path / 'spotcheck.db'}")


def test_one_wrong_number_undoes_the_decisions_beside_it(project: Project) -> None:
    with project.store.write() as connection:
        number = alerts.add(
            connection,
            Alert(
                key="k",
                kind="run_cost",
                urgency="now",
                task_type="refund",
                subject="bot",
                text="dear",
                details={},
                night=NIGHT,
                raised_at=project.store.now(connection),
            ),
        )
    assert number is not None
    with pytest.raises(SettingsError, match="there is no alert 77"):
        decide_alerts(project, {"acknowledged": [number], "muted": [77]}, muted_until=NIGHT)
    assert [alert.state for alert in list_alerts(project).alerts] == ["open"]
    decide_alerts(project, {"muted": [number]}, muted_until=NIGHT)
    (alert,) = list_alerts(project).alerts
    assert (alert.state, alert.muted_until) == ("muted", NIGHT)
    decide_alerts(project, {"acknowledged": [number]}, muted_until=NIGHT)
    (alert,) = list_alerts(project).alerts
    assert (alert.state, alert.muted_until) == ("acknowledged", None)


def test_a_finding_that_is_not_there_is_a_mistake_of_who_asked(project: Project) -> None:
    with pytest.raises(SettingsError, match="there is no finding 3; see `spotcheck drift --all`"):
        decide_findings(project, {"accepted": 3}, muted_until=NIGHT)
