"""One signed POST to a webhook, as the Standard Webhooks specification has it: any of its libraries can verify it."""

import base64
import hashlib
import hmac
from datetime import datetime

from worker.connectors.http import HttpClient, checked
from worker.connectors.sinks.sink import Delivery, OutgoingMessage
from worker.errors import SettingsError
from worker.settings import Settings

_PREFIX = "whsec_"
"""Before a secret that is written in base64, as the specification writes them."""


class WebhookSink:
    """A receiver of signed JSON."""

    def __init__(self, url: str, key: bytes | None, http: HttpClient) -> None:
        """A receiver.

        Args:
            url: Where to; http or https.
            key: Signs each message; None sends them unsigned.
            http: Sends.
        """
        self._url = url
        self._key = key
        self._http = http

    def deliver(self, message: OutgoingMessage) -> Delivery:
        """Send one message; receivers tell a repeat by `webhook-id`, and refuse a `webhook-timestamp` that is old."""
        body = message.body.encode()
        headers = {
            "content-type": "application/json",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(int(message.at.timestamp())),
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, message.message_id, message.at, body)
        return Delivery.of(self._http.post(self._url, body, headers))


def build(settings: Settings, http: HttpClient) -> WebhookSink:
    """The webhook of the settings.

    Raises:
        SettingsError: The address is not an http or https URL with a host, or the secret is not base64 after `whsec_`.
    """
    url = checked(settings.webhook_url, "SPOTCHECK_WEBHOOK_URL")
    secret = settings.webhook_secret
    return WebhookSink(url, None if secret is None else signing_key(secret.get_secret_value()), http)


def sign(key: bytes, message_id: str, at: datetime, body: bytes) -> str:
    """The value of the `webhook-signature` header.

    Args:
        key: From `signing_key`.
        message_id: The same over all attempts.
        at: Time of the attempt.
        body: Exactly what is sent.

    Source: Standard Webhooks, https://www.standardwebhooks.com.
    """
    signed = b".".join((message_id.encode(), str(int(at.timestamp())).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signing_key(secret: str) -> bytes:
    """The bytes that a secret stands for: any text as it is; after `whsec_` base64, as the specification writes them.

    Raises:
        SettingsError: It begins with `whsec_`, and the rest is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise SettingsError("SPOTCHECK_WEBHOOK_SECRET begins with whsec_ but is not base64 after it") from None
