"""`spotcheck alerts`: what it says, what a person may decide, and that a wrong number is one line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from tests.support.documents import a_document, lines
from tests.support.receivers import nobody, receiving
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell

FIELDS = {
    *("alert_id", "kind", "urgency", "task_type", "subject", "text", "details", "night", "finding_id", "run_id"),
    *("raised_at", "state", "muted_until", "sent"),
}


@pytest.fixture
def capped(tmp_path: Path) -> Shell:
    """A project in which one run cost more than the cap."""
    shell = Shell(tmp_path)
    (tmp_path / "spotcheck.toml").write_text("[scoring]\nrubrics = []\n[alerts]\nrun_cost_usd = 1.0\n")
    soon = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    documents = [a_document(f"r{index}", ended_at=soon, cost_usd=0.5 + index) for index in range(2)]
    assert shell("ingest", "-", stdin=lines(*documents)).code == 0
    return shell


def test_nothing_found_is_said_and_nothing_else(empty: Shell) -> None:
    said = empty("alerts")
    assert (said.code, said.out) == (
        0,
        "nothing needs you now; nothing tested yet: no run was ever taken in (spotcheck ingest)\n",
    )
    assert empty("alerts", "--json").json == {"alerts": [], "outbox": {}}


def test_a_run_above_the_cap_is_listed_first_and_named(capped: Shell) -> None:
    said = capped("alerts").out
    assert said.startswith("1 alert to look at now\n")
    assert "run r1 cost $1.50, above the cap of $1.00" in said
    assert "SPOTCHECK_WEBHOOK_URL" in said
    (alert,) = capped("alerts", "--json").json["alerts"]
    assert set(alert) == FIELDS
    assert capped("alerts", "--fail-on-drift").code == 10


@pytest.mark.parametrize(
    ("option", "state", "is_listed"),
    [("--acknowledge", "acknowledged", True), ("--mute", "muted", True), ("--resolve", "resolved", False)],
)
def test_a_person_decides_and_the_list_follows(capped: Shell, option: str, state: str, is_listed: bool) -> None:
    (alert,) = capped("alerts", "--json").json["alerts"]
    listed = capped("alerts", option, alert["alert_id"], "--json").json["alerts"]
    assert [alert["state"] for alert in listed] == ([state] if is_listed else [])
    assert [alert["state"] for alert in capped("alerts", "--all", "--json").json["alerts"]] == [state]
    assert capped("alerts", "--fail-on-drift").code == 0


def test_a_number_that_is_none_is_told_in_one_line_and_nothing_is_decided(capped: Shell) -> None:
    assert "there is no alert 99" in capped.refused("alerts", "--acknowledge", 1, "--mute", 99)
    assert [alert["state"] for alert in capped("alerts", "--json").json["alerts"]] == ["open"]


def test_findings_of_the_review_and_those_told_now_stand_in_one_list(world: ScoredProject) -> None:
    found = world.shell("drift", "--json").json["findings"]
    listed = world.shell("alerts", "--json").json["alerts"]
    assert {alert["finding_id"] for alert in listed} == {finding["finding_id"] for finding in found}
    urgency = {alert["finding_id"]: alert["urgency"] for alert in listed}
    kinds = {finding["finding_id"]: finding["kind"] for finding in found}
    assert {urgency[key] for key, kind in kinds.items() if kind == "agent"} == {"review"}
    assert {urgency[key] for key, kind in kinds.items() if kind == "tool"} == {"now"}, "every failing call is seen"
    assert all("chance alone" in alert["text"] for alert in listed)


def test_what_waits_is_told_with_where_it_goes(capped: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCHECK_WEBHOOK_URL", nobody())
    soon = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    assert capped("ingest", "-", stdin=lines(a_document("r7", ended_at=soon, cost_usd=3.0))).code == 0
    assert "\n1 message on the way to webhook\n" in capped("alerts", "--send").out
    (alert,) = [alert for alert in capped("alerts", "--json").json["alerts"] if alert["run_id"] == "r7"]
    (sent,) = alert["sent"]
    assert (sent["destination"], sent["state"], sent["said"]) == ("webhook", "queued", "Connection refused")
    monkeypatch.delenv("SPOTCHECK_WEBHOOK_URL")
    listed = capped("alerts")
    waiting = "1 message waiting for a destination that is no longer configured: webhook; given up 7 days after"
    assert f"\n{waiting}" in listed.out
    assert waiting in capped("status").out


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_a_wrong_address_or_secret_is_told_with_what_to_mend_until_it_is(
    capped: Shell, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("SPOTCHECK_WEBHOOK_URL", receiver.url)
        receiver.always = status
        soon = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
        assert capped("ingest", "-", stdin=lines(a_document("r7", ended_at=soon, cost_usd=3.0))).code == 0
        told = capped("alerts", "--send")
        took_nothing = f"webhook took nothing: HTTP {status}; check SPOTCHECK_WEBHOOK_URL and its secret"
        assert took_nothing in told.out
        assert "nobody took" not in told.out
        assert took_nothing in capped("status").out
        (sent,) = capped("alerts", "--json").json["alerts"][0]["sent"]
        assert (sent["state"], sent["said"]) == ("queued", f"HTTP {status}")
    with receiving() as mended:
        monkeypatch.setenv("SPOTCHECK_WEBHOOK_URL", mended.url)
        assert "took nothing" not in capped("alerts").out, "another address"
        assert "took nothing" not in capped("alerts", "--send").out
        assert len(mended.got) == 1


def test_a_wrong_address_hides_nothing_of_the_night(capped: Shell) -> None:
    wrong = {"SPOTCHECK_WEBHOOK_URL": "hooks.example/x"}
    dear = a_document("dear", ended_at=datetime.now(UTC).isoformat(), cost_usd=9.0)
    assert capped("ingest", "-", stdin=lines(dear), **wrong).code == 0
    said = capped("nightly", **wrong)
    assert said.code == 0
    assert "runs drawn" in said.out or "no night is due" in said.out
    assert "alerts wait, since SPOTCHECK_WEBHOOK_URL is not an address; write https://HOST/PATH" in said.err


def test_a_test_message_goes_everywhere_and_shows_the_answer(shell: Shell, database_url: str) -> None:
    shell.environ["SPOTCHECK_DATABASE_URL"] = database_url
    assert "nothing is sent anywhere: set SPOTCHECK_WEBHOOK_URL" in shell.refused("alerts", "--test")
    with receiving() as hook, receiving() as slack:
        slack.always, slack.text = 403, b"invalid_token"
        hook.answers = [204, 204]
        both = {"SPOTCHECK_WEBHOOK_URL": hook.url, "SPOTCHECK_SLACK_URL": slack.url}
        said = shell("alerts", "--test", **both)
        assert said.code == 6
        assert said.out.splitlines()[0].startswith("webhook took the test message: HTTP 204")
        assert said.out.splitlines()[1].startswith("slack did not take it (misconfigured): HTTP 403")
        assert orjson.loads(hook.got[0].body)["type"] == "spotcheck.test"
        assert "nothing is wrong" in orjson.loads(slack.got[0].body)["text"]
        slack.always = 200
        assert shell("alerts", "--test", "--json", **both).json["test"]["slack"]["outcome"] == "taken"
        assert shell("alerts", "--all", "--json").json["alerts"] == [], "it is no alert"


def test_what_was_rehearsed_never_leaves_also_when_the_database_is_used_for_real(
    shell: Shell, database_url: str
) -> None:
    shell.environ["SPOTCHECK_DATABASE_URL"] = database_url
    (shell.folder / "spotcheck.toml").write_text("[alerts]\nrun_cost_usd = 1.0\n", encoding="utf-8")
    now = datetime.now(UTC)
    run = lines(a_document("dear", cost_usd=9.0, ended_at=(now - timedelta(hours=3)).isoformat()))
    clock = f"{now:%Y-%m-%dT%H:%M:%SZ}@{now:%Y-%m-%dT%H:%M:%SZ} x10"
    with receiving() as hook:
        sent = {"SPOTCHECK_WEBHOOK_URL": hook.url}
        assert shell("ingest", "-", stdin=run, SPOTCHECK_CLOCK=clock, **sent).code == 0
        assert shell("alerts", "--send", SPOTCHECK_CLOCK=clock, **sent).code == 0
        said = shell("alerts", "--send", "--json", **sent).json
        assert [one["kind"] for one in said["alerts"]] == ["run_cost"]
        assert (said["outbox"], hook.got) == ({}, [])
