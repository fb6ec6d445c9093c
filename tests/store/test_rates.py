"""What processes say of their pace: the last word of each, and counts that only grow, whoever comes and goes."""

from datetime import datetime, timedelta

from tests.support.ledger import NOW, Ledger, at_once
from tests.support.rates import a_reading, note
from worker.store.engine import Store
from worker.store.queue import rates
from worker.store.queue.rates import Calls, RateReading


def said(store: Store, at: datetime = NOW) -> list[RateReading]:
    with store.read() as connection:
        return rates.readings(connection, at)


def ever(store: Store) -> dict[str, Calls]:
    with store.read() as connection:
        return rates.total_calls(connection)


def test_the_last_word_of_a_process_replaces_the_one_before(store: Store) -> None:
    later = NOW + timedelta(seconds=3)
    note(store, a_reading())
    note(store, a_reading(at=later)._replace(in_flight=7, resumes_at=later, trouble="paused"))
    note(store, a_reading("host:2"))
    newest, other = said(store, later)
    assert newest == a_reading(at=later)._replace(in_flight=7, resumes_at=later, trouble="paused")
    assert other == a_reading("host:2")


def test_calls_of_all_processes_add_up_and_stay_when_processes_go(store: Store) -> None:
    note(store, a_reading())
    note(store, a_reading())
    note(store, a_reading("host:2"), {"m": Calls(5, 0, 7)})
    note(store, a_reading("host:2", "other"), {"other": Calls(1, 1, 1)})
    before = ever(store)
    assert before == {"m": Calls(25, 2, 7), "other": Calls(1, 1, 1)}
    with store.write() as connection:
        rates.forget_process(connection, "host:2")
    assert [reading.worker for reading in said(store)] == ["host:1"]
    assert ever(store) == before


def test_who_ended_in_order_leaves_its_trouble_to_be_read(store: Store) -> None:
    note(store, a_reading(trouble="the judge refuses the key"))
    with store.write() as connection:
        rates.forget_process(connection, "host:1")
    assert [reading.trouble for reading in said(store)] == ["the judge refuses the key"]


def test_who_says_nothing_for_a_day_is_forgotten_and_its_calls_are_not(store: Store) -> None:
    note(store, a_reading("host:dead", trouble="x"))
    later = NOW + timedelta(days=1, seconds=1)
    assert said(store, later) == []
    note(store, a_reading("host:alive", at=later))
    assert [reading.worker for reading in said(store, NOW)] == ["host:alive"]
    assert ever(store) == {"m": Calls(20, 2, 0)}


def test_counts_outgrow_thirty_two_bits(store: Store) -> None:
    note(store, a_reading(), {"m": Calls(2**33, 0, 0)})
    assert ever(store)["m"].answered == 2**33


def test_processes_that_count_at_once_lose_no_call(store: Store) -> None:
    def work(ledger: Ledger, name: str) -> None:
        for _ in range(20):
            with ledger.store.write() as connection:
                readings = [a_reading(name, model) for model in ("b", "a")]
                rates.record_rates(connection, readings, {"b": Calls(1, 1, 0), "a": Calls(2, 0, 0)})

    at_once(store, 3, work)
    assert ever(store) == {"a": Calls(120, 0, 0), "b": Calls(60, 60, 0)}
    assert len(said(store)) == 6
