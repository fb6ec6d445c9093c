"""A Slack channel: what every sink keeps to, and that a text stays text there."""

import html
from collections.abc import Mapping

import orjson

from tests.support.receivers import Got, receiving
from tests.support.sink_contract import MESSAGE, TEXT, SinkContract
from worker.connectors.http import HttpClient
from worker.connectors.sinks import slack
from worker.settings import Settings


class TestSlack(SinkContract):
    name = "slack"

    def environ(self, url: str) -> Mapping[str, str]:
        return {"SPOTCHECK_SLACK_URL": url}

    def sentence(self, got: Got) -> str:
        """As Slack shows it; what cannot be printed is a space there."""
        shown = html.unescape(orjson.loads(got.body)["text"])
        return shown.replace(TEXT.replace("\u202e", " "), TEXT)


def test_a_text_calls_nobody_and_links_nowhere() -> None:
    with receiving() as receiver, HttpClient() as http:
        settings = Settings.read({"SPOTCHECK_SLACK_URL": receiver.url})
        assert slack.build(settings, http).deliver(MESSAGE).outcome == "taken"
    body = orjson.loads(receiver.got[0].body)
    assert body.keys() == {"text"}
    assert "<" not in body["text"]
    assert "&lt;!channel&gt;" in body["text"]
    assert body["text"].endswith("(alert 7)")
