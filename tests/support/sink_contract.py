"""What every sink keeps to. Inherit it in the sink's test, and say its name and how its address is set."""

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest

from tests.support.receivers import Got, Receiver, nobody, receiving
from worker.connectors.http import HttpClient
from worker.connectors.sinks import registry
from worker.connectors.sinks.sink import Delivery, OutgoingMessage
from worker.errors import SettingsError
from worker.settings import VARIABLES, Settings

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
TEXT = 'refund: run r-1 cost $2.50 </script> "quoted" \u202e {{ 7*7 }} <!channel>'
"""Hostile enough: texts hold what agents and their users wrote."""
DATA = {"alert_id": 7, "kind": "run_cost", "urgency": "now", "text": TEXT, "task_type": "refund", "night": "2026-11-22"}
MESSAGE = OutgoingMessage(
    "msg_1", orjson.dumps({"type": "spotcheck.alert", "timestamp": NOW, "data": DATA}).decode(), at=NOW
)


class SinkContract:
    """Give `name` and `environ`; add tests of what is special about the sink."""

    name: str

    def environ(self, url: str) -> Mapping[str, str]:
        """The variables of a destination at this address, as somebody sets them."""
        raise NotImplementedError

    def settings(self, url: str) -> Settings:
        return Settings.read(self.environ(url))

    def deliver(self, url: str, message: OutgoingMessage = MESSAGE) -> Delivery:
        with HttpClient(timeout_s=5) as http:
            return registry.build(self.name, self.settings(url), http).deliver(message)

    def answered(self, status: int, headers: Mapping[str, str] | None = None) -> tuple[Delivery, Receiver]:
        with receiving() as receiver:
            receiver.always = status
            receiver.headers = dict(headers or {})
            return self.deliver(receiver.url), receiver

    def test_it_is_in_use_once_its_address_is_set_which_is_shown_nowhere(self) -> None:
        assert self.name in registry.names()
        environ = self.environ("https://hooks.example.org/T0KEN")
        settings = Settings.read(environ)
        assert settings.sinks == (self.name,)
        assert "https://hooks.example.org/T0KEN" in settings.secrets
        assert "T0KEN" not in repr(settings) + "".join(map(repr, settings.explain(environ)))
        assert [name for name in environ if name not in VARIABLES] == []

    @pytest.mark.parametrize(
        "url", ["hooks.example.org", "file:///etc/passwd", "https://", "https://hooks.example.org:99999/T0KEN"]
    )
    def test_what_is_no_address_is_refused_by_the_name_of_its_variable(self, url: str) -> None:
        with HttpClient() as http, pytest.raises(SettingsError, match=r"SPOTCHECK_\w+ is not an address") as raised:
            registry.build(self.name, self.settings(url), http)
        assert "hooks.example.org" not in str(raised.value)

    @pytest.mark.parametrize("status", [200, 202, 204])
    def test_any_2xx_is_taken_and_the_alerts_sentence_arrives_whole(self, status: int) -> None:
        delivery, receiver = self.answered(status)
        assert delivery.outcome == "taken"
        (got,) = receiver.got
        assert TEXT in self.sentence(got)

    def sentence(self, got: Got) -> str:
        """What a person or a program there reads; every text in the body, where it is JSON."""
        return "\n".join(texts(orjson.loads(got.body)))

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    def test_a_destination_that_is_busy_gets_it_later_and_says_when(self, status: int) -> None:
        delivery, _ = self.answered(status, {"retry-after": "120"})
        assert (delivery.outcome, delivery.retry_after_s) == ("later", 120)
        assert f"HTTP {status}" in delivery.text

    def test_nobody_there_is_later(self) -> None:
        url = nobody()
        delivery = self.deliver(url)
        assert delivery == Delivery("later", "Connection refused")

    @pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
    def test_a_message_that_is_refused_once_is_refused_for_ever(self, status: int) -> None:
        assert self.answered(status)[0].outcome == "refused"

    @pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 407, 451])
    def test_what_is_wrong_with_the_address_or_the_secret_is_not_held_against_the_message(self, status: int) -> None:
        delivery, _ = self.answered(status, {"retry-after": "120"})
        assert (delivery.outcome, delivery.retry_after_s) == ("misconfigured", 120)
        assert f"HTTP {status}" in delivery.text

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_not_followed(self, status: int) -> None:
        delivery, receiver = self.answered(status, {"location": "/elsewhere"})
        assert delivery.outcome == "misconfigured"
        assert len(receiver.got) == 1

    def test_an_answer_writes_one_printable_line_and_its_address_stands_in_none(self) -> None:
        with receiving() as receiver:
            receiver.always = 400
            receiver.text = b"no\x1b[31m\r\nway\n" + b"x" * 100_000
            said = self.deliver(receiver.url).text
        assert said.startswith("HTTP 400 no [31m way xxx")
        assert len(said) < 200
        assert said.isprintable()
        assert receiver.url not in said


def texts(value: object) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for member in members for text in texts(member)]
