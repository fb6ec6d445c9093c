import threading
from datetime import timedelta

from tests.support.ledger import NIGHT, NOW, Ledger, given_up, heuristic, incoming, judge, outcome, row, small_run
from worker.store.budget.accounts import SpendingLimits
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.settling import Settled
from worker.store.results import counts
from worker.store.runs import draws

BEFORE = NIGHT - timedelta(1)


def test_a_store_without_runs_has_no_counts(store: Store) -> None:
    ledger = Ledger(store)
    assert ledger.all_counts(ledger.register(heuristic())) == []


def test_a_night_before_the_first_is_before_start_and_one_after_it_is_pending(store: Store) -> None:
    ledger = Ledger(store)
    for night in (BEFORE, NIGHT):
        ledger.add_runs(3, night=night)
        ledger.add_runs(2, night=night, task_type="billing")
    scorers = ledger.register(heuristic(task_types=("refund",)))
    before, after = ledger.all_counts(scorers, start=NIGHT)
    assert before == counts.NightCounts("tool_success", "1+tool_suc", BEFORE, 5, 2, 3, 0, 0, 0, 0, 0, 0)
    assert after == counts.NightCounts("tool_success", "1+tool_suc", NIGHT, 5, 2, 0, 0, 0, 0, 0, 0, 3)
    assert [count.before_start for count in ledger.all_counts(scorers, start=None)] == [3, 3], "nothing is owed yet"
    assert before.reconciles
    assert after.reconciles


def test_every_ended_run_of_a_drawn_night_is_accounted_for(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(20)
    ledger.add_runs(5, task_type="billing")
    scorers = ledger.register(heuristic(task_types=("refund",)))
    ledger.draw(scorers, rate=0.5)
    assert ledger.count(scorers)._asdict() == {
        "scorer": "tool_success", "scorer_version": "1+tool_suc", "night": NIGHT,
        "ended": 25, "filtered": 5, "before_start": 0,
        "sampled_out": 10, "scored": 0, "unscored": 0, "failed": 0, "shed": 0, "pending": 10,
    }  # fmt: skip
    jobs = ledger.claim(scorers, limit=6).jobs
    assert ledger.count(scorers).pending == 10, "what is in hand is pending"
    ledger.settle([outcome(jobs[0]), outcome(jobs[1]), outcome(jobs[2], None), given_up(jobs[3])])
    told = ledger.count(scorers)
    assert (told.scored, told.unscored, told.failed, told.pending) == (2, 1, 1, 6)


def test_scores_of_criteria_are_not_counted_as_runs(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(3)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers)
    said = [
        Settled(
            job, "scored", None, 0.0, [row(job), row(job, criterion="tone"), row(job, criterion="truth", value=None)]
        )
        for job in ledger.claim(scorers).jobs
    ]
    ledger.settle(said)
    told = ledger.count(scorers)
    assert (told.scored, told.unscored) == (3, 0)


def test_what_a_budget_shed_is_told(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(5)
    scorers = ledger.register(judge())
    ledger.draw(scorers)
    purse = SpendingLimits(NIGHT, 0.5, {scorers[0].pk: 0.25})
    ledger.settle([outcome(job, cost_usd=0.25) for job in ledger.claim(scorers, money=purse).jobs])
    ledger.claim(scorers, money=purse)
    told = ledger.count(scorers)
    assert (told.scored, told.shed, told.pending) == (2, 3, 0)


def test_late_runs_are_pending_until_they_are_decided(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers, rate=0.3)
    ledger.settle([outcome(job) for job in ledger.claim(scorers).jobs])
    ledger.take([incoming(small_run("below"), key=0.1), incoming(small_run("above"), key=0.9)])
    ledger.take([incoming(small_run("new", task_type="new"), key=0.9)])
    told = ledger.count(scorers)
    assert (told.ended, told.sampled_out, told.scored, told.pending) == (13, 8, 3, 2)
    with store.write() as connection:
        draws.add_samples(connection, NIGHT, NOW)
    assert ledger.count(scorers).pending == 2, "drawn, but not queued"
    with store.write() as connection:
        enrol.enqueue(connection, NIGHT, scorers, NOW)
    assert ledger.count(scorers).pending == 2
    ledger.settle([outcome(job) for job in ledger.claim(scorers).jobs])
    told = ledger.count(scorers)
    assert (told.sampled_out, told.scored, told.pending) == (8, 4, 1)


def test_a_revision_after_the_draw_keeps_the_counts_whole(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(3)
    ledger.take([incoming(small_run("changed"), key=0.01)])
    scorers = ledger.register(heuristic(statuses=("completed",), agents=("",), task_types=("refund",)))
    ledger.draw(scorers)
    ledger.settle([outcome(job) for job in ledger.claim(scorers).jobs])
    changed = small_run("changed", status="errored", agent="other", task_type="billing")
    assert ledger.take([incoming(changed, key=0.01, flags=("errored",))]).revised == 1
    assert ledger.count(scorers).scored == 4


def test_a_scorer_that_comes_later_is_not_owed_a_night_that_was_drawn_before(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(3)
    old = ledger.register(heuristic())
    ledger.draw(old)
    ledger.add_runs(2, night=NIGHT + timedelta(1))
    both = [*old, *ledger.register(judge())]
    told = [(count.night, count.scorer, count.pending) for count in ledger.all_counts(both)]
    assert told == [
        (NIGHT, "tool_success", 3),
        (NIGHT + timedelta(1), "tool_success", 2),
        (NIGHT + timedelta(1), "task_completion", 2),
    ]


def test_the_counts_reconcile_at_any_moment_while_others_work(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(200)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers)
    is_done = threading.Event()

    def work() -> None:
        own = Ledger(Store(store.engine.url.render_as_string(hide_password=False)))
        number = 0
        while jobs := own.claim(scorers, limit=4).jobs:
            own.settle([outcome(job) for job in jobs])
            number += 1
            own.take([incoming(small_run(f"late-{number}"), key=number / 1000)])
            own.draw(scorers)
        own.store.close()
        is_done.set()

    thread = threading.Thread(target=work)
    thread.start()
    broken = []
    while not is_done.is_set():
        broken += [count for count in ledger.all_counts(scorers) if not count.reconciles]
    thread.join()
    assert broken == []
    assert ledger.count(scorers).scored >= 200


def test_why_runs_have_no_score_is_counted_by_reason(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(10)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers)
    with store.read() as connection:
        [(_, found)] = counts.missing_score_reasons(connection, since=NIGHT, task_type=None).items()
    assert (sum(found.waiting.values()), found.unscored) == (10, {})
