"""A sink: one destination that messages are delivered to. The protocol, a message, and how one attempt may end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from worker.connectors.http import HttpAnswer, HttpClient
from worker.settings import Settings

_LATER = (408, 409, 425, 429)
"""Statuses below 500 that another attempt may change."""
_REFUSED = (400, 410, 411, 413, 415, 422, 431)
"""Statuses about the message itself: the same one is refused again, whoever asks (RFC 9110, §15.5; RFC 6585)."""


class OutgoingMessage(NamedTuple):
    """What is to be delivered, the same over all attempts but for the time."""

    message_id: str
    """Lets a receiver tell a repeat: a process that dies after sending costs a repeat, never a loss."""
    body: str
    """JSON: `{"type":"spotcheck.alert","timestamp":…,"data":{…}}`; data is the alert as `spotcheck alerts --json`."""
    at: datetime
    """The time of this attempt, aware UTC."""

    @property
    def data(self) -> Mapping[str, Any]:
        """What it is about; of an alert among others `text` (a sentence), `urgency`, `task_type`, `night`."""
        data: Mapping[str, Any] = orjson.loads(self.body)["data"]
        return data


class Delivery(NamedTuple):
    """How one attempt ended."""

    outcome: Literal["taken", "later", "misconfigured", "refused"]
    """`later`: the destination is down or busy, it is left alone for a while and then gets the same message again.
    `misconfigured`: so too, but somebody has to mend its address or secret, here or there; it is told until then.
    `refused`: it will never take this message; the message is kept as failed, and the next one goes."""
    text: str
    """What the destination or the network said, one printable line without secrets."""
    retry_after_s: float | None = None
    """What the destination asked to wait, seconds; None when it said nothing."""

    @classmethod
    def of(cls, answer: HttpAnswer) -> "Delivery":
        """What an HTTP answer means.

        Returns:
            2xx is taken; no answer, 408, 409, 425, 429 and 5xx are later; 400, 410, 411, 413, 415, 422 and 431 refuse
            the message. All else (401, 403, 404, a redirect) says that the address or the secret is not the right one.
        """
        if answer.status is not None and 200 <= answer.status < 300:
            return cls("taken", answer.text)
        if answer.status is None or answer.status >= 500 or answer.status in _LATER:
            return cls("later", answer.text, answer.retry_after_s)
        if answer.status in _REFUSED:
            return cls("refused", answer.text)
        return cls("misconfigured", answer.text, answer.retry_after_s)


class Sink(Protocol):
    """One destination, made for one round of deliveries in one thread."""

    def deliver(self, message: OutgoingMessage) -> Delivery:
        """Try once, within half a minute; never raises for what the other side does.

        Where the destination can tell a repeat, send `message_id` with it.
        """
        ...


class SinkModule(Protocol):
    """What a module in `worker/connectors/sinks/` defines; its address in `settings.addresses` registers it."""

    def build(self, settings: Settings, http: HttpClient) -> Sink:
        """The sink, ready to deliver; only called when its address is set. Opens nothing yet.

        Args:
            settings: Its address, and what else it needs.
            http: A client for destinations that speak HTTP; closed after the round.

        Raises:
            SettingsError: What is set for it cannot be used; names the variable.
        """
        ...
