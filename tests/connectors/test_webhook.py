"""The webhook: what every sink keeps to, and a signature that another implementation verifies."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.receivers import receiving
from tests.support.sink_contract import MESSAGE, SinkContract
from worker.connectors.http import HttpClient
from worker.connectors.sinks import webhook
from worker.errors import SettingsError
from worker.settings import Settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class TestWebhook(SinkContract):
    name = "webhook"

    def environ(self, url: str) -> Mapping[str, str]:
        return {"SPOTCHECK_WEBHOOK_URL": url, "SPOTCHECK_WEBHOOK_SECRET": SECRET}


@pytest.mark.parametrize("secret", [SECRET, "plain words, no base64", None])
def test_another_implementation_verifies_what_is_sent(secret: str | None) -> None:
    message = MESSAGE._replace(at=datetime.now(UTC))
    environ = {} if secret is None else {"SPOTCHECK_WEBHOOK_SECRET": secret}
    with receiving() as receiver, HttpClient() as http:
        settings = Settings.read({"SPOTCHECK_WEBHOOK_URL": receiver.url, **environ})
        assert webhook.build(settings, http).deliver(message).outcome == "taken"
    ((headers, body, path),) = receiver.got
    assert (body, path) == (message.body.encode(), "/hook")
    assert (headers["webhook-id"], headers["content-type"]) == ("msg_1", "application/json")
    if secret is None:
        assert "webhook-signature" not in headers
        return
    key = secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode()
    Webhook(key).verify(body, dict(headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body + b" ", dict(headers))


def test_a_secret_that_is_no_base64_where_it_says_so_is_named() -> None:
    settings = Settings.read({"SPOTCHECK_WEBHOOK_URL": "https://x.example", "SPOTCHECK_WEBHOOK_SECRET": "whsec_§"})
    with HttpClient() as http, pytest.raises(SettingsError, match="SPOTCHECK_WEBHOOK_SECRET begins with whsec_ but"):
        webhook.build(settings, http)
