import os
from datetime import datetime, timedelta

from sqlalchemy import select

from tests.support.ledger import NOW, Ledger, at_once
from worker.store.engine import Store
from worker.store.queue import replies as answers
from worker.store.tables import AnswerRow, core

answer = core(AnswerRow)
LATER = NOW + timedelta(days=3)
LONG_AGO = NOW - timedelta(days=300)


def put(store: Store, replies: dict[str, bytes], at: datetime = NOW) -> int:
    with store.write() as connection:
        return answers.put_many(connection, replies, at)


def known(store: Store, *keys: str, since: datetime = LONG_AGO) -> dict[str, bytes]:
    with store.read() as connection:
        return answers.get_many(connection, list(keys), since)


def stored(store: Store) -> list[str]:
    with store.read() as connection:
        return sorted(connection.execute(select(answer.c.key)).scalars())


def test_what_was_kept_comes_back_and_nothing_else(store: Store) -> None:
    long = os.urandom(200).hex().encode() * 20
    assert put(store, {"a": b"{}", "b": long}) == 2
    assert known(store, "a", "b", "c") == {"a": b"{}", "b": long}
    assert known(store) == {}
    assert put(store, {}) == 0


def test_many_keys_are_looked_up_at_once(store: Store) -> None:
    replies = {f"{number:064x}": str(number).encode() for number in range(1_300)}
    put(store, replies)
    assert known(store, *replies, "none") == replies


def test_an_answer_that_is_too_old_is_not_given_and_a_new_one_takes_its_place(store: Store) -> None:
    put(store, {"a": b"old", "b": b"old"})
    assert known(store, "a", since=NOW) == {"a": b"old"}
    assert known(store, "a", since=NOW + timedelta(seconds=1)) == {}
    put(store, {"a": b"new"}, LATER)
    assert known(store, "a", "b", since=LATER) == {"a": b"new"}
    assert stored(store) == ["a", "b"]


def test_an_answer_that_is_too_long_is_left_out_and_the_others_stay(store: Store) -> None:
    assert put(store, {"a": b"x" * answers.MAX_BYTES, "b": b"x" * (answers.MAX_BYTES + 1), "c": b"{}"}) == 2
    assert stored(store) == ["a", "c"]


def test_the_oldest_go_first_and_only_so_many_at_once(store: Store) -> None:
    for days in (4, 1, 3, 2):
        put(store, {str(days): b"{}"}, NOW + timedelta(days=days))
    before = NOW + timedelta(days=4)
    with store.read() as connection:
        assert answers.is_any_older(connection, before)
        assert not answers.is_any_older(connection, NOW)
    with store.write() as connection:
        assert answers.prune(connection, before, 2) == 2
    assert stored(store) == ["3", "4"]
    with store.write() as connection:
        assert answers.prune(connection, before, 2) == 1
        assert answers.prune(connection, before, 2) == 0
    assert stored(store) == ["4"]


def test_workers_that_keep_the_same_answers_at_once_and_prune_meanwhile_do_not_lock_each_other_out(
    store: Store,
) -> None:
    keys = [f"{number:03}" for number in range(100)]

    def work(ledger: Ledger, owner: str) -> None:
        own = keys if owner.endswith(("0", "2")) else keys[::-1]
        for turn in range(5):
            put(ledger.store, {key: owner.encode() for key in own}, NOW + timedelta(days=turn))
            with ledger.store.write() as connection:
                answers.prune(connection, NOW + timedelta(days=turn), 30)

    at_once(store, 4, work)
    last = known(store, *keys, since=NOW + timedelta(days=4))
    assert set(last) == set(keys)
    assert set(last.values()) <= {f"worker-{number}".encode() for number in range(4)}
