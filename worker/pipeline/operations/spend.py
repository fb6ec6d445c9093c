"""Money that the agents spend: a day against its cap and its own past, and nights with many very dear runs."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from worker.core.drift import alerting, operational
from worker.pipeline.alert import raise_alert
from worker.pipeline.follow import MUTE_NIGHTS
from worker.project.project import Project
from worker.records import Alert
from worker.store.results import alerts
from worker.store.runs import operational as stored_figures
from worker.store.runs.operational import StoredFigure

_TAIL_NIGHTS = 28
_WEEKS = 4


def look_at_today(project: Project, now: datetime) -> None:
    """Tell once a day that the agents' spend is above its cap; yesterday too, whose last runs came late."""
    cap = project.settings.alerts.agent_daily_spend_usd
    if cap is None:
        return
    today = project.nights.of(now)
    with project.store.read() as connection:
        spent = stored_figures.agent_spend(connection, project.nights.last_over(now), today)
    for night, usd in sorted(spent.items()):
        if usd <= cap:
            continue
        alert = Alert(
            key=f"daily_spend:{night}",
            kind="daily_spend",
            urgency="now",
            text=f"the agents spent {alerting.format_usd(usd)} on {night}, above the {alerting.format_usd(cap)} cap",
            details={"spent_usd": usd, "cap_usd": cap},
            night=night,
            raised_at=now,
        )
        with project.store.write() as connection:
            raise_alert(project, connection, alert)


def look_at_night(
    project: Project, connection: Connection, rows: Sequence[StoredFigure], night: date, now: datetime
) -> None:
    """A whole night: its spend against the same weekday of the weeks before, its very dear runs against the past.

    Args:
        project: Whose.
        connection: The transaction in which the night is looked at.
        rows: Figures by night, of this night and of those before.
        night: Which.
        now: The time.
    """
    costs = [row for row in rows if row.measure == "cost"]
    _look_for_jump(project, connection, costs, night, now)
    tasks = sorted({row.task_type for row in costs if row.night == night})
    allowed = project.settings.alerts.false_alarms_per_year * alerting.RULES_SHARE
    level = alerting.tail_level(allowed, len(tasks))
    for task_type in tasks:
        own = [row for row in costs if row.task_type == task_type]
        _look_at_tail(project, connection, own, night, level, now)


def _look_for_jump(
    project: Project, connection: Connection, costs: Sequence[StoredFigure], night: date, now: datetime
) -> None:
    by_night: dict[date, float] = defaultdict(float)
    for row in costs:
        by_night[row.night] += row.total
    before = [by_night.get(night - timedelta(weeks=weeks), 0.0) for weeks in range(1, _WEEKS + 1)]
    z = alerting.spend_z(by_night.get(night, 0.0), before)
    if z is None or z <= alerting.SPEND_Z or _was_told(connection, "spend_jump", None, night):
        return
    usual = sorted(before)[len(before) // 2]
    alert = Alert(
        key=f"spend_jump:{night}",
        kind="spend_jump",
        urgency="now",
        text=(
            f"the agents spent {alerting.format_usd(by_night[night])} on {night:%a %d %b}, where "
            f"{alerting.format_usd(usual)} is usual on that weekday"
        ),
        details={"spent_usd": by_night[night], "usual_usd": usual, "z": z},
        night=night,
        raised_at=now,
    )
    raise_alert(project, connection, alert)


def _look_at_tail(
    project: Project, connection: Connection, own: Sequence[StoredFigure], night: date, level: float, now: datetime
) -> None:
    since = night - timedelta(days=_TAIL_NIGHTS)
    past = operational.merge_histograms(row.histogram or {} for row in own if since <= row.night < night)
    tonight = operational.merge_histograms(row.histogram or {} for row in own if row.night == night)
    known, runs = sum(past.values()), sum(tonight.values())
    dear = operational.tail_bucket(past, alerting.TAIL_SHARE)
    if known < alerting.MIN_RUNS_FOR_TAIL or dear is None:
        return
    count = operational.count_from(tonight, dear)
    expected = alerting.expected_tail(operational.count_from(past, dear), known, runs)
    chance = alerting.poisson_tail(count, expected)
    task_type, floor_usd = own[0].task_type, operational.lower_bound(dear)
    if chance >= level or _was_told(connection, "cost_tail", task_type, night):
        return
    alert = Alert(
        key=f"cost_tail:{task_type}:{night}",
        kind="cost_tail",
        urgency="now",
        task_type=task_type,
        text=(
            f"{task_type}: {count:,} of {runs:,} runs on {night} cost {alerting.format_usd(floor_usd)} or more, "
            f"where {expected:.1f} are usual"
        ),
        details={"runs": runs, "dear": count, "expected": expected, "from_usd": floor_usd, "chance": chance},
        night=night,
        raised_at=now,
    )
    raise_alert(project, connection, alert)


def _was_told(connection: Connection, kind: str, task_type: str | None, night: date) -> bool:
    """Whether the nights before told the same: what lasts is told once a week, not every night."""
    return alerts.was_raised(connection, kind, task_type, night - timedelta(days=MUTE_NIGHTS), night)
