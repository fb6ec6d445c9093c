"""One line in a Slack channel, by an incoming webhook; Mattermost, Rocket.Chat and Discord (`/slack`) take the same."""

import orjson

from worker.connectors.http import HttpClient, checked
from worker.connectors.sinks.sink import Delivery, OutgoingMessage
from worker.settings import Settings

_LONGEST = 3_000
"""Characters of a text; Slack cuts much longer ones."""
_ESCAPED = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
"""Slack's three marks: without them a text may link, or call a whole channel."""


class SlackSink:
    """A channel that shows a line for each alert."""

    def __init__(self, url: str, http: HttpClient) -> None:
        """A channel.

        Args:
            url: The incoming webhook's address, which is a secret.
            http: Sends.
        """
        self._url = url
        self._http = http

    def deliver(self, message: OutgoingMessage) -> Delivery:
        """Send one message. Slack tells no repeats: a process that dies after sending costs a second line."""
        body = orjson.dumps({"text": line(message)})
        return Delivery.of(self._http.post(self._url, body, {"content-type": "application/json"}))


def line(message: OutgoingMessage) -> str:
    """What the channel shows: the alert's sentence as plain text, and which alert it is.

    Example:
        >>> from datetime import datetime
        >>> line(OutgoingMessage("m", '{"data": {"text": "faq: 0.9 → 0.7 <!here>", "alert_id": 7}}', datetime.now()))
        'Spotcheck: faq: 0.9 → 0.7 &lt;!here&gt; (alert 7)'
    """
    data = message.data
    number = f" (alert {data['alert_id']})" if data.get("alert_id") else ""
    text = "".join(char if char.isprintable() else " " for char in str(data.get("text", "")))
    return f"Spotcheck: {text[:_LONGEST].translate(_ESCAPED)}{number}"


def build(settings: Settings, http: HttpClient) -> SlackSink:
    """The channel of the settings.

    Raises:
        SettingsError: The address is not an http or https URL with a host.
    """
    return SlackSink(checked(settings.slack_url, "SPOTCHECK_SLACK_URL"), http)
