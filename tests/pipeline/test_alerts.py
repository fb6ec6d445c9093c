"""What is told: once, muted where people said so, sent signed until it has arrived, and history is no news."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.projects import OpenProject
from tests.support.receivers import Receiver, receiving
from tests.support.watched_team import MONDAY, project, send
from worker.pipeline.alert import raise_alert
from worker.pipeline.deliver import MOST_ATTEMPTS, deliver
from worker.pipeline.draw import draw_night
from worker.pipeline.operations.watch import watch
from worker.project.project import Project
from worker.records import Alert
from worker.store.results import alerts, outbox

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(12), UTC)
"""A noon that is over: no test of a day's sums runs into the next one, whatever the hour."""
NIGHT = NOW.date()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def _costly(run_id: str, cost_usd: float, ended_at: datetime = NOW) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "task_type": "faq",
        "status": "completed",
        "ended_at": ended_at.isoformat(),
        "cost_usd": cost_usd,
        "agent": "bot",
    }


def _project(
    open_project: OpenProject, database_url: str, receiver: Receiver | None = None, toml: str = "run_cost_usd = 2.0"
) -> Project:
    environ = {} if receiver is None else {"SPOTCHECK_WEBHOOK_URL": receiver.url, "SPOTCHECK_WEBHOOK_SECRET": SECRET}
    opened = project(open_project, database_url, f"[alerts]\n{toml}", environ)
    opened.nights.first_tick(NOW)
    return opened


def _listed(opened: Project, *, everything: bool = False) -> list[Alert]:
    with opened.store.read() as connection:
        return alerts.list_alerts(connection, everything=everything)


def test_a_run_above_the_cap_is_told_once_and_one_below_is_not(open_project: OpenProject, database_url: str) -> None:
    opened = _project(open_project, database_url)
    send(opened, [_costly("dear", 2.5), _costly("cheap", 1.9)], NOW)
    send(opened, [_costly("dear", 2.5)], NOW)
    send(opened, [_costly("dear", 2.7)], NOW)  # the same run, sent with another cost
    (alert,) = _listed(opened)
    assert (alert.kind, alert.urgency, alert.run_id, alert.details["cost_usd"]) == ("run_cost", "now", "dear", 2.5)


def test_imported_history_raises_no_alarm_about_its_cost(open_project: OpenProject, database_url: str) -> None:
    opened = _project(open_project, database_url)
    send(opened, [_costly("old", 50.0, NOW - timedelta(days=30))], NOW)
    assert _listed(opened, everything=True) == []


def test_a_days_spend_above_its_cap_is_told_once(open_project: OpenProject, database_url: str) -> None:
    opened = _project(open_project, database_url, toml="agent_daily_spend_usd = 10")
    send(opened, [_costly(f"r{index}", 3.0) for index in range(3)], NOW)
    watch(opened, NOW)
    assert _listed(opened) == []
    send(opened, [_costly("r4", 3.0)], NOW)
    for minutes in (1, 2):
        watch(opened, NOW + timedelta(minutes=minutes))
    (alert,) = _listed(opened)
    assert (alert.kind, alert.details["spent_usd"]) == ("daily_spend", 12.0)


def test_what_is_sent_verifies_with_another_implementation_and_holds_the_alert(
    open_project: OpenProject, database_url: str, receiver: Receiver
) -> None:
    opened = _project(open_project, database_url, receiver)
    send(opened, [_costly("dear", 2.5)], NOW)
    # the time of the call, not of the import: a receiver refuses signatures that are older than five minutes
    assert deliver(opened, datetime.now(UTC)).sent == 1
    assert deliver(opened, datetime.now(UTC) + timedelta(hours=1)).sent == 0, "once is enough"
    ((headers, body, _),) = receiver.got
    message = Webhook(SECRET).verify(body, dict(headers))
    assert message["type"] == "spotcheck.alert"
    assert (message["data"]["kind"], message["data"]["run_id"]) == ("run_cost", "dear")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"dear", b"fear"), dict(headers))


def test_a_receiver_that_is_down_gets_the_same_message_later(
    open_project: OpenProject, database_url: str, receiver: Receiver
) -> None:
    opened = _project(open_project, database_url, receiver)
    send(opened, [_costly("dear", 2.5)], NOW)
    receiver.answers = [503, 429]
    later = NOW
    for _ in range(2):
        assert deliver(opened, later).put_off == 1
        assert deliver(opened, later).put_off == 0, "not before its time"
        later += timedelta(hours=2)
    assert deliver(opened, later).sent == 1
    assert len(set(receiver.ids())) == 1
    assert len({got.body for got in receiver.got}) == 1


def test_a_refusal_of_the_message_is_final_and_a_redirect_is_not_followed(
    open_project: OpenProject, database_url: str, receiver: Receiver
) -> None:
    receiver.headers = {"location": "/elsewhere"}
    opened = _project(open_project, database_url, receiver)
    send(opened, [_costly("dear", 2.5)], NOW)
    receiver.answers = [302, 410]
    assert deliver(opened, NOW).failed == 0
    assert len(receiver.got) == 1
    with opened.store.read() as connection:
        assert outbox.waiting(connection) == {"queued": 1}, "the address is wrong, not the message"
    assert deliver(opened, NOW + timedelta(hours=2)).failed == 1
    assert deliver(opened, NOW + timedelta(days=1)).sent == 0
    assert len(receiver.got) == 2
    with opened.store.read() as connection:
        assert outbox.waiting(connection) == {"failed": 1}


def test_nobody_there_for_a_day_ends_as_failed_and_is_kept(open_project: OpenProject, database_url: str) -> None:
    with receiving() as gone:
        opened = _project(open_project, database_url, gone)
    send(opened, [_costly("dear", 2.5)], NOW)
    done = [deliver(opened, NOW + timedelta(hours=2 * attempt)) for attempt in range(MOST_ATTEMPTS + 2)]
    assert sum(delivery.put_off for delivery in done) == MOST_ATTEMPTS - 1
    assert sum(delivery.failed for delivery in done) == 1
    assert len(_listed(opened)) == 1


def test_a_process_that_dies_while_sending_costs_a_repeat_never_a_loss(
    open_project: OpenProject, database_url: str, receiver: Receiver
) -> None:
    opened = _project(open_project, database_url, receiver)
    send(opened, [_costly("dear", 2.5)], NOW)
    with opened.store.write() as connection:
        assert outbox.claim(connection, "webhook", NOW, 60.0)  # claimed, and never heard of again
    assert deliver(opened, NOW + timedelta(seconds=30)).sent == 0
    assert deliver(opened, NOW + timedelta(seconds=61)).sent == 1


def test_a_mute_silences_the_subject_for_its_time_and_loses_nothing(
    open_project: OpenProject, database_url: str, receiver: Receiver
) -> None:
    opened = _project(open_project, database_url, receiver)
    send(opened, [_costly("dear-1", 2.5)], NOW)
    (first,) = _listed(opened)
    with opened.store.write() as connection:
        assert alerts.decide(connection, [first.alert_id or 0], "muted", NOW, muted_until=NIGHT) == 1
    send(opened, [_costly("dear-2", 2.5)], NOW)
    assert deliver(opened, NOW).sent == 1, "the first only"
    assert [(alert.run_id, alert.state) for alert in _listed(opened)] == [("dear-2", "muted"), ("dear-1", "muted")]
    morrow = NOW + timedelta(days=1)
    send(opened, [_costly("dear-3", 2.5, morrow)], morrow)
    assert deliver(opened, morrow).sent == 1


def test_replayed_history_is_stored_and_nothing_leaves(
    open_project: OpenProject, database_url: str, receiver: Receiver
) -> None:
    opened = _project(open_project, database_url, receiver)
    opened.nights.is_replaying = True
    old = Alert(key="drift:1", kind="drift", urgency="now", text="x", night=MONDAY, raised_at=NOW)
    with opened.store.write() as connection:
        assert raise_alert(opened, connection, old)
    assert len(_listed(opened)) == 1
    assert deliver(opened, NOW).sent == 0
    assert receiver.got == []


def test_a_day_that_costs_twice_the_usual_is_told_and_the_next_one_is_not_told_again(
    open_project: OpenProject, database_url: str
) -> None:
    opened = _project(open_project, database_url, toml="")
    first = MONDAY
    for offset in range(37):
        night = first + timedelta(days=offset)
        ended = datetime(night.year, night.month, night.day, 12, tzinfo=UTC)
        cost = 2.0 if offset in (35, 36) else 1.0
        send(opened, [_costly(f"{offset}-{index}", cost, ended) for index in range(5)], ended + timedelta(hours=13))
        draw_night(opened, night, ended + timedelta(hours=14))
        watch(opened, ended + timedelta(hours=14))
    told = [alert for alert in _listed(opened, everything=True) if alert.kind == "spend_jump"]
    assert [alert.night for alert in told] == [first + timedelta(days=35)]
    assert told[0].details["usual_usd"] == 5.0


def test_a_few_runs_that_cost_ten_times_as_much_are_told_though_the_level_stands(
    open_project: OpenProject, database_url: str
) -> None:
    opened = _project(open_project, database_url, toml="")
    rng = random.Random(1)
    for offset in range(20):
        night = MONDAY + timedelta(days=offset)
        ended = datetime(night.year, night.month, night.day, 12, tzinfo=UTC)
        runs = [_costly(f"{offset}-{index}", 0.02 * rng.lognormvariate(0, 0.5), ended) for index in range(60)]
        if offset == 19:
            for run in runs[:5]:
                run["cost_usd"] = 0.5
        send(opened, runs, ended + timedelta(hours=13))
        draw_night(opened, night, ended + timedelta(hours=14))
        watch(opened, ended + timedelta(hours=14))
    (told,) = [alert for alert in _listed(opened, everything=True) if alert.kind == "cost_tail"]
    assert told.night == MONDAY + timedelta(days=19)
    assert 5 <= told.details["dear"] <= 7
