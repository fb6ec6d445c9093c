"""What becomes of a finding in the nights after it: held open, or let go when the change was made up for."""

from collections.abc import Callable
from datetime import date, datetime

from sqlalchemy import Connection, RowMapping

from worker.store.results import findings

MUTE_NIGHTS = 7
_RECOVERY_NIGHTS = 14
_MADE_UP = 0.25

Level = Callable[[int], float | None]
"""The mean of a stream over its last so many nights, in the unit of the finding; None without a score."""


def follow(connection: Connection, latest: RowMapping, level: Level, night: date, now: datetime) -> None:
    """Hold a living finding open until the nights since have made up three quarters of the change.

    The window that raised the alarm exaggerates the change (it was the worst of many), so half-way back is not
    recovered. A rule of thumb, not a test.
    """
    if (night - latest["found_night"]).days < MUTE_NIGHTS:
        return
    if latest["state"] == "muted" and latest["muted_until"] is not None and night <= latest["muted_until"]:
        return
    now_at = level(min((night - latest["found_night"]).days, _RECOVERY_NIGHTS))
    change = latest["after"] - latest["before"]
    if now_at is not None and change and (now_at - latest["before"]) / change < _MADE_UP:
        findings.set_state(connection, latest["pk"], "recovered", now)
    elif latest["state"] == "muted":
        findings.set_state(connection, latest["pk"], "open", now)
