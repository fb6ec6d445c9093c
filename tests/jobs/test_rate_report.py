"""A process says how fast it asks: at work and at its end, in trouble and after it, and never at the work's cost."""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.project import MONDAY, PLAIN, document, ingest, states
from worker.demo.judge.server import MODEL, Answer, JudgeServer, refused, simulated_verdict
from worker.errors import StoreError
from worker.jobs import rate_report
from worker.jobs.capability_store import plan_writer
from worker.jobs.processor import JobProcessor
from worker.judge.capabilities import CapabilityPlan
from worker.judge.limits import health
from worker.pipeline.draw import draw_night
from worker.project.project import Project
from worker.settings import Settings
from worker.store.queue import rates
from worker.store.queue.rates import Calls, RateReading

RUNS = 12
ME = f"{socket.gethostname()}:{os.getpid()}"
DENIED = refused(401, "Incorrect API key provided", code="invalid_api_key")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note every few hundredths of a second, and a judge that is asked again at once."""
    monkeypatch.setattr(rate_report, "REPORT_S", 0.05)
    monkeypatch.setattr(health, "REST_S", 0.01)


class Judged:
    """A project with a dozen runs that wait for a judge whose answer may be changed."""

    def __init__(self, database_url: str, server: JudgeServer) -> None:
        environ = {"SPOTCHECK_DATABASE_URL": database_url, "SPOTCHECK_JUDGE_MODEL": MODEL}
        self.server = server
        self.server.answer = self._answer
        self.instead: Answer | None = None
        self.project = Project(Settings.read(environ | {"OPENAI_BASE_URL": server.base_url}, PLAIN))
        ingest(self.project.open(), (document(f"case-{number}") for number in range(RUNS)))
        draw_night(self.project, MONDAY, datetime.now(UTC))

    def _answer(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        return self.instead or simulated_verdict(request, lambda prompt: 1.0)

    def said(self) -> list[RateReading]:
        with self.project.store.read() as connection:
            return rates.readings(connection, self.project.store.now(connection))

    def ever(self) -> dict[str, Calls]:
        with self.project.store.read() as connection:
            return rates.total_calls(connection)


@pytest.fixture
def judged(database_url: str) -> Iterator[Judged]:
    with JudgeServer(lambda request, headers: Answer(500)) as server:
        made = Judged(database_url, server)
        yield made
        made.project.store.close()


def test_a_turn_leaves_what_it_saw_and_the_end_of_the_process_takes_its_row_away(judged: Judged) -> None:
    with JobProcessor(judged.project) as processor:
        assert processor.drain("judge").settled == RUNS
        (said,) = judged.said()
        assert (said.worker, said.model) == (ME, MODEL)
        assert (said.answered, said.refused, said.failed) == (RUNS, 0, 0)
        assert (said.in_flight, said.waiting, said.trouble, said.resumes_at) == (0, 0, None, None)
        assert said.limit >= 8
        assert said.latency_s is not None
        assert said.since_at < said.at
        assert said.server == judged.server.base_url
    assert judged.said() == []
    assert judged.ever() == {MODEL: Calls(RUNS, 0, 0)}


def test_calls_under_way_are_seen_while_they_are(judged: Judged) -> None:
    seen: list[RateReading] = []

    async def slow(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        while not seen:
            await asyncio.sleep(0.02)  # until a report was written
            seen.extend(reading for reading in await asyncio.to_thread(judged.said) if reading.in_flight)
        return simulated_verdict(request, lambda prompt: 1.0)

    judged.server.answer = slow
    plan_writer(judged.project)(MODEL, CapabilityPlan())  # of a model that is not known few are under way at first
    with JobProcessor(judged.project) as processor:
        assert processor.drain("judge").settled == RUNS
    assert seen[0].in_flight == 8
    assert seen[0].waiting <= 3


def test_a_judge_that_refuses_us_is_told_with_what_to_do_until_it_answers(judged: Judged) -> None:
    judged.instead = DENIED
    with JobProcessor(judged.project) as processor:
        assert processor.drain("judge").refused
        (said,) = judged.said()
        assert said.trouble is not None
        assert "check OPENAI_API_KEY" in said.trouble
        judged.instead = None
        assert processor.drain("judge").settled == RUNS
        (said,) = judged.said()
        assert (said.trouble, said.answered) == (None, RUNS)
    assert states(judged.project) == {"scored": RUNS}


def test_the_short_rest_that_an_earlier_turn_left_is_waited_out(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REST_S", 0.8)
    judged.instead = DENIED
    with JobProcessor(judged.project) as processor:
        assert processor.drain("judge").refused
        judged.instead = None
        done = processor.drain("judge")
    assert (done.settled, done.outage) == (RUNS, None), "a turn that ends at once leaves the work to the next wake-up"


def test_what_ended_in_trouble_stays_to_be_read(judged: Judged) -> None:
    judged.instead = DENIED
    with JobProcessor(judged.project) as processor:
        processor.drain("judge")
    (said,) = judged.said()
    assert said.trouble is not None


def test_a_judge_that_is_left_alone_keeps_the_words_of_its_outage(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REST_S", 60.0)
    judged.instead = refused(500, "the disk is full")
    with JobProcessor(judged.project) as processor:
        first = processor.drain("judge")
        again = processor.drain("judge")
        (said,) = judged.said()
    assert "the disk is full" in (first.outage or "")
    assert "left alone" in (again.outage or "")
    assert said.trouble == first.outage
    assert said.resumes_at is not None
    assert said.failed > 0


def test_a_turn_that_asks_nobody_writes_nothing(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    with JobProcessor(judged.project) as processor:
        processor.drain("judge")
        before = judged.said()
        written: list[object] = []
        monkeypatch.setattr(rates, "record_rates", lambda *arguments: written.append(arguments))
        assert processor.drain("judge").settled == 0
        assert written == []
        assert judged.said() == before


def test_a_store_that_takes_no_note_costs_one_line_and_no_work(
    judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    with judged.project.store.write() as connection:
        connection.exec_driver_sql("DROP TABLE pace")

    async def slow(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        return simulated_verdict(request, lambda prompt: 1.0)._replace(delay_s=0.3)

    judged.server.answer = slow
    with JobProcessor(judged.project) as processor:
        assert processor.drain("judge").settled == RUNS
    assert len([message for message in caplog.messages if "was not noted" in message]) == 1


def test_no_call_is_counted_twice_when_a_note_comes_late(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    note = rates.record_rates

    def deaf_at_first(*arguments: Any) -> None:
        told.append(True)
        if len(told) == 1:
            raise StoreError("busy")
        note(*arguments)

    monkeypatch.setattr(rates, "record_rates", deaf_at_first)
    with JobProcessor(judged.project) as processor:
        processor.drain("judge")
        ingest(judged.project, (document(f"more-{number}") for number in range(5)))
        draw_night(judged.project, MONDAY, datetime.now(UTC))
        processor.drain("judge")
    assert len(told) >= 2
    assert judged.ever() == {MODEL: Calls(RUNS + 5, 0, 0)}
