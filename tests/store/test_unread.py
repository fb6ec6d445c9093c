"""Which run stands for a night that came back without a score, and why its jobs have none."""

from datetime import timedelta

import pytest

from tests.support.ledger import NIGHT, NOW, Ledger, judge, outcome
from worker.store.engine import Store
from worker.store.queue import progress, recent


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


def test_a_run_stands_for_the_reason_with_what_is_known_of_its_answer(ledger: Ledger) -> None:
    (scorer,) = ledger.register(judge())
    ledger.add_runs(3)
    ledger.draw([scorer])
    jobs = ledger.claim([scorer]).jobs
    for job, reason in zip(jobs, ("parse", "refusal"), strict=False):
        rows = [{**row, "rationale": f"{reason}: so", "reason": reason} for row in outcome(job, None).scores]
        ledger.settle([outcome(job, None)._replace(reason=reason, scores=rows)])
    with ledger.store.read() as connection:
        assert recent.ended_of_newest_night(connection, scorer.pk) == (0, {"parse": 1, "refusal": 1})
        run_id, told = recent.an_unscored_run(connection, scorer.pk, "parse")
        assert (run_id, told) == (ledger.ids(jobs[:1])[0], "parse: so")
        assert recent.an_unscored_run(connection, scorer.pk, "truncated") == (None, None)


def test_reasons_are_counted_for_the_nights_that_are_asked_about(ledger: Ledger) -> None:
    (scorer,) = ledger.register(judge())
    later = NIGHT + timedelta(days=1)
    for night, count in ((NIGHT, 2), (later, 3)):
        ledger.add_runs(count, night=night)
        ledger.draw([scorer], night=night)
    ledger.settle([outcome(job, None) for job in ledger.claim([scorer]).jobs], now=NOW)
    with ledger.store.read() as connection:
        for first, last, jobs in ((NIGHT, NIGHT, 2), (later, later, 3), (NIGHT, None, 5)):
            (found,) = progress.outcomes(connection, first, last)
            assert (found.state, found.reason, found.jobs) == ("unscored", "refusal", jobs)
