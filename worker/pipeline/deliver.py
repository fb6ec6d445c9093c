"""The outbox to the outside: each message until it has arrived, or nobody takes it for two days."""

import logging
import random
from datetime import datetime, timedelta
from typing import NamedTuple

from worker.connectors.sinks import webhook
from worker.project.project import Project
from worker.store.results import outbox

log = logging.getLogger("spotcheck.alerts")
_AT_ONCE = 10
_LEASE_S = 60.0
"""Longer than an attempt can take; a process that dies in between costs a repeat, never a loss."""
_BACKOFF_S, _BACKOFF_MOST_S = 15.0, 3_600.0
MOST_ATTEMPTS = 40
"""With full jitter about a day; then it counts as failed, and says so."""


class Delivered(NamedTuple):
    """What one round did."""

    sent: int = 0
    put_off: int = 0
    failed: int = 0


def deliver(project: Project, now: datetime) -> Delivered:
    """Send what is due. At least once: a receiver tells repeats by `webhook-id`. Safe at any moment, by anyone.

    No connection is held while the other side thinks; a message is leased for a minute.

    Args:
        project: Whose outbox; without a webhook configured nothing is taken out of it.
        now: The time, for signatures and waits.
    """
    url, secret = project.settings.webhook_url, project.settings.webhook_secret
    if url is None:
        return Delivered()
    webhook.check(url.get_secret_value())
    with project.store.read() as connection:
        if not outbox.waiting(connection).get("queued"):
            return Delivered()
    with project.store.write() as connection:
        letters = outbox.claim(connection, now, _AT_ONCE, _LEASE_S)
    sent = put_off = failed = 0
    for letter in letters:
        key = secret.get_secret_value() if secret is not None else None
        done = webhook.post(url.get_secret_value(), key, letter.message_id, letter.body, now)
        with project.store.write() as connection:
            if done.is_sent:
                outbox.sent(connection, letter.pk, now)
                sent += 1
            elif done.is_final or letter.attempt >= MOST_ATTEMPTS:
                outbox.given_up(connection, letter.pk, done.said, now)
                log.error("webhook: message %s was not taken: %s", letter.message_id, done.said)
                failed += 1
            else:
                outbox.put_off(connection, letter.pk, now + timedelta(seconds=_wait_s(letter.attempt)), done.said)
                put_off += 1
        if not done.is_sent and not done.is_final:
            log.warning("webhook: %s; trying again later", done.said)
            break  # the others would meet the same; they come back when their lease ends
    return Delivered(sent, put_off, failed)


def _wait_s(attempt: int) -> float:
    """Full jitter over a doubling span."""
    return random.uniform(1, min(_BACKOFF_MOST_S, _BACKOFF_S * 2 ** min(attempt, 20)))  # noqa: S311 no secret
