from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.support.ledger import LEASE_S, NOW, Ledger, heuristic, judge
from worker.store.engine import Store
from worker.store.queue import workers


def see(store: Store, name: str, at: datetime, lanes: Sequence[str] = ("judge",)) -> None:
    with store.write() as connection:
        workers.record_heartbeat(connection, name, lanes, 42, at)


def alive(store: Store, at: datetime) -> list[tuple[str, str]]:
    with store.read() as connection:
        return [(row["name"], row["lanes"]) for row in workers.live_workers(connection, at)]


def test_a_worker_is_alive_while_it_was_seen_lately(store: Store) -> None:
    see(store, "b", NOW)
    see(store, "a", NOW + timedelta(seconds=30), ["heuristic", "judge"])
    assert alive(store, NOW + timedelta(seconds=30)) == [("a", "heuristic,judge"), ("b", "judge")]
    assert alive(store, NOW + timedelta(seconds=46)) == [("a", "heuristic,judge")]


def test_a_worker_that_is_seen_again_is_one_worker_and_keeps_its_start(store: Store) -> None:
    for seconds in (0, 15, 30):
        see(store, "a", NOW + timedelta(seconds=seconds))
    with store.read() as connection:
        (row,) = workers.live_workers(connection, NOW)
    assert (row["started_at"], row["seen_at"]) == (NOW, NOW + timedelta(seconds=30))


def test_a_worker_that_stopped_is_gone(store: Store) -> None:
    see(store, "a", NOW)
    with store.write() as connection:
        workers.remove(connection, "a")
        workers.remove(connection, "nobody")
    assert alive(store, NOW) == []


def test_a_worker_that_was_not_seen_for_a_day_is_forgotten(store: Store) -> None:
    see(store, "old", NOW - timedelta(days=2))
    see(store, "new", NOW)
    assert alive(store, NOW - timedelta(days=2)) == [("new", "judge")]


def test_processes_at_work_are_those_that_hold_jobs_of_the_lane_now(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(4)
    judging, telling = ledger.register(judge(), heuristic())
    ledger.draw([judging, telling])
    ledger.claim([telling], owner="heuristics", limit=1)
    ledger.claim([judging], owner="a", limit=2)
    ledger.claim([judging], owner="b", limit=1)

    def at_work(now: datetime) -> int:
        with store.read() as connection:
            return workers.working_processes(connection, "judge", now)

    assert at_work(NOW) == 2
    assert at_work(NOW + timedelta(seconds=LEASE_S + 1)) == 0
