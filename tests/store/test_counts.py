import threading
from datetime import timedelta

from tests.support.store_world import NIGHT, NOW, World, given_up, heuristic, incoming, judge, outcome, row, small_run
from worker.store.budget.accounts import SpendingLimits
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.settling import Settled
from worker.store.results import counts
from worker.store.runs import draws

BEFORE = NIGHT - timedelta(1)


def test_a_store_without_runs_has_no_counts(store: Store) -> None:
    world = World(store)
    assert world.all_counts(world.register(heuristic())) == []


def test_a_night_before_the_first_is_before_start_and_one_after_it_is_pending(store: Store) -> None:
    world = World(store)
    for night in (BEFORE, NIGHT):
        world.add_runs(3, night=night)
        world.add_runs(2, night=night, task_type="billing")
    scorers = world.register(heuristic(task_types=("refund",)))
    before, after = world.all_counts(scorers, start=NIGHT)
    assert before == counts.NightCounts("tool_success", "1", BEFORE, 5, 2, 3, 0, 0, 0, 0, 0, 0)
    assert after == counts.NightCounts("tool_success", "1", NIGHT, 5, 2, 0, 0, 0, 0, 0, 0, 3)
    assert [each.before_start for each in world.all_counts(scorers, start=None)] == [3, 3], "nothing is owed yet"
    assert before.reconciles
    assert after.reconciles


def test_every_ended_run_of_a_drawn_night_is_accounted_for(store: Store) -> None:
    world = World(store)
    world.add_runs(20)
    world.add_runs(5, task_type="billing")
    scorers = world.register(heuristic(task_types=("refund",)))
    world.draw(scorers, rate=0.5)
    assert world.count(scorers)._asdict() == {
        "scorer": "tool_success", "scorer_version": "1", "night": NIGHT, "ended": 25, "filtered": 5, "before_start": 0,
        "sampled_out": 10, "scored": 0, "unscored": 0, "failed": 0, "shed": 0, "pending": 10,
    }  # fmt: skip
    jobs = world.claim(scorers, limit=6).jobs
    assert world.count(scorers).pending == 10, "what is in hand is pending"
    world.settle([outcome(jobs[0]), outcome(jobs[1]), outcome(jobs[2], None), given_up(jobs[3])])
    told = world.count(scorers)
    assert (told.scored, told.unscored, told.failed, told.pending) == (2, 1, 1, 6)


def test_scores_of_criteria_are_not_counted_as_runs(store: Store) -> None:
    world = World(store)
    world.add_runs(3)
    scorers = world.register(heuristic())
    world.draw(scorers)
    said = [
        Settled(
            one, "scored", None, 0.0, [row(one), row(one, criterion="tone"), row(one, criterion="truth", value=None)]
        )
        for one in world.claim(scorers).jobs
    ]
    world.settle(said)
    told = world.count(scorers)
    assert (told.scored, told.unscored) == (3, 0)


def test_what_a_budget_shed_is_told(store: Store) -> None:
    world = World(store)
    world.add_runs(5)
    scorers = world.register(judge())
    world.draw(scorers)
    purse = SpendingLimits(NIGHT, 0.5, {scorers[0].pk: 0.25})
    world.settle([outcome(one, cost_usd=0.25) for one in world.claim(scorers, money=purse).jobs])
    world.claim(scorers, money=purse)
    told = world.count(scorers)
    assert (told.scored, told.shed, told.pending) == (2, 3, 0)


def test_late_runs_are_pending_until_they_are_decided(store: Store) -> None:
    world = World(store)
    world.add_runs(10)
    scorers = world.register(heuristic())
    world.draw(scorers, rate=0.3)
    world.settle([outcome(one) for one in world.claim(scorers).jobs])
    world.take([incoming(small_run("below"), key=0.1), incoming(small_run("above"), key=0.9)])
    world.take([incoming(small_run("new", task_type="new"), key=0.9)])
    told = world.count(scorers)
    assert (told.ended, told.sampled_out, told.scored, told.pending) == (13, 8, 3, 2)
    with store.write() as connection:
        draws.add_samples(connection, NIGHT, NOW)
    assert world.count(scorers).pending == 2, "drawn, but not queued"
    with store.write() as connection:
        enrol.enqueue(connection, NIGHT, scorers, NOW)
    assert world.count(scorers).pending == 2
    world.settle([outcome(one) for one in world.claim(scorers).jobs])
    told = world.count(scorers)
    assert (told.sampled_out, told.scored, told.pending) == (8, 4, 1)


def test_a_revision_after_the_draw_keeps_the_counts_whole(store: Store) -> None:
    world = World(store)
    world.add_runs(3)
    world.take([incoming(small_run("changed"), key=0.01)])
    scorers = world.register(heuristic(statuses=("completed",), agents=("",), task_types=("refund",)))
    world.draw(scorers)
    world.settle([outcome(one) for one in world.claim(scorers).jobs])
    changed = small_run("changed", status="errored", agent="other", task_type="billing")
    assert world.take([incoming(changed, key=0.01, flags=("errored",))]).revised == 1
    assert world.count(scorers).scored == 4


def test_a_scorer_that_comes_later_is_not_owed_a_night_that_was_drawn_before(store: Store) -> None:
    world = World(store)
    world.add_runs(3)
    old = world.register(heuristic())
    world.draw(old)
    world.add_runs(2, night=NIGHT + timedelta(1))
    both = [*old, *world.register(judge())]
    told = [(each.night, each.scorer, each.pending) for each in world.all_counts(both)]
    assert told == [
        (NIGHT, "tool_success", 3),
        (NIGHT + timedelta(1), "tool_success", 2),
        (NIGHT + timedelta(1), "task_completion", 2),
    ]


def test_the_counts_reconcile_at_any_moment_while_others_work(store: Store) -> None:
    world = World(store)
    world.add_runs(200)
    scorers = world.register(heuristic())
    world.draw(scorers)
    is_done = threading.Event()

    def work() -> None:
        own = World(Store(store.engine.url.render_as_string(hide_password=False)))
        number = 0
        while jobs := own.claim(scorers, limit=4).jobs:
            own.settle([outcome(one) for one in jobs])
            number += 1
            own.take([incoming(small_run(f"late-{number}"), key=number / 1000)])
            own.draw(scorers)
        own.store.close()
        is_done.set()

    thread = threading.Thread(target=work)
    thread.start()
    broken = []
    while not is_done.is_set():
        broken += [each for each in world.all_counts(scorers) if not each.reconciles]
    thread.join()
    assert broken == []
    assert world.count(scorers).scored >= 200
