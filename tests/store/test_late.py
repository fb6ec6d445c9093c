"""Results that come after their lease ran out: taken while nobody has taken the job over, and what was presumed is
corrected."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from tests.support.accounts import DAY, EXPIRED, account, cap, drawn
from tests.support.ledger import LEASE_S, NIGHT, NOW, Ledger, at_once, given_up, job, outcome, spend
from worker.store.budget.accounts import AccountBalance
from worker.store.engine import Store
from worker.store.queue import claiming, handover, leases
from worker.store.queue.enrol import Registered
from worker.store.queue.job import Job
from worker.store.results import cells

LATER = EXPIRED + timedelta(minutes=5)


def lost(store: Store, count: int = 1, *, max_attempts: int = 3) -> tuple[Ledger, list[Registered], list[Job]]:
    """Jobs that `dead` claimed with 0.3 dollars each, and whose leases ran out."""
    ledger, scorers, _ = drawn(store, count)
    jobs = ledger.claim(scorers, owner="dead", money=cap(9.0, scorers, 0.3)).jobs
    with store.write() as connection:
        assert claiming.reap(connection, EXPIRED, max_attempts) == count
    return ledger, scorers, jobs


def test_a_late_result_is_taken_and_costs_what_it_cost(store: Store) -> None:
    ledger, _, (one,) = lost(store)
    assert account(store) == AccountBalance(0.3, 0, 0.3)
    assert ledger.settle([outcome(one, cost_usd=0.1)], owner="dead", now=LATER) == 1
    assert account(store) == AccountBalance(0.1, 0, 0)
    assert [(job.state, job.resolved_at, job.lease_owner) for job in ledger.jobs()] == [("scored", LATER, None)]
    assert len(ledger.scores()) == 1


def test_a_late_result_of_unknown_cost_has_cost_what_was_reserved(store: Store) -> None:
    ledger, _, (one,) = lost(store)
    ledger.settle([outcome(one, cost_usd=None)], owner="dead", now=LATER)
    assert account(store) == AccountBalance(0.3, 0, 0)


def test_a_late_result_is_booked_on_the_day_it_was_reserved_for(store: Store) -> None:
    ledger, _, (one,) = lost(store)
    ledger.settle([outcome(one, cost_usd=0.2)], owner="dead", now=LATER, day=DAY + timedelta(3))
    assert account(store) == AccountBalance(0.2, 0, 0)
    assert account(store, DAY + timedelta(3)) == AccountBalance(0, 0, 0)


def test_a_late_result_is_taken_once(store: Store) -> None:
    ledger, _, (one,) = lost(store)
    done = [outcome(one, cost_usd=0.1)]
    assert [ledger.settle(done, owner="dead", now=LATER) for _ in range(2)] == [1, 0]
    assert account(store) == AccountBalance(0.1, 0, 0)


def test_a_job_that_was_given_up_as_lost_is_scored_by_its_late_result_and_its_night_summed_up_again(
    store: Store,
) -> None:
    ledger, scorers, (one,) = lost(store, max_attempts=1)
    assert ledger.states() == {"failed": 1}
    with store.write() as connection:
        ((night, resolved, ended),) = cells.stale_nights(connection, NIGHT)
        cells.mark_summarised(connection, night, resolved, ended, LATER)
        assert cells.stale_nights(connection, NIGHT) == []
    assert ledger.settle([outcome(one, cost_usd=0.1)], owner="dead", now=LATER) == 1
    assert account(store) == AccountBalance(0.1, 0, 0)
    assert ledger.count(scorers).scored == 1
    with store.read() as connection:
        assert cells.stale_nights(connection, NIGHT + timedelta(60)) == [(NIGHT, 1, 1)]


def test_without_a_budget_a_late_result_is_taken_too(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (one,) = ledger.claim(scorers, owner="dead").jobs
    with store.write() as connection:
        claiming.reap(connection, EXPIRED, 3)
    assert ledger.settle([outcome(one, cost_usd=0.1)], owner="dead", now=LATER, day=DAY) == 1
    assert account(store) == AccountBalance(0.1, 0, 0)


def test_only_those_that_were_lost_are_settled_late_beside_those_in_time(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    purse = cap(9.0, scorers, 0.3)
    (first,) = ledger.claim(scorers, owner="slow", money=purse, limit=1).jobs
    with store.write() as connection:
        claiming.reap(connection, EXPIRED, 3)
        connection.execute(update(job).where(job.c.pk == first.pk).values(not_before=LATER))
    (second,) = ledger.claim(scorers, owner="slow", money=purse, limit=1, now=EXPIRED).jobs
    done = [outcome(job, cost_usd=0.1) for job in (first, second)]
    assert ledger.settle(done, owner="slow", now=EXPIRED) == 2
    assert account(store) == AccountBalance(0.2, 0, 0)


@pytest.mark.parametrize("what", ["claimed", "claimed and back", "claimed and later", "shed", "settled", "stranger"])
def test_a_late_result_is_refused_when_the_job_is_not_its_own_any_more(store: Store, what: str) -> None:
    ledger, scorers, (one,) = lost(store)
    purse = cap(9.0, scorers, 0.3)
    if what == "shed":
        with store.write() as connection:
            handover.supersede(connection, NIGHT, [], LATER)
    elif what != "stranger":
        (taken,) = ledger.claim(scorers, now=LATER, money=purse).jobs
        assert (taken.attempt, taken.reserved_usd) == (2, 0.3)
        if what == "claimed and back":
            ledger.give_back([taken])
        if what == "claimed and later":
            ledger.retry([taken], LATER)
        if what == "settled":
            ledger.settle([outcome(taken, 0.0, cost_usd=0.2)], now=LATER)
    before, jobs = account(store), ledger.jobs()
    owner = "nobody" if what == "stranger" else "dead"
    assert ledger.settle([outcome(one, cost_usd=0.1)], owner=owner, now=LATER) == 0
    assert (account(store), ledger.jobs()) == (before, jobs)


def test_what_a_worker_put_back_itself_it_cannot_settle_afterwards(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    first, second = ledger.claim(scorers, money=cap(9.0, scorers, 0.3)).jobs
    ledger.give_back([first])
    ledger.retry([second], NOW)
    before = account(store)
    assert before == AccountBalance(0, 0.3, 0)
    assert ledger.settle([outcome(job, cost_usd=0.1) for job in (first, second)]) == 0
    assert account(store) == before


def test_a_worker_that_lost_a_job_twice_settles_its_last_attempt_only(store: Store) -> None:
    ledger, scorers, (first,) = lost(store)
    (second,) = ledger.claim(scorers, owner="dead", now=EXPIRED, money=cap(9.0, scorers, 0.3)).jobs
    with store.write() as connection:
        claiming.reap(connection, EXPIRED + timedelta(seconds=LEASE_S + 1), 3)
    assert account(store) == AccountBalance(0.6, 0, 0.6)
    assert ledger.settle([outcome(first, cost_usd=0.1)], owner="dead", now=LATER) == 0
    assert ledger.settle([outcome(second, cost_usd=0.1)], owner="dead", now=LATER) == 1
    assert account(store) == AccountBalance(0.4, 0, 0.3), "the first call is still presumed to have cost its most"


def test_a_job_that_was_lost_holds_nothing_for_whoever_claims_it_next(store: Store) -> None:
    ledger, scorers, _ = lost(store)
    assert ledger.claim(scorers, now=LATER, money=cap(0.5, scorers, 0.3)).shed == 1, "0.3 of it are presumed spent"
    assert account(store) == AccountBalance(0.3, 0, 0.3)


def test_without_a_budget_whoever_claims_a_lost_job_frees_nothing(store: Store) -> None:
    ledger, scorers, _ = lost(store)
    (again,) = ledger.claim(scorers, now=LATER).jobs
    assert (again.reserved_usd, again.reserved_day) == (0.0, None)
    ledger.settle([outcome(again, cost_usd=0.2)], now=LATER, day=DAY)
    assert account(store) == AccountBalance(0.5, 0, 0.3)


def test_a_late_failure_counts_as_one(store: Store) -> None:
    ledger, _, (one,) = lost(store)
    assert ledger.settle([given_up(one, cost_usd=0.1)], owner="dead", now=LATER) == 1
    assert ledger.states() == {"failed": 1}
    assert account(store) == AccountBalance(0.1, 0, 0)


def test_what_a_batch_gave_up_as_spent_it_may_still_answer_until_somebody_asks_again(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3)
    purse = cap(9.0, scorers, 0.3)
    first, second, third = ledger.claim(scorers, owner="batch:1", money=purse).jobs
    with store.write() as connection:
        assert leases.requeue_in_lane(connection, [first, second], "batch:1", "judge", "deadline", is_spent=True) == 2
        assert leases.requeue_in_lane(connection, [third], "batch:1", "judge", "deadline", is_spent=False) == 1
    assert account(store) == AccountBalance(0.6, 0, 0.6)
    ledger.claim(scorers, money=purse, limit=1)
    done = [outcome(job, cost_usd=0.1) for job in (first, second, third)]
    assert ledger.settle(done, owner="batch:1", now=LATER) == 1
    assert account(store) == AccountBalance(0.4, 0.3, 0.3)


def test_late_results_claims_and_cuts_at_once_never_lock_each_other_out(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 60)
    purse = cap(1.0, scorers, 0.02)
    jobs = ledger.claim(scorers, owner="dead", money=purse, limit=30).jobs
    with store.write() as connection:
        claiming.reap(connection, EXPIRED, 3)

    def work(own: Ledger, owner: str) -> None:
        if owner == "worker-0":
            for job in jobs:
                own.settle([outcome(job, cost_usd=0.01)], owner="dead", now=LATER)
            return
        while (claim := own.claim(scorers, owner=owner, limit=2, now=LATER, money=purse)).jobs or claim.must_wait:
            own.settle([outcome(job, cost_usd=0.02) for job in claim.jobs], owner=owner, now=LATER)

    at_once(store, 4, work)
    found = account(store)
    assert found.reserved_usd == 0
    assert found.spent_usd <= 1.0
    assert not set(ledger.states()) - {"scored", "shed"}
    with store.read() as connection:
        booked = connection.execute(select(func.sum(spend.c.spent_usd - spend.c.presumed_usd))).scalar_one()
    scored = [job for job in ledger.jobs() if job.state == "scored"]
    late = sum(job.attempt == 1 and job.pk in {other.pk for other in jobs} for job in scored)
    assert booked == pytest.approx(0.01 * late + 0.02 * (len(scored) - late))
