"""Changes and weekly charts as the sentences of the report are made from."""

from datetime import date, timedelta
from typing import Any

from worker.core.drift.learning import learned
from worker.core.report.model import Change, StreamChart, WeekPoint, Window
from worker.core.report.story import sentences
from worker.core.stats.contrast import NO_CONTRASTS
from worker.records import Drift
from worker.records import Stream as Key

WINDOW = Window(date(2026, 11, 16), date(2026, 11, 22), "week 2026-W47", ("2026-W46", "2026-W47"), 7, 900)
OPERATIONAL = {
    "cost_per_run": "cost",
    "error_rate": "errors",
    "tool_failure:issue_refund": "tool",
    "steps_per_run": "steps",
}


def change(scorer: str = "quality", task_type: str | None = "refund", **over: Any) -> Change:
    fields = {
        "stream": Key(task_type, scorer, "1"),
        "kind": OPERATIONAL.get(scorer, "agent"),
        "direction": "down",
        "before": 0.91,
        "after": 0.72,
        "window_nights": 7,
        "scored": 150,
        "z": 5.0,
        "chance_per_year": 0.02,
        "since": date(2026, 11, 10),
        "found_night": date(2026, 11, 16),
    } | over
    is_new = Drift.model_validate(fields).found_night >= WINDOW.since
    return Change(Drift.model_validate(fields), is_new, NO_CONTRASTS, "", ())


def stream(
    task_type: str | None = "refund", scorer: str = "quality", state: Any = "tested", mean: float | None = 0.9
) -> StreamChart:
    low, high = (None, None) if mean is None else (mean - 0.05, mean + 0.05)
    point = WeekPoint("2026-W47", "1", 400, 40, 40, 0, mean, low, high)
    nights = 40 if state == "tested" else 3
    known = learned(WINDOW.until - timedelta(days=nights - 1), WINDOW.until, nights)
    return StreamChart(task_type, scorer, True, (point,), (), nights, state, learned=known)


def told(
    *changes: Change, streams: tuple[StreamChart, ...] = (), window: Window | None = WINDOW, **over: Any
) -> list[str]:
    given: dict[str, Any] = {"primary": "quality", "figures": 0, "sensitivity": (), "nights": 7} | over
    tallies = given.pop("tallies", ())
    return ["".join(sentence) for sentence in sentences(window, streams, changes, tallies, **given)]
