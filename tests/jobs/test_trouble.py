"""Trouble is told once when it begins and once when it is over, by one of all the processes that meet it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.project import MONDAY, PLAIN, document, ingest
from worker.demo.judge.server import MODEL
from worker.jobs import trouble
from worker.jobs.drain_result import LEFT_ALONE, DrainResult
from worker.jobs.trouble import TroubleChange, TroubleLog, in_short
from worker.pipeline.draw import draw_night
from worker.project.project import Project
from worker.settings import Settings
from worker.store import meta
from worker.store.health import TURN

DENIED = "the judge at http://h/v1 refuses the key for model 'm' (401); check OPENAI_API_KEY"
DOWN = "the judge at http://h/v1 answers 500: cannot read 'my name is Ann'"
FINE, IDLE = DrainResult(settled=5), DrainResult()


@pytest.fixture
def project(database_url: str) -> Iterator[Project]:
    """With one judge's job that waits."""
    environ = {"SPOTCHECK_DATABASE_URL": database_url, "SPOTCHECK_JUDGE_MODEL": MODEL}
    made = Project(Settings.read(environ | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, PLAIN)).open()
    ingest(made, [document("case-1")])
    draw_night(made, MONDAY, datetime.now(UTC))
    yield made
    made.store.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every turn is noted."""
    monkeypatch.setattr(trouble, "_WRITE_S", 0.0)


def noted(project: Project) -> dict[str, Any]:
    with project.store.read() as connection:
        found: dict[str, Any] = json.loads(meta.get_meta(connection, f"{TURN}judge") or "{}")
    return found


def test_a_trouble_is_told_once_by_whoever_meets_it_first_and_its_end_too(project: Project) -> None:
    one, other = TroubleLog(project), TroubleLog(project)
    assert one.after("judge", FINE) is None
    assert one.after("judge", DrainResult(refused=DENIED)) == TroubleChange(DENIED, is_trouble=True, seconds=None)
    assert other.after("judge", DrainResult(refused=DENIED)) is None
    assert one.after("judge", DrainResult(refused=DENIED)) is None
    since = noted(project)["since"]
    over = other.after("judge", FINE)
    assert over is not None
    assert (over.text, over.is_trouble) == ("answers again", False)
    assert over.seconds is not None
    assert one.after("judge", FINE) is None
    assert noted(project)["trouble"] is None
    assert since


def test_a_turn_that_asks_nobody_proves_nothing(project: Project) -> None:
    notes = TroubleLog(project)
    notes.after("judge", DrainResult(outage=DOWN))
    for proves_nothing in (DrainResult(outage=LEFT_ALONE), IDLE):
        assert notes.after("judge", proves_nothing) is None
        assert noted(project)["trouble"] == DOWN


def test_a_process_that_still_leaves_the_judge_alone_does_not_contradict_one_that_was_answered(
    project: Project,
) -> None:
    one, other = TroubleLog(project), TroubleLog(project)
    one.after("judge", DrainResult(outage=DOWN))
    assert other.after("judge", FINE) is not None
    assert one.after("judge", DrainResult(outage=LEFT_ALONE)) is None
    assert noted(project)["trouble"] is None


def test_where_no_job_waits_the_trouble_is_over_without_a_judgement(project: Project) -> None:
    notes = TroubleLog(project)
    notes.after("judge", DrainResult(outage=DOWN))
    with project.store.write() as connection:
        connection.exec_driver_sql("UPDATE job SET state = 'shed' WHERE state = 'queued'")
    news = notes.after("judge", IDLE)
    assert news is not None
    assert not news.is_trouble
    assert noted(project)["trouble"] is None


def test_an_outage_that_becomes_a_refusal_is_told_anew_for_a_person_has_to_act(project: Project) -> None:
    notes = TroubleLog(project)
    assert notes.after("judge", DrainResult(outage=DOWN)) is not None
    assert notes.after("judge", DrainResult(outage="the judge at http://h/v1 answers 503: busy")) is None
    news = notes.after("judge", DrainResult(refused=DENIED))
    assert news == TroubleChange(DENIED, is_trouble=True, seconds=None)


def test_the_store_keeps_a_servers_words_and_the_log_gets_none(project: Project) -> None:
    news = TroubleLog(project).after("judge", DrainResult(outage=DOWN))
    assert news is not None
    assert news.text == "the judge at http://h/v1 answers 500"
    assert noted(project)["trouble"] == DOWN


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (DENIED, DENIED),
        ("the judge at http://h/v1 gave no answer within 60 s", "the judge at http://h/v1 gave no answer within 60 s"),
        (
            "the judge at http://h/v1 does not know model 'm', or is not at this address (404): Ann; check"
            " SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL",
            "the judge at http://h/v1 does not know model 'm', or is not at this address (404); check"
            " SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL",
        ),
        (
            "the judge at http://h/v1 answers 500: Ann; check OPENAI_API_KEY and my name is Ann",
            "the judge at http://h/v1 answers 500",
        ),
        ("the judge at http://h/v1 answers 500: AnnError\nAnn", "the judge at http://h/v1 answers 500"),
        (
            "the judge at http://h/v1 refuses the key for model 'm' (403): Ann is in no region; check OPENAI_API_KEY",
            "the judge at http://h/v1 refuses the key for model 'm' (403); check OPENAI_API_KEY",
        ),
        (
            "the judge gives us no quota for model 'm' (a limit of 0, 429): Ann, limit: 0; take another model,"
            " or a plan that has this one",
            "the judge gives us no quota for model 'm' (a limit of 0, 429); take another model, or a plan that"
            " has this one",
        ),
    ],
)
def test_a_trouble_in_short_holds_only_our_own_words(said: str, short: str) -> None:
    assert in_short(said) == short
