"""The outbox to the outside: each destination by itself, each message until it is taken or nobody takes it for a day.

- A destination has one deliverer at a time (a lease in the store), so its messages leave in the order they were raised.
- A message that a destination does not take now stays at the head of its queue, and the destination is left alone for a
  while: its circuit breaker is open. After that one message is sent to see; if it is taken the others follow at once.
- The time doubles with every failure, with full jitter, and is never shorter than the destination asked for. It stays
  below some minutes for a destination and goes on to an hour for a message: one that always fails is passed by others.
- A message that is refused for ever is kept as failed, and the next one goes.
- Where somebody has to mend the address or its secret, messages are kept for a week, and `alerts` and `status` say so.
  A changed address is a new destination: what the old one did is forgotten.
- Messages for a destination that is not configured any more wait a week for it to come back.
- Destinations are delivered to in a thread each: one that is slow or dead holds up no other.
"""

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from worker.connectors.http import HttpClient
from worker.connectors.sinks import registry
from worker.connectors.sinks.sink import Delivery, OutgoingMessage, Sink
from worker.errors import SpotcheckError
from worker.project.project import Project
from worker.store.engine import Store
from worker.store.results import destinations, outbox
from worker.store.results.destinations import DestinationState, HeldDestination
from worker.store.results.outbox import OutboxMessage

log = logging.getLogger("spotcheck.alerts")
LEASE_S = 60.0
"""Twice what an attempt may take; a process that dies in between costs a repeat after this time, never a loss."""
_ROUND_S = 15.0
"""No message is begun later than this in a round: a slow destination must not keep a worker from its other tasks."""
_BACKOFF_S = 15.0
_MESSAGE_WAIT_S = 3_600.0
"""Longest wait of a message by its own attempts."""
_PAUSE_S = 300.0
"""Longest pause of a destination by its failures. Shorter than a message's wait: after a few failures another message
is sent to see, so that one which is always answered with 500 holds up the rest for minutes, not for a day."""
_OUTAGE = 3
"""From so many failures in a row a destination was down; what waited for it leaves at once when it is back."""
MOST_ATTEMPTS = 40
"""With full jitter about a day; then a message counts as failed, and says so."""
_COUNTED_ATTEMPTS = 8
"""More are not held against a message while its destination has to be mended; its wait is at its longest then."""


class Delivered(NamedTuple):
    """What one round did."""

    sent: int = 0
    put_off: int = 0
    failed: int = 0


def deliver(
    project: Project,
    now: datetime,
    *,
    sinks: Mapping[str, Callable[[HttpClient], Sink]] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Delivered:
    """Send what is due. At least once: a receiver tells repeats by the message's id. Safe at any moment, by anyone.

    No connection to the store is held while the other side thinks.

    Args:
        project: Whose outbox.
        now: The time, for signatures and waits.
        sinks: What delivers to each destination; those that have an address in the settings when not given. Messages
            for other destinations stay in the outbox.
        stop: Asked before each message; once true no other is begun.

    Raises:
        SettingsError: A destination's address or secret cannot be used; what was due for the others has left.
    """
    if sinks is None:
        sinks = registry.in_use(project.settings)
    addresses = {name: address.get_secret_value() for name, address in project.settings.sink_addresses.items()}
    with project.store.read() as connection:
        due = outbox.destinations_due(connection, now)
        due |= {name for name in sinks if destinations.has_moved(connection, name, addresses.get(name))}
    given_up = _give_up_unconfigured(project.store, now, sorted(due.difference(sinks)))
    if not due.intersection(sinks):
        return Delivered(failed=given_up)
    started = time.monotonic()

    def clock() -> datetime:
        return now + timedelta(seconds=time.monotonic() - started)

    queues = [
        _Queue(project.store, name, addresses.get(name), build, clock) for name, build in sinks.items() if name in due
    ]
    stopping = threading.Event()
    with ThreadPoolExecutor(len(queues), thread_name_prefix="deliver") as pool:
        try:
            running = [pool.submit(queue.drain, lambda: stopping.is_set() or stop()) for queue in queues]
            wait(running)
        except BaseException:  # Ctrl-C: each ends after the message that it is sending
            stopping.set()
            raise
    done = [Delivered(failed=given_up), *(future.result() for future in running)]
    return Delivered(*(sum(counts) for counts in zip(*done, strict=True)))


def send_test(project: Project, now: datetime) -> dict[str, Delivery]:
    """Send one message that is no alert to every destination that has an address, now and once.

    Args:
        project: Whose destinations.
        now: The real time, for signatures.

    Returns:
        What each answered, by its name; empty where none is set.

    Raises:
        SettingsError: A destination's address or secret cannot be used.
    """
    data = {"text": "a test of where alerts go: nothing is wrong", "urgency": "now", "kind": "test"}
    body = orjson.dumps({"type": "spotcheck.test", "timestamp": now, "data": data}).decode()
    message = OutgoingMessage(f"msg_test_{uuid.uuid4().hex}", body, now)
    answers = {}
    with HttpClient() as http:
        for name, build in registry.in_use(project.settings).items():
            answers[name] = _attempt(build(http), message)
    return answers


def _give_up_unconfigured(store: Store, now: datetime, names: Collection[str]) -> int:
    """Give up what waited too long for destinations that are not configured any more; how many messages."""
    failed = 0
    for name in names:
        with store.write() as connection:
            since = destinations.note_unconfigured(connection, name, now)
            if now - since < outbox.KEPT:
                continue
            said = "the destination is no longer configured"
            count = outbox.give_up(connection, name, now - outbox.KEPT, said, now)
        failed += count
        if count:
            log.error("%s: given up, since %s for %d days: %d messages", name, said, outbox.KEPT.days, count)
    return failed


class _Queue:
    """One destination's messages, one after the other, as long as it takes them."""

    def __init__(
        self,
        store: Store,
        name: str,
        address: str | None,
        build: Callable[[HttpClient], Sink],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._name = name
        self._address = address
        self._build = build
        self._clock = clock
        self._until = clock() + timedelta(seconds=_ROUND_S)

    def drain(self, stop: Callable[[], bool]) -> Delivered:
        """Deliver until nothing is due, the destination fails, another has it, a stop is asked for, or time is up."""
        sent = put_off = failed = 0
        with HttpClient() as http:
            sink = self._build(http)
            held = self._acquire()
            while held is not None and not stop() and self._clock() < self._until:
                held, message = self._claim(held)
                if held is None or message is None:
                    break
                delivery = _attempt(sink, OutgoingMessage(message.message_id, message.body, self._clock()))
                if delivery.outcome == "taken":
                    held = self._taken(held, message)
                    sent += 1
                elif delivery.outcome == "refused":
                    held = self._refused(held, message, delivery)
                    failed += 1
                else:
                    is_last = self._later(held, message, delivery)
                    held = None
                    put_off, failed = put_off + (not is_last), failed + is_last
            if held is not None:
                with self._store.write() as connection:
                    destinations.release(connection, held, held.state)
        return Delivered(sent, put_off, failed)

    def _acquire(self) -> HeldDestination | None:
        with self._store.write() as connection:
            now = self._clock()
            held = destinations.acquire(connection, self._name, now, LEASE_S, self._address)
            if held is not None and held.has_moved:
                outbox.start_over(connection, self._name, now)
        if held is not None and held.has_moved:
            log.info("%s: its address has changed; what waits is sent there now", self._name)
        return held

    def _claim(self, held: HeldDestination) -> tuple[HeldDestination | None, OutboxMessage | None]:
        with self._store.write() as connection:
            now = self._clock()
            renewed = destinations.renew(connection, held, now, LEASE_S)
            return renewed, outbox.claim(connection, self._name, now, LEASE_S) if renewed is not None else None

    def _taken(self, held: HeldDestination, message: OutboxMessage) -> HeldDestination:
        with self._store.write() as connection:
            now = self._clock()
            outbox.sent(connection, message, now)
            if held.state.failures >= _OUTAGE:
                outbox.make_due(connection, self._name, now)
        if held.state.failures:
            log.info("%s: takes messages again", self._name)
        return held._replace(state=DestinationState())

    def _refused(self, held: HeldDestination, message: OutboxMessage, delivery: Delivery) -> HeldDestination:
        with self._store.write() as connection:
            outbox.mark_failed(connection, message, delivery.text, self._clock())
        log.error("%s: message %s was not taken: %s", self._name, message.message_id, delivery.text)
        return held._replace(state=DestinationState())  # it answers: the next message may fare better

    def _later(self, held: HeldDestination, message: OutboxMessage, delivery: Delivery) -> bool:
        """Leave the message and the destination for later, and give the destination back; whether it is given up."""
        before, is_misconfigured = held.state, delivery.outcome == "misconfigured"
        failures = before.failures + 1
        share = random.random()  # noqa: S311 no secret; one draw for both, so that the oldest message is due first again
        asked_s = delivery.retry_after_s or 0.0
        message_s = max(asked_s, _backoff_s(message.attempt, share, _MESSAGE_WAIT_S))
        pause_s = max(asked_s, _backoff_s(failures, share, _PAUSE_S))
        attempt = message.attempt
        if is_misconfigured and before.failures:  # else it has just taken another message: this one has its share in it
            attempt = min(attempt, max(attempt - 1, _COUNTED_ATTEMPTS))
        with self._store.write() as connection:
            now = self._clock()
            since = destinations.begun(before.since, now) or now
            is_last = attempt >= MOST_ATTEMPTS or (is_misconfigured and now - since >= outbox.KEPT)
            if is_last:
                outbox.mark_failed(connection, message, delivery.text, now)
            else:
                outbox.put_off(connection, message, now + timedelta(seconds=message_s), delivery.text, attempt)
            until = now + timedelta(seconds=pause_s)
            state = DestinationState(failures, until, delivery.text, is_misconfigured, since)
            destinations.release(connection, held, state)
        if is_last:
            log.error("%s: message %s was not taken: %s", self._name, message.message_id, delivery.text)
        if not is_misconfigured:
            log.warning("%s: %s; trying again later", self._name, delivery.text)
        elif not before.is_misconfigured:  # once, not every few minutes: `alerts` and `status` go on saying it
            mend = "check its address and secret; its messages are kept meanwhile"
            log.error("%s: %s; %s", self._name, delivery.text, mend)
        return is_last


def _attempt(sink: Sink, message: OutgoingMessage) -> Delivery:
    """One attempt; a sink that crashes has not delivered, and must not keep the other destinations' messages."""
    try:
        return sink.deliver(message)
    except SpotcheckError:
        raise
    except Exception as error:  # a sink may be anybody's code, and others are still to be sent to
        log.debug("a sink failed", exc_info=True)
        return Delivery("later", f"the sink failed: {type(error).__name__}")


def _backoff_s(attempts: int, share: float, most_s: float) -> float:
    """Full jitter over a span that doubles with every attempt, seconds, 1 to `most_s`."""
    span_s = min(most_s, _BACKOFF_S * 2.0 ** min(attempts, 20))
    return 1.0 + share * (span_s - 1.0)
