"""Judgments in the store: with their outcome, one shared part for many, and gone after their time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from tests.support.ledger import NOW, Ledger, at_once, judge, outcome
from worker.records import PackedJudgment
from worker.store.engine import Store
from worker.store.queue import judgments
from worker.store.queue.job import Job
from worker.store.tables import BlobRow, JudgmentRow, core

judgment, blob = core(JudgmentRow), core(BlobRow)
A_DAY = timedelta(days=1)


def packed(number: int = 0, static: str = "a") -> PackedJudgment:
    return PackedJudgment(static * 8, static.encode() * 2_000, f"body {number}".encode())


def claimed(ledger: Ledger, count: int) -> Sequence[Job]:
    scorers = ledger.register(judge())
    ledger.add_runs(count)
    ledger.draw(scorers)
    return ledger.claim(scorers, limit=count).jobs


def put(store: Store, jobs: Sequence[Job], at: datetime, static: str = "a") -> None:
    made = [packed(one.pk, static) for one in jobs]
    with store.write() as connection:
        judgments.put_many(connection, list(zip(jobs, made, strict=True)), at)
        judgments.put_statics(connection, made, at)


def stored(store: Store) -> list[int]:
    with store.read() as connection:
        return sorted(connection.execute(select(judgment.c.job_pk)).scalars())


def statics(store: Store) -> dict[str, Any]:
    with store.read() as connection:
        return {row.sha: row.created_at for row in connection.execute(select(blob.c.sha, blob.c.created_at))}


def prune(store: Store, before: datetime, limit: int = 100) -> int:
    with store.write() as connection:
        return judgments.prune(connection, before, limit)


def test_a_judgment_is_stored_with_the_outcome_it_led_to_and_read_with_its_job(store: Store) -> None:
    ledger = Ledger(store)
    first, second = claimed(ledger, 2)
    assert ledger.settle([outcome(first)._replace(judgment=packed(1)), outcome(second)]) == 2
    with store.write() as connection:
        judgments.put_statics(connection, [packed(1), None], NOW)
    with store.read() as connection:
        (found,) = judgments.of_run(connection, first.run_pk)
        (without,) = judgments.of_run(connection, second.run_pk)
    assert (found["body"], found["static"]) == (b"body 1", b"a" * 2_000)
    assert (found["name"], found["kind"], found["state"]) == ("task_completion", "judge", "scored")
    assert (without["body"], without["static"], without["state"]) == (None, None, "scored")


def test_of_a_job_that_came_back_the_new_judgment_counts(store: Store) -> None:
    (one,) = claimed(Ledger(store), 1)
    put(store, [one], NOW)
    put(store, [one._replace(attempt=2)], NOW + A_DAY, static="b")
    with store.read() as connection:
        (found,) = judgments.of_run(connection, one.run_pk)
    assert (found["static"], found["judged_at"]) == (b"b" * 2_000, NOW + A_DAY)


def test_the_oldest_go_first_and_only_so_many_at_once(store: Store) -> None:
    jobs = claimed(Ledger(store), 4)
    for one, days in zip(jobs, (4, 1, 3, 2), strict=True):
        put(store, [one], NOW + days * A_DAY)
    before = NOW + 4 * A_DAY
    with store.read() as connection:
        assert judgments.is_any_older(connection, before)
        assert not judgments.is_any_older(connection, NOW)
    assert prune(store, before, 2) == 2
    assert stored(store) == sorted([jobs[0].pk, jobs[2].pk])
    assert prune(store, before, 2) == 1
    assert prune(store, before, 2) == 0
    assert stored(store) == [jobs[0].pk]


def test_a_shared_part_stays_while_a_judgment_may_need_it_and_no_longer(store: Store) -> None:
    jobs = claimed(Ledger(store), 3)
    put(store, jobs[:1], NOW)
    put(store, jobs[1:2], NOW + A_DAY)  # the part's date is not older than a day, and stays
    put(store, jobs[2:], NOW, static="b")
    assert statics(store) == {"a" * 8: NOW, "b" * 8: NOW}
    assert prune(store, NOW + A_DAY) == 2
    assert set(statics(store)) == {"a" * 8, "b" * 8}
    assert prune(store, NOW + A_DAY + timedelta(seconds=1), 1) == 1
    assert set(statics(store)) == {"a" * 8, "b" * 8}, "there may be more to delete first"
    with store.read() as connection:
        assert judgments.is_any_older(connection, NOW + A_DAY + timedelta(seconds=1))
    assert prune(store, NOW + A_DAY + timedelta(seconds=1), 1) == 0
    assert statics(store) == {}


def test_a_shared_part_in_use_is_dated_anew(store: Store) -> None:
    jobs = claimed(Ledger(store), 40)
    for days, one in enumerate(jobs):
        put(store, [one], NOW + days * A_DAY)
        prune(store, NOW + (days - 30) * A_DAY)
        assert statics(store).keys() == {"a" * 8}
    with store.read() as connection:
        found = [row for one in jobs for row in judgments.of_run(connection, one.run_pk)]
    assert [row["body"] is not None for row in found] == 9 * [False] + 31 * [True]
    assert all(row["static"] for row in found if row["body"])


def test_workers_that_settle_at_once_and_prune_meanwhile_do_not_lock_each_other_out(store: Store) -> None:
    jobs = claimed(Ledger(store), 40)

    def work(ledger: Ledger, owner: str) -> None:
        number = int(owner.removeprefix("worker-"))
        own = list(jobs[number::4])
        for turn in range(5):
            at = NOW + 3 * turn * A_DAY
            made = [packed(turn, static) for static in ("ab" if number % 2 else "ba")]
            with ledger.store.write() as connection:
                done = [(one, made[place % 2]) for place, one in enumerate(own)]
                judgments.put_many(connection, done, at)
                judgments.put_statics(connection, made, at)
            prune(ledger.store, at - A_DAY, 30)

    at_once(store, 4, work)
    assert stored(store) == sorted(one.pk for one in jobs)
    with store.read() as connection:
        found = [row for one in jobs for row in judgments.of_run(connection, one.run_pk)]
    assert all(row["static"] for row in found)
