"""Caps of single rubrics: whose money is gone is passed over and cut, and the others go on."""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta

from sqlalchemy import func, select

from tests.support.accounts import DAY, EXPIRED, NEXT_DAY, account, cuts, drawn
from tests.support.ledger import NIGHT, NOW, Ledger, at_once, incoming, judge, outcome, small_run, spend
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance, RubricCap, SpendingLimits
from worker.store.engine import Store
from worker.store.queue import claiming, enrol
from worker.store.queue.enrol import Registered
from worker.store.queue.job import Job
from worker.store.runs import draws

MOST_USD = 0.1


def allowed(
    scorers: list[Registered],
    rubrics: Mapping[str, RubricCap],
    *,
    usd: float = math.inf,
    month_usd: float | None = None,
    day: date = DAY,
) -> SpendingLimits:
    return SpendingLimits(day, usd, {one.pk: MOST_USD for one in scorers}, month_usd, rubrics)


def names(scorers: list[Registered], jobs: list[Job]) -> Counter[str]:
    by_pk = {one.pk: one.key.name for one in scorers}
    return Counter(by_pk[one.scorer_pk] for one in jobs)


def test_a_rubric_at_its_cap_is_passed_over_and_the_other_goes_on(store: Store) -> None:
    ledger, scorers, ids = drawn(store, 5, "dear", "cheap")
    claim = ledger.claim(scorers, money=allowed(scorers, {"dear": RubricCap(0.25)}))
    assert names(scorers, claim.jobs) == {"dear": 2, "cheap": 5}
    assert ledger.ids([one for one in claim.jobs if one.scorer_pk == scorers[0].pk]) == ids[:2]
    assert (claim.shed, claim.must_wait) == (0, False)
    assert account(store) == AccountBalance(0, 0.7, 0)


def test_jobs_of_a_rubric_whose_money_is_gone_do_not_fill_the_window(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 30, "dear", "other", "cheap")
    purse = allowed(scorers, {"dear": RubricCap(0.1), "other": RubricCap(0.2)})
    claim = ledger.claim(scorers, money=purse, limit=8)
    assert names(scorers, claim.jobs) == {"dear": 1, "other": 2, "cheap": 5}
    assert names(scorers, ledger.claim(scorers, money=purse, limit=8).jobs) == {"cheap": 8}


def test_when_nothing_of_a_rubric_is_in_flight_its_night_is_cut_for_it_alone(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    ledger.add_runs(10, task_type="billing")
    scorers = ledger.register(judge("dear"), judge("cheap"))
    ledger.draw(scorers, rate=0.8)
    purse = allowed(scorers, {"dear": RubricCap(0.55)})
    first = ledger.claim(scorers, money=purse).jobs
    dear = [one for one in first if one.scorer_pk == scorers[0].pk]
    assert ledger.claim(scorers, money=purse).must_wait, "what its calls hold may come back"
    ledger.settle([outcome(one, cost_usd=0.1) for one in dear])
    claim = ledger.claim(scorers, money=purse)
    assert (claim.jobs, claim.shed, claim.must_wait) == ([], 11, False)
    # five of sixteen were scored: keys .05 .05 .15 .15 .25, so the smallest that is left is the other .25
    assert cuts(store) == {("refund", scorers[0].pk): 0.25, ("billing", scorers[0].pk): 0.25}
    by = Counter((each.scorer_pk, each.state) for each in ledger.jobs())
    assert by == {(scorers[0].pk, "scored"): 5, (scorers[0].pk, "shed"): 11, (scorers[1].pk, "leased"): 16}


def test_a_cut_of_one_rubric_and_the_jobs_of_another_come_in_one_claim(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 4, "dear", "cheap")
    purse = allowed(scorers, {"dear": RubricCap(0.1)})
    ledger.settle([outcome(one, cost_usd=0.1) for one in ledger.claim(scorers, money=purse, limit=2).jobs])
    claim = ledger.claim(scorers, money=purse, limit=2)
    assert (names(scorers, claim.jobs), claim.shed) == ({"cheap": 2}, 3)


def test_what_a_rubric_does_not_spend_of_what_it_reserved_lets_it_go_on(store: Store) -> None:
    ledger, scorers, ids = drawn(store, 5, "dear", "cheap")
    purse = allowed(scorers, {"dear": RubricCap(0.25)})
    first = ledger.claim(scorers, money=purse).jobs
    ledger.settle([outcome(one, cost_usd=0.01) for one in first])
    assert ledger.ids(ledger.claim(scorers, money=purse).jobs) == ids[2:4]


def test_all_versions_of_a_rubric_spend_from_one_cap(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(4)
    old, new, other = ledger.register(judge("dear", "1"), judge("dear", "2"), judge("cheap"))
    ledger.draw([old, new, other])
    purse = allowed([old, new, other], {"dear": RubricCap(0.3)})
    spent = ledger.claim([old], money=purse, limit=2).jobs
    ledger.settle([outcome(one, cost_usd=0.1) for one in spent])
    assert names([new, other], ledger.claim([new, other], money=purse).jobs) == {"dear": 1, "cheap": 4}
    with store.read() as connection:
        assert {
            name: round(one.spent_usd, 9) for name, one in accounts.balances_by_rubric(connection, DAY, DAY).items()
        } == {
            "dear": 0.2,
            "cheap": 0.0,
        }


def test_a_rubrics_months_cap_holds_over_its_days(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 6, "dear", "cheap")
    caps = {"dear": RubricCap(usd_per_month=0.3)}
    first = ledger.claim(scorers, money=allowed(scorers, caps, day=date(2026, 11, 1)), limit=4).jobs
    ledger.settle([outcome(one, cost_usd=0.1) for one in first])
    last = ledger.claim(scorers, money=allowed(scorers, caps, day=date(2026, 11, 30))).jobs
    assert names(scorers, last) == {"dear": 1, "cheap": 4}
    ledger.settle([outcome(one, cost_usd=0.1) for one in last])
    assert ledger.claim(scorers, money=allowed(scorers, caps, day=date(2026, 11, 30))).shed == 3
    ledger.add_runs(2, night=DAY)
    ledger.draw(scorers, night=DAY)
    december = ledger.claim(scorers, money=allowed(scorers, caps, day=date(2026, 12, 1))).jobs
    assert names(scorers, december) == {"dear": 2, "cheap": 2}


def test_all_caps_hold_beside_one_another(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 9, "dear", "cheap")
    purse = allowed(
        scorers, {"dear": RubricCap(0.2, 0.9), "cheap": RubricCap(usd_per_month=0.5)}, usd=0.6, month_usd=9.0
    )
    assert names(scorers, ledger.claim(scorers, money=purse).jobs) == {"dear": 2, "cheap": 4}
    more = purse._replace(cap_usd=9.0)
    assert names(scorers, ledger.claim(scorers, money=more).jobs) == {"cheap": 1}
    assert ledger.claim(scorers, money=more).must_wait


def test_who_holds_a_reservation_is_not_kept_waiting_by_one_of_its_rubric_that_does_not_fit(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3, "dear", "cheap")
    purse = allowed(scorers, {"dear": RubricCap(0.25)})
    dear, _ = scorers
    ledger.claim([dear], owner="dead", money=purse, limit=1)
    (behind,) = ledger.claim([dear], money=purse, limit=1).jobs
    ledger.retry([behind], EXPIRED)
    claim = ledger.claim(scorers, now=EXPIRED, money=purse, limit=1)  # what was ahead is presumed spent, and waits
    assert names(scorers, claim.jobs) == {"cheap": 1}
    (again,) = ledger.claim([dear], now=EXPIRED, money=purse, limit=1).jobs
    assert (again.pk, again.reserved_usd) == (behind.pk, MOST_USD)


def test_who_holds_a_reservation_since_yesterday_is_not_kept_waiting_in_the_month(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    purse = allowed(scorers, {}, month_usd=0.25)
    ledger.claim(scorers, owner="dead", money=purse, limit=1)
    (behind,) = ledger.claim(scorers, money=purse, limit=1).jobs
    ledger.retry([behind], EXPIRED)
    (again,) = ledger.claim(scorers, now=EXPIRED, money=purse._replace(day=NEXT_DAY)).jobs
    assert (again.pk, again.reserved_day) == (behind.pk, NEXT_DAY)
    assert account(store, NEXT_DAY) == AccountBalance(0, MOST_USD, 0)


def test_who_holds_its_money_goes_on_though_others_cost_more_than_was_reserved(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    purse = allowed(scorers, {}, usd=0.2)
    first, second = ledger.claim(scorers, money=purse).jobs
    ledger.settle([outcome(first, cost_usd=0.9)])
    ledger.retry([second], NOW)
    assert [one.pk for one in ledger.claim(scorers, money=purse).jobs] == [second.pk]


def test_the_cut_of_a_rubric_takes_nothing_from_a_night_that_it_does_not_look_at(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3, "dear", "cheap")
    ledger.add_runs(3, night=DAY)
    ledger.draw(scorers[1:], night=DAY)
    purse = allowed(scorers, {"dear": RubricCap(0.0)}, usd=9.0)
    claim = ledger.claim(scorers, money=purse)
    assert (names(scorers, claim.jobs), claim.shed) == ({"cheap": 6}, 3)


def test_late_runs_beyond_a_rubrics_cut_are_shed_for_it_alone(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 10, "dear", "cheap")
    purse = allowed(scorers, {"dear": RubricCap(0.5)})
    ledger.settle([outcome(one, cost_usd=0.1) for one in ledger.claim(scorers, money=purse).jobs])
    ledger.claim(scorers, money=purse)
    assert cuts(store) == {("refund", scorers[0].pk): 0.55}
    ledger.take([incoming(small_run(f"late-{key}"), key=key) for key in (0.54, 0.56)])
    with store.write() as connection:
        draws.add_samples(connection, NIGHT, NOW)
        enrol.enqueue(connection, NIGHT, scorers, NOW)
    late = Counter((each.scorer_pk, each.run_id, each.state) for each in ledger.jobs() if each.run_id[:4] == "late")
    dear, cheap = (one.pk for one in scorers)
    assert set(late) == {
        (dear, "late-0.54", "queued"),
        (dear, "late-0.56", "shed"),
        (cheap, "late-0.54", "queued"),
        (cheap, "late-0.56", "queued"),
    }


def test_no_cap_is_overspent_by_workers_at_once_and_nothing_below_a_cut_is_left(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 60, "dear", "cheap")
    purse = SpendingLimits(DAY, 1.2, {one.pk: 0.02 for one in scorers}, 9.0, {"dear": RubricCap(0.4, 0.5)})

    def work(own: Ledger, owner: str) -> None:
        while (claim := own.claim(scorers, owner=owner, limit=3, money=purse)).jobs or claim.must_wait or claim.shed:
            own.settle([outcome(one, cost_usd=0.02) for one in claim.jobs], owner=owner)

    at_once(store, 4, work)
    by = Counter((each.scorer_pk, each.state) for each in ledger.jobs())
    assert by == {
        (scorers[0].pk, "scored"): 20,
        (scorers[0].pk, "shed"): 40,
        (scorers[1].pk, "scored"): 40,
        (scorers[1].pk, "shed"): 20,
    }
    assert cuts(store) == {
        ("refund", scorers[0].pk): round(20.5 / 60, 9),
        ("refund", scorers[1].pk): round(40.5 / 60, 9),
    }
    assert account(store) == AccountBalance(1.2, 0, 0)


def test_claims_that_find_lost_jobs_do_not_lock_each_other_out(store: Store) -> None:
    """Who takes back lost jobs books what is presumed, and who claims holds all accounts: one order for both."""
    ledger, scorers, _ = drawn(store, 90, "a", "b", "c")
    purse = allowed(scorers, {"a": RubricCap(9.0)}, usd=99.0)
    for number in range(6):
        ledger.claim(scorers, owner=f"dead-{number}", limit=20, money=purse, now=NOW + timedelta(seconds=number))

    def work(own: Ledger, owner: str) -> None:
        for second in range(8):
            now = EXPIRED + timedelta(seconds=second)
            done = own.claim(scorers, owner=owner, limit=15, money=purse, now=now).jobs
            own.settle([outcome(one, cost_usd=0.01) for one in done], owner=owner, now=now)

    at_once(store, 4, work)
    with store.write() as connection:
        claiming.reap(connection, EXPIRED + timedelta(hours=1), 3)
        total = connection.execute(select(func.sum(spend.c.presumed_usd))).scalar_one()
    assert round(total, 9) == round(120 * MOST_USD, 9)
