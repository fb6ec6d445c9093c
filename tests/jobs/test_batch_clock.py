"""The batch lane under a rehearsal's clock that stands still, as before its real start."""

from datetime import UTC, datetime

import pytest

from tests.support.batch_server import BATCHED, BatchOffice, advance, batch
from tests.support.project import MONDAY, Installation, document, draw_nights, ingest, rows, states, wait
from worker.clock import read_clock

STILL = "2026-09-08T12:00Z@9000-01-01T00:00Z x5000"
GATHERS = BATCHED.replace("gather_s = 0", "gather_s = 300")


@pytest.mark.parametrize("clock", ["", STILL])
def test_a_lone_job_waits_for_no_company_while_the_clock_stands_still(installation: Installation, clock: str) -> None:
    """It waited for ever: nobody can tell for how long it has."""
    office = BatchOffice(installation.judge)
    before = installation.project(BATCHED.replace('lane = "batch"', 'lane = "now"'))
    ingest(before, [document("case-known")])
    draw_nights(before, [MONDAY])
    wait(before)  # so that it is known what the server can do
    opened = installation.project(GATHERS, SPOTCHECK_CLOCK=clock)
    ingest(opened, [document("case-lone")])
    draw_nights(opened, [MONDAY])
    advance(opened)
    if not clock:
        assert rows(opened, batch.select()) == []  # it is young, and others may come
        return
    office.end()
    advance(opened)
    assert states(opened, "batch") == {"scored": 1}


def test_a_clock_runs_from_its_real_start_on() -> None:
    clock, start = read_clock("2026-09-08T12:00Z@2026-11-01T00:00Z x2"), datetime(2026, 11, 1, tzinfo=UTC)
    assert clock.is_running(start)
    assert not clock.is_running(datetime(2026, 10, 31, tzinfo=UTC))
    assert read_clock("").is_running(datetime(2000, 1, 1, tzinfo=UTC))
