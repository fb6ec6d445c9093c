"""One signed POST to a webhook, as the Standard Webhooks specification has it: any of its libraries can verify it."""

import base64
import hashlib
import hmac
import ssl
import urllib.error
import urllib.request
from datetime import datetime
from http.client import HTTPException, HTTPMessage
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from worker.errors import SettingsError

TIMEOUT_S = 10.0
_ANSWER_BYTES = 1_000
_PREFIX = "whsec_"
_RETRIED = (408, 409, 425, 429)


class Delivery(NamedTuple):
    """How one attempt went."""

    is_sent: bool
    is_final: bool
    """Whether another attempt is of no use."""
    said: str
    """What the receiver or the network said, one line."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry what happened, signed, to somebody nobody named."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none."""
        del req, fp, code, msg, headers, newurl


def check(url: str) -> None:
    """Refuse what is no address to send to.

    Raises:
        SettingsError: Not an http or https URL with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("SPOTCHECK_WEBHOOK_URL is not an address; write https://HOST/PATH")


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> str:
    """The value of the `webhook-signature` header.

    Args:
        secret: Any text; `whsec_` and base64, as the specification writes secrets, is taken as those bytes.
        message_id: The same over all attempts.
        at: Time of the attempt.
        body: Exactly what is sent.

    Source: Standard Webhooks, https://www.standardwebhooks.com.
    """
    key = _key(secret)
    signed = b".".join((message_id.encode(), str(int(at.timestamp())).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            raise SettingsError("SPOTCHECK_WEBHOOK_SECRET begins with whsec_ but is not base64 after it") from None
    return secret.encode()


def post(
    url: str, secret: str | None, message_id: str, body: str, at: datetime, *, timeout_s: float = TIMEOUT_S
) -> Delivery:
    """Send one message; never raises for what the other side does.

    Args:
        url: Where to; no redirect is followed.
        secret: Signs the message; None sends it unsigned.
        message_id: Lets a receiver tell a repeat: delivery is at least once.
        body: JSON.
        at: The time, for the signature; receivers refuse old ones.
        timeout_s: Longest wait for an answer.

    Returns:
        Sent with any 2xx. 408, 409, 425, 429, 5xx and every trouble of the network may be tried again; other answers
        are final.
    """
    data = body.encode()
    headers = {
        "content-type": "application/json",
        "user-agent": "spotcheck",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = sign(secret, message_id, at, data)
    request = urllib.request.Request(url, data, headers, method="POST")  # noqa: S310 `check` admits http and https only
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return Delivery(True, True, f"HTTP {answer.status}")
    except urllib.error.HTTPError as error:
        said = error.read(_ANSWER_BYTES).decode("utf-8", "replace")
        is_final = error.code < 500 and error.code not in _RETRIED
        return Delivery(False, is_final, f"HTTP {error.code} {_clean(said)}".strip())
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Delivery(False, False, _clean(str(reason)) or type(error).__name__)


def _clean(text: str) -> str:
    """One printable line, 120 characters at most: the other side is not to write on a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:120]
