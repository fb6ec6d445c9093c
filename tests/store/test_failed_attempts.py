"""A first judge answered and was paid, a second one did not: the try comes to nothing, and the money is gone."""

from datetime import timedelta

from tests.support.accounts import DAY, EXPIRED, account, cap, drawn
from tests.support.ledger import NIGHT, NOW, outcome
from worker.store.budget.accounts import AccountBalance
from worker.store.engine import Store
from worker.store.queue import failed_attempts
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job

SOON = NOW + timedelta(seconds=30)


def book(store: Store, *paid: FailedAttemptCost, owner: str = "me") -> int:
    with store.write() as connection:
        return failed_attempts.book_costs(connection, paid, owner, DAY)


def paid(one: Job, usd: float) -> FailedAttemptCost:
    return FailedAttemptCost(one, usd, {})


def test_what_a_try_cost_is_spent_and_nothing_is_held_any_more(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 5)
    one, other = ledger.claim(scorers, money=cap(1.0, scorers, 0.3), limit=2).jobs
    assert book(store, paid(one, 0.1)) == 1
    assert account(store) == AccountBalance(0.1, 0.3, 0)
    ledger.settle([outcome(one, cost_usd=0.15), outcome(other, cost_usd=0.2)], day=DAY)
    assert account(store) == AccountBalance(0.45, 0, 0)


def test_the_next_try_reserves_anew_and_stays_within_the_cap(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    purse = cap(0.35, scorers, 0.3)
    for number in (1, 2):
        (one,) = ledger.claim(scorers, money=purse, now=EXPIRED).jobs
        assert one.attempt == number
        assert account(store) == AccountBalance(0.05 * (number - 1), 0.3, 0)
        book(store, paid(one, 0.05))
        ledger.retry([one], NOW)
        assert account(store) == AccountBalance(0.05 * number, 0, 0)
    claim = ledger.claim(scorers, money=purse, now=EXPIRED)
    assert (claim.jobs, claim.shed) == ([], 1), "a third try might cost more than is left"
    assert account(store) == AccountBalance(0.1, 0, 0)


def test_a_job_that_is_given_back_leaves_only_what_it_cost(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    jobs = ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs
    book(store, *(paid(job, 0.1) for job in jobs))
    ledger.give_back(jobs)
    assert account(store) == AccountBalance(0.2, 0, 0)
    assert [job.attempt for job in ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs] == [1, 1]


def test_a_try_that_cost_more_than_was_held_is_booked_whole(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (one,) = ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs
    book(store, paid(one, 0.4))
    assert account(store) == AccountBalance(0.4, 0, 0)


def test_without_a_cap_it_is_booked_on_the_day(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (one,) = ledger.claim(scorers).jobs
    book(store, paid(one, 0.1))
    assert account(store) == AccountBalance(0.1, 0, 0)
    assert account(store, NIGHT) == AccountBalance(0, 0, 0)


def test_a_job_that_another_worker_took_over_is_not_booked_again(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    purse = cap(1.0, scorers, 0.3)
    (one,) = ledger.claim(scorers, money=purse).jobs
    (taken,) = ledger.claim(scorers, money=purse, owner="other", now=EXPIRED).jobs
    assert account(store) == AccountBalance(0.3, 0.3, 0.3), "presumed to have cost all that was reserved"
    assert book(store, paid(one, 0.1)) == 0
    assert account(store) == AccountBalance(0.3, 0.3, 0.3)
    assert book(store, paid(taken, 0.1), owner="other") == 1
    assert account(store) == AccountBalance(0.4, 0, 0.3)


def test_money_that_a_try_left_goes_to_whoever_is_first(store: Store) -> None:
    ledger, scorers, ids = drawn(store, 2)
    purse = cap(0.5, scorers, 0.3)
    (first,) = ledger.claim(scorers, money=purse).jobs
    assert ledger.claim(scorers, money=purse).must_wait
    book(store, paid(first, 0.1))
    ledger.retry([first], SOON)
    (second,) = ledger.claim(scorers, money=purse).jobs
    assert ledger.ids([second]) == ids[1:]
    assert ledger.claim(scorers, money=purse, now=SOON).must_wait, "its turn comes when the second has cost less"
    ledger.settle([outcome(second, cost_usd=0.1)])
    assert ledger.ids(ledger.claim(scorers, money=purse, now=SOON).jobs) == ids[:1]
