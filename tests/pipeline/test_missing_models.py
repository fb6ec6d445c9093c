"""A model that no server has: a wait ends and says who was refused it, and the trouble ends with the last job."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from tests.support.project import MONDAY, Installation, document, draw_nights, ingest, states, wait
from worker.demo.judge.server import MODEL, refused
from worker.jobs.drain_result import DrainResult
from worker.jobs.processor import JobProcessor
from worker.jobs.trouble import TroubleLog
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.store import health
from worker.store.queue import workers

RUNS = 4
GONE = refused(404, f"The model `{MODEL}` does not exist", code="model_not_found")
LINE = f"the judge at http://h:1/v1 does not know model {MODEL!r}, or is not at this address (404)"


@pytest.fixture
def project(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A drawn night, and a server that does not have the model."""
    monkeypatch.setattr("worker.pipeline.nightly._STALLED_S", 0.05)
    opened = installation.project()
    ingest(opened, [document(f"case-{number}") for number in range(RUNS)])
    draw_nights(opened, [MONDAY])
    installation.instead = lambda case: GONE
    return opened


def alive(project: Project, names: Sequence[str], trouble: str | None = None) -> None:
    with project.store.write() as connection:
        for number, name in enumerate(names):
            workers.record_heartbeat(connection, name, ["judge"], number, project.store.now(connection))
            if trouble is not None:
                workers.note_configuration(connection, name, "judge", trouble)


def told(project: Project) -> list[str | None]:
    with project.store.read() as connection:
        return [row["trouble"] for row in workers.live_workers(connection, project.store.now(connection))]


def test_a_wait_ends_when_every_worker_was_refused_the_model_and_names_them(project: Project) -> None:
    alive(project, ["host:1", "host:2"], LINE)
    asked = itertools.count()
    waited = wait(project, stop=lambda: next(asked) > 3_000)
    said = str(waited.drained.refused)
    assert f"does not know model {MODEL!r}" in said
    assert said.endswith("; host:1, host:2 were refused it too")
    assert waited.still_open == RUNS
    assert states(project) == {"queued": RUNS}


def test_a_worker_alone_is_known_by_how_its_lane_fares(project: Project) -> None:
    alive(project, ["host:1"])
    TroubleLog(project).after("judge", DrainResult(refused=LINE))
    asked = itertools.count()
    assert str(wait(project, stop=lambda: next(asked) > 3_000).drained.refused).endswith("; host:1 was refused it too")


def test_a_worker_that_may_have_the_model_is_waited_for(project: Project, installation: Installation) -> None:
    alive(project, ["host:1"], LINE)
    alive(project, ["host:2"])
    asked = itertools.count()
    waited = wait(project, stop=lambda: next(asked) > 60)
    assert (waited.drained.refused, waited.still_open) == (None, RUNS)
    assert len(installation.asked) <= RUNS, "it is not asked again and again"


def test_alone_the_refusal_is_told_as_it_is(project: Project) -> None:
    waited = wait(project)
    assert str(waited.drained.refused).endswith("check SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL")


@pytest.mark.parametrize("where", ["beside the heartbeat", "with the turn of the lane"])
def test_the_trouble_of_a_missing_model_ends_with_the_last_job_that_asks_for_it(
    project: Project, installation: Installation, where: str
) -> None:
    is_noted = where == "beside the heartbeat"
    alive(project, ["host:1"], LINE if is_noted else None)
    if not is_noted:
        TroubleLog(project).after("judge", DrainResult(refused=LINE))

    def trouble() -> str | None:
        if is_noted:
            return told(project)[0]
        return health.read(installation.database_url, ["judge"]).lanes["judge"].trouble

    reconcile(project, datetime.now(UTC), lambda lane, due: None)
    assert LINE in str(trouble()), "jobs ask for it still"
    installation.instead = lambda case: None
    with JobProcessor(project) as processor:  # somebody else, whose server has it
        assert processor.drain("judge").settled == RUNS
    assert LINE in str(trouble())
    reconcile(project, datetime.now(UTC), lambda lane, due: None)
    assert trouble() is None


def test_other_trouble_stays_and_so_does_that_of_a_model_that_is_asked_for(project: Project) -> None:
    alive(project, ["host:1"], "the database has another schema")
    alive(project, ["host:2"], LINE.replace(MODEL, "nobody asks for this"))
    alive(project, ["host:3"], LINE)
    reconcile(project, datetime.now(UTC), lambda lane, due: None)
    assert told(project) == ["judge: the database has another schema", None, f"judge: {LINE}"]


def test_what_no_open_job_asks_for_is_not_noted_again(project: Project, installation: Installation) -> None:
    with JobProcessor(project) as processor:
        alive(project, ["host:1", "host:2"])
        processor.drain("judge")
        wanted = processor.wanted_models["judge"]
        assert MODEL in str(processor.missing_models.line(wanted))
        assert processor.missing_models.line(frozenset({"another"})) is None
