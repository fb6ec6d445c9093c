"""A database that takes leases but no scores, as a nearly full disk: answers are kept, and nobody else is asked."""

import asyncio
import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.project import MONDAY, Installation, document, draw_nights, ingest, states
from worker.celery.store_trouble import StoreTrouble
from worker.demo.judge.server import Answer, simulated_verdict
from worker.errors import StoreError
from worker.jobs.processor import JobProcessor
from worker.project.project import Project

pytestmark = pytest.mark.both_stores
RUNS = 300
TOML = "[sampling]\nrate = 1.0\n[scoring]\nheuristics = []\n[judge]\nconcurrency = 8\nanswers_days = 0\n"
FULL = "database or disk is full"
SQLITE = (f"CREATE TRIGGER no_room BEFORE INSERT ON score BEGIN SELECT RAISE(ABORT, '{FULL}'); END",)
POSTGRESQL = (
    f"CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE '{FULL}'; END $$",
    "CREATE TRIGGER no_room BEFORE INSERT ON score FOR EACH ROW EXECUTE FUNCTION no_room()",
)


@contextmanager
def no_room_for_scores(project: Project) -> Iterator[None]:
    is_sqlite = project.store.dialect == "sqlite"
    _do(project, *(SQLITE if is_sqlite else POSTGRESQL))
    yield
    _do(project, *(["DROP TRIGGER no_room"] if is_sqlite else ["DROP FUNCTION no_room CASCADE"]))


def _do(project: Project, *statements: str) -> None:
    with project.store.write() as connection:
        for statement in statements:
            connection.execute(text(statement))


class Counting:
    """A judge that takes a moment, and counts what it has answered."""

    def __init__(self) -> None:
        self.answered = 0

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        await asyncio.sleep(0.05)  # so that calls are under way when a write fails
        self.answered += 1
        return simulated_verdict(request, lambda prompt: 1.0)


@pytest.fixture
def judge(installation: Installation) -> Counting:
    judge = Counting()
    installation.judge.answer = judge
    return judge


@pytest.fixture
def project(installation: Installation) -> Project:
    made = installation.project(TOML)
    ingest(made, (document(f"case-{number}") for number in range(RUNS)))
    draw_nights(made, [MONDAY])
    return made


def test_no_answer_is_lost_and_nobody_is_asked_until_there_is_room(
    project: Project, judge: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    with JobProcessor(project) as processor:
        with no_room_for_scores(project):
            with pytest.raises(StoreError, match=FULL):
                processor.drain("judge")
            asked = judge.answered
            assert 0 < asked < RUNS, "it stopped asking"
            for _ in range(5):
                with pytest.raises(StoreError, match=FULL):
                    processor.drain("judge")
            assert judge.answered == asked, "what is held must be stored before anybody is asked again"
        done = processor.drain("judge")
    assert done.settled
    assert states(project) == {"scored": RUNS}
    assert judge.answered == RUNS, "each is paid once"
    gc.collect()
    assert not [record for record in caplog.records if record.exc_info], "no task was left to itself"


def test_what_is_held_is_stored_as_the_process_ends(project: Project, judge: Counting) -> None:
    with JobProcessor(project) as processor:
        with no_room_for_scores(project), pytest.raises(StoreError, match=FULL):
            processor.drain("judge")
        asked = judge.answered
    assert states(project)["scored"] == asked


def test_what_cannot_be_stored_at_the_end_is_said(
    project: Project, judge: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    with no_room_for_scores(project), caplog.at_level(logging.ERROR), JobProcessor(project) as processor:
        with pytest.raises(StoreError, match=FULL):
            processor.drain("judge")
        asked = judge.answered
    lost = f"{asked} verdicts could not be stored, and will be asked for again"
    assert lost in caplog.text


def test_trouble_is_said_once_a_worker_and_its_end_by_the_work_that_met_it(caplog: pytest.LogCaptureFixture) -> None:
    trouble = StoreTrouble()
    with caplog.at_level(logging.WARNING, logger="spotcheck"):
        for what in ("judge", "tick", "heartbeat", "judge"):
            trouble.say(what, StoreError(FULL))
        trouble.over("tick")
        trouble.over("judge")
        trouble.over("judge")
        trouble.say("tick", StoreError(FULL))
        trouble.say("tick", StoreError("the server went away"))
    said = [record.getMessage().partition(" (said once")[0] for record in caplog.records]
    takes_writes = "judge: the database takes writes again"
    assert said == [f"judge: {FULL}", takes_writes, f"tick: {FULL}", "tick: the server went away"]
