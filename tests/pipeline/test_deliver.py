"""Each destination by itself: its own queue, order, lease, back-off and circuit breaker; real receivers on loopback."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, select

from tests.support.projects import OpenProject
from tests.support.receivers import Receiver, nobody, receiving
from tests.support.watched_team import project
from worker.connectors.http import HttpClient
from worker.connectors.sinks.sink import Delivery, OutgoingMessage, Sink
from worker.connectors.sinks.webhook import WebhookSink
from worker.errors import SettingsError
from worker.pipeline.alert import raise_alert
from worker.pipeline.deliver import LEASE_S, MOST_ATTEMPTS, Delivered, deliver
from worker.project.project import Project
from worker.records import Alert
from worker.store.meta import meta, set_meta_once
from worker.store.results import alerts, destinations, outbox
from worker.store.tables import OutboxRow, core

NOW = datetime.now(UTC).replace(microsecond=0)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
pytestmark = pytest.mark.both_stores  # leases and claims are SQL
Sinks = Mapping[str, Callable[[HttpClient], Sink]]


@pytest.fixture
def opened(open_project: OpenProject, database_url: str) -> Project:
    found = project(open_project, database_url)
    found.nights.first_tick(NOW)
    return found


@pytest.fixture
def receivers() -> Iterator[Callable[[], Receiver]]:
    """Makes receivers, and closes them."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(receiving())


def to(**urls: str) -> Sinks:
    """Sinks that send to these addresses, by destination."""

    def build(url: str) -> Callable[[HttpClient], Sink]:
        return lambda http: WebhookSink(url, None, http)

    return {name: build(url) for name, url in urls.items()}


def post(opened: Project, count: int, *names: str, first: int = 0) -> None:
    """Messages 0, 1, 2 … for each destination."""
    for number in range(first, first + count):
        with opened.store.write() as connection:
            about = Alert(key=f"k{number}", kind="run_cost", urgency="now", text="x", night=NOW.date(), raised_at=NOW)
            alert_pk = alerts.add(connection, about)
            assert alert_pk is not None
            for name in names:
                outbox.post(connection, alert_pk, name, f'{{"data": {{"number": {number}}}}}', NOW)


def numbers(receiver: Receiver) -> list[int]:
    return [int(got.body.partition(b'"number": ')[2].rstrip(b"}")) for got in receiver.got]


def state(opened: Project, name: str) -> list[tuple[str, int]]:
    """State and attempts of a destination's messages, in order."""
    row = core(OutboxRow)
    statement = select(row.c.state, row.c.attempt).where(row.c.destination == name).order_by(row.c.pk)
    with opened.store.read() as connection:
        return [(found.state, found.attempt) for found in connection.execute(statement)]


def test_one_dead_one_slow_one_refusing_one_fine_and_the_fine_one_gets_everything_at_once(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    slow, refusing, fine = receivers(), receivers(), receivers()
    slow.holds.clear()
    refusing.always = 400
    names = ("dead", "slow", "refusing", "fine")
    post(opened, 12, *names)
    sinks = to(dead=nobody(), slow=slow.url, refusing=refusing.url, fine=fine.url)
    done: list[Delivered] = []
    round_of_all = threading.Thread(target=lambda: done.append(deliver(opened, NOW, sinks=sinks)))
    round_of_all.start()
    assert slow.arrived.wait(30)
    while len(fine.got) < 12 or len(refusing.got) < 12:  # the test's own time limit is the bound
        round_of_all.join(0.01)
    assert len(slow.got) == 1, "it still holds its first"
    slow.holds.set()
    round_of_all.join()
    assert numbers(fine) == numbers(slow) == list(range(12)), "in order"
    assert done == [Delivered(sent=24, put_off=1, failed=12)]
    assert state(opened, "fine") == [("sent", 1)] * 12
    assert state(opened, "refusing") == [("failed", 1)] * 12
    assert state(opened, "dead") == [("queued", 1)] + [("queued", 0)] * 11, "one attempt shows that nobody is there"


def test_a_poisoned_message_is_given_up_and_the_next_one_goes(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    receiver.answers = [204, 422, 204]
    post(opened, 3, "a")
    assert deliver(opened, NOW, sinks=to(a=receiver.url)) == Delivered(sent=2, failed=1)
    assert [found for found, _ in state(opened, "a")] == ["sent", "failed", "sent"]
    assert deliver(opened, NOW + HOUR, sinks=to(a=receiver.url)) == Delivered()


def test_after_an_outage_everything_leaves_at_once_and_in_order(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    post(opened, 5, "a")
    receiver.always = 503
    sinks = to(a=receiver.url)
    at = NOW
    for _ in range(8):  # so few that a message which was never tried is left, and due, whatever the jitter says
        at += timedelta(minutes=6)  # a destination is tried every five at least
        assert deliver(opened, at, sinks=sinks).put_off == 1, "one message is sent to see, no more"
    assert numbers(receiver)[:5] == [0, 0, 0, 0, 0], "the oldest is tried first"
    receiver.got.clear()
    receiver.always = 204
    at += timedelta(minutes=6)
    assert deliver(opened, at, sinks=sinks).sent == 5
    first, *others = numbers(receiver)
    assert others == sorted(set(range(5)) - {first})


def test_a_message_that_always_fails_is_passed_by_the_others_within_minutes(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()

    class Picky:
        """Answers 500 to the first message, whatever is asked."""

        def __init__(self, http: HttpClient) -> None:
            self._sink = WebhookSink(receiver.url, None, http)

        def deliver(self, message: OutgoingMessage) -> Delivery:
            if message.data["number"] == 0:
                return Delivery("later", "HTTP 500")
            return self._sink.deliver(message)

    post(opened, 20, "a")
    at = NOW
    while len(receiver.got) < 19:
        at += timedelta(minutes=1)
        deliver(opened, at, sinks={"a": Picky})
        assert at < NOW + timedelta(minutes=90)
    assert numbers(receiver) == list(range(1, 20))
    assert state(opened, "a")[0][0] == "queued"
    assert state(opened, "a")[1:] == [("sent", 1)] * 19


def test_what_a_destination_asks_to_wait_is_waited_by_all_its_messages_and_by_no_other(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    busy, fine = receivers(), receivers()
    busy.answers, busy.headers = [429], {"retry-after": "3000"}
    sinks = to(busy=busy.url, fine=fine.url)
    post(opened, 2, "busy", "fine")
    deliver(opened, NOW, sinks=sinks)
    post(opened, 1, "busy", "fine", first=2)
    for minutes in (1, 30, 49):
        deliver(opened, NOW + timedelta(minutes=minutes), sinks=sinks)
    assert (len(busy.got), len(fine.got)) == (1, 3)
    deliver(opened, NOW + timedelta(minutes=51), sinks=sinks)
    assert numbers(busy) == [0, 0, 1, 2]
    assert busy.ids()[0] == busy.ids()[1], "the same message has the same id"


def test_a_destination_that_asks_for_a_day_is_asked_again_after_an_hour(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    busy = receivers()
    busy.answers, busy.headers = [429], {"retry-after": "86400"}
    post(opened, 1, "busy")
    sent = [deliver(opened, NOW + timedelta(minutes=at), sinks=to(busy=busy.url)).sent for at in (0, 59, 61)]
    assert sent == [0, 0, 1]


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_an_address_or_secret_that_is_wrong_costs_no_message_until_it_is_mended(
    opened: Project, receivers: Callable[[], Receiver], status: int
) -> None:
    receiver = receivers()
    receiver.always = status
    sinks = to(a=receiver.url)
    post(opened, 3, "a")
    at = NOW
    for _ in range(MOST_ATTEMPTS + 20):  # more than an outage may cost
        at += 2 * HOUR
        assert deliver(opened, at, sinks=sinks).failed == 0
    assert [found for found, _ in state(opened, "a")] == ["queued"] * 3
    assert len(receiver.got) == MOST_ATTEMPTS + 20, "one message a time, to see"
    receiver.always = 204
    receiver.got.clear()
    assert deliver(opened, at + HOUR, sinks=sinks).sent == 3
    assert sorted(numbers(receiver)) == [0, 1, 2]


def test_a_destination_that_nobody_mends_is_given_up_a_week_after_the_alert(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    receiver.always = 403
    post(opened, 1, "a")
    looks = (timedelta(), timedelta(days=6), timedelta(days=7, minutes=1))
    given_up = [deliver(opened, NOW + look, sinks=to(a=receiver.url)).failed for look in looks]
    assert given_up == [0, 0, 1]


def test_one_message_that_is_always_forbidden_holds_up_the_others_for_minutes_only(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()

    class Forbidding:
        """Answers 403 to the first message, whatever is asked."""

        def __init__(self, http: HttpClient) -> None:
            self._sink = WebhookSink(receiver.url, None, http)

        def deliver(self, message: OutgoingMessage) -> Delivery:
            if message.data["number"] == 0:
                return Delivery("misconfigured", "HTTP 403")
            return self._sink.deliver(message)

    post(opened, 20, "a")
    at = NOW
    while len(receiver.got) < 19:
        at += timedelta(minutes=1)
        deliver(opened, at, sinks={"a": Forbidding})
        assert at < NOW + timedelta(minutes=90)
    assert state(opened, "a")[0][0] == "queued"


def at_webhook(opened: Project, url: str) -> Project:
    """The project with this address in its settings."""
    return Project(opened.settings.model_copy(update={"webhook_url": SecretStr(url)}), opened.store)


def test_an_address_that_was_changed_is_not_left_alone_for_what_the_old_one_asked(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    old, new = receivers(), receivers()
    old.always, old.headers = 503, {"retry-after": "86400"}
    post(opened, 3, "webhook")
    assert deliver(at_webhook(opened, old.url), NOW).put_off == 1
    assert deliver(at_webhook(opened, old.url), NOW + SECOND) == Delivered(), "it asked to be left alone"
    assert deliver(at_webhook(opened, new.url), NOW + 2 * SECOND).sent == 3
    assert numbers(new) == [0, 1, 2], "in order"
    assert [attempts for _, attempts in state(opened, "webhook")] == [1, 1, 1]
    with opened.store.read() as connection:
        kept = connection.execute(select(meta.c.value).where(meta.c.key == "destination:webhook")).scalar_one()
    assert old.url not in kept
    assert new.url not in kept
    assert "127.0.0.1" not in kept


def test_an_address_that_is_changed_while_all_its_messages_are_put_off_gets_them_at_once(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    old, new = receivers(), receivers()
    old.always, old.headers = 503, {"retry-after": "3600"}
    post(opened, 1, "webhook")
    assert deliver(at_webhook(opened, old.url), NOW).put_off == 1
    with opened.store.read() as connection:
        assert outbox.destinations_due(connection, NOW + SECOND) == set()
    assert deliver(at_webhook(opened, new.url), NOW + SECOND).sent == 1


def test_what_a_release_without_the_hash_stored_of_a_destination_still_counts(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    post(opened, 1, "webhook")
    until = (NOW + 10 * SECOND).isoformat()
    with opened.store.write() as connection:
        stored = f'{{"failures":2,"not_before":"{until}","leased_until":null,"holder":null}}'
        set_meta_once(connection, "destination:webhook", stored)
    sent = [deliver(at_webhook(opened, receiver.url), NOW + at * SECOND).sent for at in (1, 11)]
    assert sent == [0, 1]


def test_two_deliverers_at_once_send_nothing_twice(opened: Project, receivers: Callable[[], Receiver]) -> None:
    receiver = receivers()
    receiver.holds.clear()
    post(opened, 3, "a")
    sinks = to(a=receiver.url)
    first = threading.Thread(target=lambda: deliver(opened, NOW, sinks=sinks))
    first.start()
    assert receiver.arrived.wait(30)
    post(opened, 1, "a", first=3)
    assert deliver(opened, NOW + SECOND, sinks=sinks) == Delivered(), "the destination is another's"
    receiver.holds.set()
    first.join()
    assert numbers(receiver) == [0, 1, 2, 3]
    assert len(set(receiver.ids())) == 4


def test_many_deliverers_at_once_send_each_message_once_and_in_order(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    a, b = receivers(), receivers()
    post(opened, 15, "a", "b")
    sinks = to(a=a.url, b=b.url)
    deliverers = [threading.Thread(target=lambda: deliver(opened, NOW, sinks=sinks)) for _ in range(3)]
    for deliverer in deliverers:
        deliverer.start()
    for deliverer in deliverers:
        deliverer.join()
    deliver(opened, NOW + SECOND, sinks=sinks)
    assert numbers(a) == numbers(b) == list(range(15))


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_has_lost_it(opened: Project) -> None:
    with opened.store.write() as connection:
        held = destinations.acquire(connection, "a", NOW, 60)
        assert held is not None
        assert destinations.acquire(connection, "a", NOW + 59 * SECOND, 60) is None
        assert destinations.acquire(connection, "b", NOW, 60) is not None
        renewed = destinations.renew(connection, held, NOW + 30 * SECOND, 60)
        assert renewed is not None
        assert destinations.acquire(connection, "a", NOW + 89 * SECOND, 60) is None
        assert destinations.renew(connection, held, NOW + 31 * SECOND, 60) is None, "of two with one lease, one"
        taken_over = destinations.acquire(connection, "a", NOW + 91 * SECOND, 60)
        assert taken_over is not None
        assert destinations.renew(connection, renewed, NOW + 92 * SECOND, 60) is None
        assert not destinations.release(connection, renewed, renewed.state)
        assert destinations.release(connection, taken_over, taken_over.state)
        assert destinations.acquire(connection, "a", NOW + 93 * SECOND, 60) is not None


def test_who_lost_a_message_does_not_undo_what_another_said_of_it(opened: Project) -> None:
    post(opened, 1, "a")
    with opened.store.write() as connection:
        first = outbox.claim(connection, "a", NOW, 60)
        assert first is not None
        second = outbox.claim(connection, "a", NOW + 61 * SECOND, 60)
        assert second is not None
        assert second.message_id == first.message_id
        outbox.put_off(connection, first, NOW, "too late")
        outbox.mark_failed(connection, first, "too late", NOW)
        assert outbox.claim(connection, "a", NOW + 62 * SECOND, 60) is None, "the second's lease holds"
        outbox.sent(connection, second, NOW)
        outbox.mark_failed(connection, second, "after all", NOW)
        assert outbox.waiting(connection) == {"sent": 1}


KILLED = """
import sys
from datetime import datetime
from tests.support.projects import OpenProject
from tests.support.watched_team import project
from worker.connectors.sinks.webhook import WebhookSink
from worker.pipeline.deliver import deliver
url, database, now = sys.argv[1:]
opened = project(OpenProject(), database)
deliver(opened, datetime.fromisoformat(now), sinks={"a": lambda http: WebhookSink(url, None, http)})
"""


def test_a_deliverer_killed_between_sending_and_noting_repeats_that_message_alone(
    opened: Project, database_url: str, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    post(opened, 3, "a")
    receiver.holds.clear()
    command = [sys.executable, "-c", KILLED, receiver.url, database_url, NOW.isoformat()]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as victim:
        assert receiver.arrived.wait(120)
        os.kill(victim.pid, signal.SIGKILL)
    receiver.holds.set()
    sinks = to(a=receiver.url)
    assert deliver(opened, NOW + LEASE_S / 2 * SECOND, sinks=sinks) == Delivered()
    assert deliver(opened, NOW + 2 * LEASE_S * SECOND, sinks=sinks).sent == 3
    assert numbers(receiver) == [0, 0, 1, 2]
    assert len(set(receiver.ids())) == 3, "a receiver can tell the repeat"


def test_what_was_put_off_under_a_clock_years_ahead_leaves_when_it_is_set_back(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    receiver.answers = [503]
    sinks = to(a=receiver.url, b=receiver.url)
    post(opened, 2, "a", "b")
    ahead = NOW + timedelta(days=3_650)
    assert deliver(opened, ahead, sinks=to(a=receiver.url)).put_off == 1
    with opened.store.write() as connection:  # a deliverer that was killed
        assert destinations.acquire(connection, "b", ahead, 60) is not None
        assert outbox.claim(connection, "b", ahead, 60) is not None
    assert deliver(opened, NOW, sinks=sinks).sent == 4


def test_a_worker_that_is_told_to_stop_begins_no_other_message(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    post(opened, 3, "a")
    assert deliver(opened, NOW, sinks=to(a=receiver.url), stop=lambda: len(receiver.got) > 1).sent == 2
    assert deliver(opened, NOW + SECOND, sinks=to(a=receiver.url)).sent == 1
    assert numbers(receiver) == [0, 1, 2]


def test_messages_that_waited_before_the_upgrade_go_on(opened: Project, receivers: Callable[[], Receiver]) -> None:
    """Their destination is `webhook`, one is put off, one is leased by a process of the old version."""
    receiver = receivers()
    post(opened, 1, "webhook")
    row = core(OutboxRow)
    common = {"destination": "webhook", "body": '{"data": {"number": 9}}', "state": "queued", "created_at": NOW}
    with opened.store.write() as connection:
        for number, (attempt, wait_s) in enumerate(((3, 1_800), (1, 45)), start=1):
            about = Alert(key=f"old{number}", kind="run_cost", urgency="now", text="x", night=NOW.date(), raised_at=NOW)
            values = {"message_id": f"msg_{number}", "alert_pk": alerts.add(connection, about), "attempt": attempt}
            connection.execute(insert(row).values(**common, **values, not_before=NOW + wait_s * SECOND))
    sinks = to(webhook=receiver.url)
    assert [deliver(opened, NOW + after * SECOND, sinks=sinks).sent for after in (0, 44, 46, 1_801)] == [1, 0, 1, 1]
    assert receiver.ids()[1:] == ["msg_2", "msg_1"]


def test_a_destination_without_an_address_keeps_its_messages(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    post(opened, 1, "gone", "a")
    assert deliver(opened, NOW, sinks=to(a=receiver.url)).sent == 1
    assert deliver(opened, NOW + HOUR) == Delivered()
    assert state(opened, "gone") == [("queued", 0)]
    assert deliver(opened, NOW + timedelta(days=6), sinks=to(a=receiver.url)) == Delivered()
    post(opened, 1, "a", first=1)
    assert deliver(opened, NOW + timedelta(days=7, seconds=1), sinks=to(a=receiver.url)) == Delivered(1, 0, 1)
    assert state(opened, "gone") == [("failed", 0)], "it waits a week for its address, and holds up nobody"
    assert state(opened, "a") == [("sent", 1)] * 2


def test_a_process_without_the_address_takes_nothing_from_one_that_delivers_to_it(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    receiver.always, receiver.headers = 503, {"retry-after": "3000"}
    receiver.holds.clear()
    post(opened, 2, "a")
    sinks = to(a=receiver.url)
    delivering = threading.Thread(target=lambda: deliver(opened, NOW, sinks=sinks))
    delivering.start()
    assert receiver.arrived.wait(30)
    assert deliver(opened, NOW + SECOND) == Delivered()
    receiver.holds.set()
    delivering.join()
    assert deliver(opened, NOW + timedelta(minutes=1)) == Delivered()
    assert deliver(opened, NOW + timedelta(minutes=49), sinks=sinks) == Delivered(), "what it asked to wait is kept"
    assert deliver(opened, NOW + timedelta(minutes=51), sinks=sinks).put_off == 1


def test_a_destination_that_was_configured_again_for_a_while_has_its_week_anew(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()
    receiver.always = 503
    post(opened, 1, "a")
    days = [timedelta(days=at, minutes=at) for at in (0, 5, 6, 8, 12, 14)]
    assert deliver(opened, NOW + days[0]) == Delivered()
    assert deliver(opened, NOW + days[1], sinks=to(a=receiver.url)).put_off == 1
    given_up = [deliver(opened, NOW + at).failed for at in days[2:]]
    assert given_up == [0, 0, 0, 1]


def test_a_destination_that_is_set_wrong_is_told_and_holds_up_no_other(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()

    def wrong(_http: HttpClient) -> Sink:
        raise SettingsError("SPOTCHECK_X_URL is not an address")

    post(opened, 2, "a", "wrong")
    with pytest.raises(SettingsError, match="SPOTCHECK_X_URL"):
        deliver(opened, NOW, sinks={"wrong": wrong} | dict(to(a=receiver.url)))
    assert numbers(receiver) == [0, 1]
    assert state(opened, "wrong") == [("queued", 0)] * 2


def test_a_sink_that_crashes_has_not_delivered_and_holds_up_no_other(
    opened: Project, receivers: Callable[[], Receiver]
) -> None:
    receiver = receivers()

    class Crashing:
        def deliver(self, message: OutgoingMessage) -> Delivery:
            raise KeyError(message.message_id)

    post(opened, 1, "a", "crashing")
    sinks = {"crashing": lambda _http: Crashing()} | dict(to(a=receiver.url))
    assert deliver(opened, NOW, sinks=sinks) == Delivered(sent=1, put_off=1)
    with opened.store.read() as connection:
        said = [row["said"] for rows in outbox.delivery(connection, [1]).values() for row in rows if row["said"]]
    assert said == ["the sink failed: KeyError"]


def test_an_alert_goes_to_every_destination_that_has_an_address_and_a_replays_to_none(
    open_project: OpenProject, database_url: str
) -> None:
    found = project(open_project, database_url, environ={"SPOTCHECK_WEBHOOK_URL": "https://hooks.example.org"})
    found.nights.first_tick(NOW)
    about = Alert(key="1", kind="run_cost", urgency="now", text="x", night=NOW.date(), raised_at=NOW)
    with found.store.write() as connection:
        assert raise_alert(found, connection, about)
        found.nights.is_replaying = True
        assert raise_alert(found, connection, about.model_copy(update={"key": "2"}))
    assert state(found, "webhook") == [("queued", 0)]
