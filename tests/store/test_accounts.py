import math
from collections import Counter
from datetime import date, timedelta

import pytest
from sqlalchemy import func, select

from tests.support.accounts import DAY, EXPIRED, NEXT_DAY, account, cap, cut, cuts, drawn
from tests.support.ledger import (
    NIGHT,
    NOW,
    Ledger,
    at_once,
    heuristic,
    incoming,
    judge,
    outcome,
    small_run,
    spend,
)
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance, SpendingLimits
from worker.store.engine import Store
from worker.store.queue import enrol, handover
from worker.store.queue.enrol import Registered
from worker.store.results import cells
from worker.store.runs import draws
from worker.store.runs.draws import draw


def test_a_day_without_calls_has_spent_nothing(store: Store) -> None:
    assert account(store) == AccountBalance(0, 0, 0)


def test_only_as_many_jobs_are_claimed_as_their_most_fits(store: Store) -> None:
    ledger, scorers, ids = drawn(store, 10)
    claim = ledger.claim(scorers, money=cap(1.0, scorers, 0.3))
    assert ledger.ids(claim.jobs) == ids[:3]
    assert [(job.reserved_usd, job.reserved_day) for job in claim.jobs] == [(0.3, DAY)] * 3
    assert account(store) == AccountBalance(0, 0.9, 0)


def test_a_cheaper_job_behind_one_that_does_not_fit_is_not_taken(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3, "cheap", "dear")
    purse = cap(1.0, scorers, 0.1, 0.6)
    claim = ledger.claim(scorers, money=purse)
    assert [job.scorer_pk for job in claim.jobs] == [scorers[0].pk, scorers[1].pk, scorers[0].pk]
    assert ledger.claim(scorers, money=purse).must_wait


def test_without_a_cap_nothing_is_reserved_and_what_is_spent_is_booked_on_the_day(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    ledger.settle([outcome(job, cost_usd=0.25) for job in ledger.claim(scorers).jobs], day=DAY)
    assert account(store) == AccountBalance(0.5, 0, 0)


def test_settling_frees_the_reservation_and_books_what_it_cost(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 10)
    purse = cap(1.0, scorers, 0.3)
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, money=purse).jobs])
    assert account(store) == AccountBalance(0.3, 0, 0)
    assert len(ledger.claim(scorers, money=purse).jobs) == 2


def test_a_cost_that_is_not_known_counts_as_what_was_reserved(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    first, second = ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs
    ledger.settle([outcome(first, cost_usd=None)])
    assert account(store) == AccountBalance(0.3, 0.3, 0)
    ledger.settle([outcome(second, cost_usd=0.0)])
    assert account(store) == AccountBalance(0.3, 0, 0)


def test_settling_twice_books_once(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    done = [outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, money=cap(1.0, scorers, 0.3), limit=1).jobs]
    ledger.settle(done)
    ledger.settle(done)
    assert account(store) == AccountBalance(0.1, 0, 0)


def test_a_lease_that_ran_out_after_the_call_is_presumed_spent(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    purse = cap(1.0, scorers, 0.3)
    lost = ledger.claim(scorers, owner="dead", money=purse).jobs
    (again,) = ledger.claim(scorers, now=EXPIRED, money=purse).jobs
    assert (again.pk, again.attempt) == (lost[0].pk, 2)
    assert account(store) == AccountBalance(0.6, 0.3, 0.6)
    assert ledger.settle([outcome(lost[0], cost_usd=0.1)], owner="dead") == 0
    assert account(store) == AccountBalance(0.6, 0.3, 0.6), "who is superseded books nothing"


def test_a_stale_outcome_beside_a_fresh_one_frees_and_books_once(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3)
    purse = cap(2.0, scorers, 0.3)
    (stale,) = ledger.claim(scorers, money=purse, limit=1).jobs
    fresh, other = ledger.claim(scorers, now=EXPIRED, money=purse, limit=2).jobs
    ledger.settle([outcome(stale, cost_usd=0.1), outcome(fresh, cost_usd=0.1)])
    assert account(store) == AccountBalance(0.4, other.reserved_usd, 0.3)


def test_giving_back_frees_the_reservation(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    ledger.give_back(ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs)
    assert account(store) == AccountBalance(0, 0, 0)


def test_a_try_later_keeps_its_reservation_and_needs_no_other(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    purse = cap(0.3, scorers, 0.3)
    ledger.retry(ledger.claim(scorers, money=purse).jobs, NOW)
    assert account(store) == AccountBalance(0, 0.3, 0)
    (again,) = ledger.claim(scorers, money=purse).jobs
    assert account(store) == AccountBalance(0, 0.3, 0)
    ledger.settle([outcome(again, cost_usd=0.2)])
    assert account(store) == AccountBalance(0.2, 0, 0)


def test_a_claim_must_wait_while_others_hold_what_may_come_back(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3)
    purse = cap(0.3, scorers, 0.3)
    held = ledger.claim(scorers, owner="other", money=purse).jobs
    claim = ledger.claim(scorers, money=purse)
    assert (claim.jobs, claim.shed, claim.must_wait) == ([], 0, True)
    assert ledger.states() == {"leased": 1, "queued": 2}
    ledger.settle([outcome(job, cost_usd=0.0) for job in held], owner="other")
    assert len(ledger.claim(scorers, money=purse).jobs) == 1


def test_who_holds_a_reservation_is_not_kept_waiting_by_one_ahead_that_does_not_fit(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3)
    purse = cap(1.0, scorers, 0.4)
    (ahead,) = ledger.claim(scorers, owner="dead", money=purse, limit=1).jobs
    (behind,) = ledger.claim(scorers, owner="me", money=purse, limit=1).jobs
    ledger.retry([behind], EXPIRED)
    claim = ledger.claim(scorers, now=EXPIRED, money=purse)  # what was ahead is presumed spent and queued again
    assert [job.pk for job in claim.jobs] == [behind.pk]
    ledger.settle([outcome(job, cost_usd=0.4) for job in claim.jobs], now=EXPIRED)
    assert ledger.claim(scorers, now=EXPIRED, money=purse).shed == 2
    assert {job.pk for job in ledger.jobs() if job.state == "shed"} >= {ahead.pk}


def test_a_budget_that_is_spent_sheds_the_rest_and_notes_the_effective_thresholds(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    ledger.add_runs(10, task_type="billing")
    scorers = ledger.register(judge(), heuristic())
    ledger.draw(scorers, rate=0.8)
    purse = cap(1.0, scorers[:1], 0.2)
    claim = ledger.claim(scorers[:1], money=purse)
    ledger.settle([outcome(job, cost_usd=0.2) for job in claim.jobs])
    claim = ledger.claim(scorers[:1], money=purse)
    assert (claim.jobs, claim.shed, claim.must_wait) == ([], 11, False)
    # five of sixteen were scored: keys .05 .05 .15 .15 .25, so the smallest that is left is the other .25
    assert cuts(store) == {("refund", scorers[0].pk): 0.25, ("billing", scorers[0].pk): 0.25}
    shed = [job for job in ledger.jobs() if job.state == "shed"]
    assert {(job.reason, job.resolved_at) for job in shed} == {("budget", NOW)}
    assert Counter(job.state for job in ledger.jobs() if job.lane == "heuristic") == {"queued": 16}
    assert ledger.claim(scorers[:1], money=purse).shed == 0


def test_each_night_is_cut_where_the_money_ended(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 4)
    ledger.add_runs(4, night=DAY)
    ledger.draw(scorers, night=DAY)
    purse = cap(0.5, scorers, 0.2)
    ledger.settle([outcome(job, cost_usd=0.25) for job in ledger.claim(scorers, money=purse).jobs])
    assert ledger.claim(scorers, money=purse).shed == 2
    assert ledger.claim(scorers, money=purse).shed == 4
    with store.read() as connection:
        found = connection.execute(select(draw.c.night, cut.c.threshold).join(draw).order_by(draw.c.night)).all()
    assert [tuple(row) for row in found] == [(NIGHT, pytest.approx(0.625)), (DAY, pytest.approx(0.125))]


def test_a_new_day_brings_new_money_and_what_was_reserved_yesterday_is_freed_there(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3)
    first, second, third = ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs
    ledger.settle([outcome(first, cost_usd=0.2)], day=NEXT_DAY)
    assert account(store) == AccountBalance(0.2, 0.6, 0), "booked on the day it was reserved for"
    ledger.retry([second], NOW)
    (again,) = ledger.claim(scorers, money=cap(1.0, scorers, 0.3, day=NEXT_DAY)).jobs
    assert (again.pk, again.reserved_day) == (second.pk, NEXT_DAY)
    assert account(store) == AccountBalance(0.2, third.reserved_usd, 0)
    assert account(store, NEXT_DAY) == AccountBalance(0, 0.3, 0)
    ledger.settle([outcome(again, cost_usd=0.1), outcome(third, cost_usd=None)])
    assert account(store) == AccountBalance(0.5, 0, 0)
    assert account(store, NEXT_DAY) == AccountBalance(0.1, 0, 0)


def test_what_is_shed_frees_what_it_held_yesterday(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    ledger.retry(ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs, NOW)
    assert ledger.claim(scorers, money=cap(0.1, scorers, 0.3, day=NEXT_DAY)).shed == 2
    assert account(store) == AccountBalance(0, 0, 0)


def test_a_changed_judge_frees_what_the_old_one_held(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    ledger.retry(ledger.claim(scorers, money=cap(1.0, scorers, 0.3)).jobs, NOW + timedelta(hours=1))
    with store.write() as connection:
        new = enrol.register(connection, [judge(version="2")], NOW)
        assert (
            handover.supersede(connection, NIGHT, new, NOW, {entry.pk for entry in enrol.registered(connection)}) == 2
        )
    assert account(store) == AccountBalance(0, 0, 0)
    assert not ledger.claim(new, money=cap(0.1, new, 0.3)).must_wait


def test_late_runs_beyond_a_cut_are_shed_at_once_and_those_below_it_are_scored(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 10)
    purse = cap(0.5, scorers, 0.1)
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, money=purse).jobs])
    ledger.claim(scorers, money=purse)
    ledger.take([incoming(small_run(f"late-{key}"), key=key) for key in (0.54, 0.56, 0.99)])
    with store.write() as connection:
        draws.add_samples(connection, NIGHT, NOW)
        assert enrol.enqueue(connection, NIGHT, scorers, NOW) == 3
    assert {job.run_id: job.state for job in ledger.jobs() if job.run_id.startswith("late")} == {
        "late-0.54": "queued",
        "late-0.56": "shed",
        "late-0.99": "shed",
    }
    assert cuts(store) == {("refund", scorers[0].pk): 0.55}
    assert ledger.count(scorers).shed == 7


def test_a_raised_rate_takes_up_again_what_the_budget_had_shed(store: Store) -> None:
    ledger = Ledger(store)
    ids = ledger.add_runs(10)
    scorers = ledger.register(judge())
    ledger.draw(scorers, rate=0.5)
    purse = cap(0.2, scorers, 0.1)
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, money=purse).jobs])
    assert ledger.claim(scorers, money=purse).shed == 3
    assert ledger.draw(scorers, rate=0.7) == 2
    assert ledger.states() == {"scored": 2, "queued": 5}
    assert ledger.ids(ledger.claim(scorers, money=cap(9.0, scorers, 0.1)).jobs) == ids[2:7]


def test_a_raised_rate_of_one_stratum_leaves_the_cut_of_another(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(judge())
    ledger.draw(scorers, rate=0.5)
    purse = cap(0.2, scorers, 0.1)
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers, money=purse).jobs])
    ledger.claim(scorers, money=purse)
    with store.write() as connection:
        enrol.reorder_jobs(
            connection, NIGHT
        )  # as after a raise elsewhere: this stratum's draw, and so its cut, still stand
        enrol.enqueue(connection, NIGHT, scorers, NOW)
    assert ledger.states() == {"scored": 2, "shed": 3}


def test_a_night_whose_shed_jobs_are_taken_up_again_is_summarised_again_however_the_counts_end(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 4)
    ledger.settle([outcome(job, cost_usd=0.2) for job in ledger.claim(scorers, money=cap(0.2, scorers, 0.1)).jobs])
    ledger.claim(scorers, money=cap(0.2, scorers, 0.1))
    with store.write() as connection:
        ((night, resolved, ended),) = cells.stale_nights(connection, NIGHT)
        assert (night, resolved, ended) == (NIGHT, 4, 4)
        cells.mark_summarised(connection, night, resolved, ended, NOW)
        enrol.reorder_jobs(connection, NIGHT)
        connection.execute(cut.delete())
    ledger.settle([outcome(job, cost_usd=0.1) for job in ledger.claim(scorers).jobs])
    with store.read() as connection:
        assert cells.stale_nights(connection, NIGHT) == [(NIGHT, 4, 4)]


def test_a_cap_is_never_overspent_by_workers_at_once_and_nothing_below_the_cut_is_left(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 120)
    purse = cap(1.0, scorers, 0.02)

    def work(own: Ledger, owner: str) -> None:
        while True:
            claim = own.claim(scorers, owner=owner, limit=3, money=purse)
            if not claim.jobs and not claim.must_wait:
                break
            own.settle([outcome(job, cost_usd=0.02) for job in claim.jobs], owner=owner)

    at_once(store, 4, work)
    assert account(store) == AccountBalance(1.0, 0, 0)
    states = [job.state for job in ledger.jobs()]
    assert states == ["scored"] * 50 + ["shed"] * 70
    assert cuts(store) == {("refund", scorers[0].pk): round(50.5 / 120, 9)}


def test_two_claims_that_find_the_money_gone_do_not_lock_each_other_out(store: Store) -> None:
    _, scorers, _ = drawn(store, 200)
    purse = cap(0.0, scorers, 0.02)
    told: list[int] = []
    at_once(store, 4, lambda own, owner: told.append(own.claim(scorers, owner=owner, limit=40, money=purse).shed))
    assert sorted(told) == [0, 0, 0, 200]
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(spend)).scalar_one() == 1


LAST = date(2026, 11, 30)
FIRST = date(2026, 12, 1)


def monthly(usd: float, scorers: list[Registered], day: date, most: float = 0.3) -> SpendingLimits:
    return SpendingLimits(day, math.inf, {scorer.pk: most for scorer in scorers}, usd)


def test_a_months_cap_holds_over_its_days_and_the_next_month_brings_new_money(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 6)
    first, second = ledger.claim(scorers, money=monthly(1.0, scorers, date(2026, 11, 1)), limit=2).jobs
    ledger.settle([outcome(first, cost_usd=0.3), outcome(second, cost_usd=0.2)])
    (third,) = ledger.claim(scorers, money=monthly(1.0, scorers, LAST)).jobs
    assert ledger.claim(scorers, money=monthly(1.0, scorers, LAST)).must_wait
    ledger.settle([outcome(third, cost_usd=0.3)])
    assert ledger.claim(scorers, money=monthly(1.0, scorers, FIRST), limit=1).jobs
    assert ledger.claim(scorers, money=monthly(1.0, scorers, LAST)).shed == 2


def test_the_smaller_of_both_caps_counts(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 10)
    both = SpendingLimits(DAY, 0.5, {scorers[0].pk: 0.1}, 0.3)
    assert len(ledger.claim(scorers, money=both).jobs) == 3
    assert len(ledger.claim(scorers, money=both._replace(month_cap_usd=9.0)).jobs) == 2


def test_what_a_job_holds_since_yesterday_is_its_own_in_the_month_too(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (one,) = ledger.claim(scorers, money=monthly(0.3, scorers, DAY)).jobs
    ledger.retry([one], NOW)
    (again,) = ledger.claim(scorers, money=monthly(0.3, scorers, NEXT_DAY)).jobs
    assert (again.pk, again.reserved_day) == (one.pk, NEXT_DAY)
    assert account(store) == AccountBalance(0, 0, 0)
    assert account(store, NEXT_DAY) == AccountBalance(0, 0.3, 0)


def test_a_months_cap_is_not_overspent_by_workers_on_both_sides_of_midnight(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 120)

    def work(own: Ledger, owner: str) -> None:
        day = DAY if owner[-1] in "02" else NEXT_DAY
        while True:
            claim = own.claim(scorers, owner=owner, limit=3, money=monthly(1.0, scorers, day, 0.02))
            if not claim.jobs and not claim.must_wait:
                break
            own.settle([outcome(job, cost_usd=0.02) for job in claim.jobs], owner=owner)

    at_once(store, 4, work)
    with store.read() as connection:
        month = accounts.month_balance(connection, DAY)
    assert (round(month.spent_usd, 9), round(month.reserved_usd, 9)) == (1.0, 0.0)
    assert Counter(job.state for job in ledger.jobs()) == {"scored": 50, "shed": 70}
