from datetime import timedelta
from typing import Any

import pytest

from tests.support.ledger import NIGHT, NOW
from worker.records import Drift, Stream
from worker.store.engine import Store
from worker.store.results import findings

LATER = NOW + timedelta(days=1)


def a_drift(**over: Any) -> Drift:
    fields: dict[str, Any] = {
        "stream": Stream("refund", "task_completion", "1+abc", "tone"),
        "direction": "down",
        "before": 0.85,
        "after": 0.76,
        "window_nights": 3,
        "scored": 150,
        "z": 4.1,
        "chance_per_year": 0.025,
        "since": NIGHT - timedelta(2),
        "found_night": NIGHT,
    }
    return Drift(**fields | over)


def test_a_finding_comes_back_as_it_was_found(store: Store) -> None:
    overall = a_drift(stream=Stream(None, "tool_success", "1"), kind="tool", direction="up")
    with store.write() as connection:
        numbers = [findings.add(connection, drift, NOW) for drift in (a_drift(), overall)]
    with store.read() as connection:
        assert findings.list_findings(connection) == [
            overall.model_copy(update={"finding_id": numbers[1]}),
            a_drift(finding_id=numbers[0]),
        ]


def test_findings_are_told_newest_night_first(store: Store) -> None:
    nights = [NIGHT - timedelta(days) for days in (3, 0, 1)]
    with store.write() as connection:
        for night in nights:
            findings.add(connection, a_drift(found_night=night), NOW)
    with store.read() as connection:
        assert [finding.found_night for finding in findings.list_findings(connection)] == sorted(nights, reverse=True)
        (rows,) = findings.by_stream(connection).values()
    assert [row["found_night"] for row in rows] == sorted(nights, reverse=True)


@pytest.mark.parametrize(
    ("state", "is_alive"),
    [("open", True), ("acknowledged", True), ("muted", True), ("accepted", False), ("recovered", False)],
)
def test_a_decided_finding_stays_alive_until_it_is_accepted_or_recovered(
    store: Store, state: str, is_alive: bool
) -> None:
    with store.write() as connection:
        number = findings.add(connection, a_drift(), NOW)
        assert findings.set_state(connection, number, state, LATER, muted_until=NIGHT + timedelta(7)) is True
    with store.read() as connection:
        assert len(findings.list_findings(connection)) == is_alive
        (told,) = findings.list_findings(connection, everything=True)
        ((row,),) = findings.by_stream(connection).values()
    assert told.state == state
    assert (row["found_at"], row["state_at"], row["muted_until"]) == (NOW, LATER, NIGHT + timedelta(7))


def test_nobody_decides_about_a_finding_that_is_not_there(store: Store) -> None:
    with store.write() as connection:
        assert findings.set_state(connection, 7, "accepted", NOW) is False


def test_streams_are_kept_apart(store: Store) -> None:
    streams = [
        Stream("refund", "a", "1", None),
        Stream("refund", "a", "1", "tone"),
        Stream(None, "a", "1", None),
        Stream("refund", "a", "2", None),
    ]
    with store.write() as connection:
        for stream in streams:
            findings.add(connection, a_drift(stream=stream), NOW)
    with store.read() as connection:
        assert set(findings.by_stream(connection)) == set(streams)
