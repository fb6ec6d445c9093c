"""How the pipeline stands now: a judge that is down for long, nights that do not end, old settings, refused messages.

What passes by itself within the hour is no alert; `spotcheck health` and `status` show it at once.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.jobs.trouble import in_short
from worker.pipeline.operations.troubles import PipelineTrouble, Recovery, settle
from worker.project.project import Project
from worker.records.job import LANES
from worker.store import meta
from worker.store.budget.accounts import NIGHTLY
from worker.store.health import TURN
from worker.store.queue import backlog, workers
from worker.store.results import alerts, cells, destinations, outbox
from worker.store.runs import draws

JUDGE, NIGHT, SETTINGS, SINK = "judge", "night", "settings", "sink"
"""The checks, as subjects of their alerts begin."""
_LOOKED_AT, _SINCE = "standing_looked_at", "settings_trouble_since"
_EVERY = timedelta(minutes=5)
_JUDGE_DOWN, _SINK_DOWN, _OLD_SETTINGS = timedelta(hours=1), timedelta(hours=1), timedelta(minutes=15)
"""How long each must last before it is told."""
_UNFINISHED = timedelta(hours=24)
"""A night whose jobs are open so long after its draw is told; the night after it is drawn by then."""


def look_at_standing(project: Project, now: datetime, *, is_asked: bool = False) -> None:
    """Tell, once each, what has been wrong for long, and when it is over. Free but every few minutes.

    Args:
        project: Whose.
        now: The time.
        is_asked: Look now, however recently somebody did.
    """
    if project.nights.start() is None or project.nights.is_replaying:
        return
    with project.store.read() as connection:
        at = project.store.now(connection)
        before = meta.get_meta(connection, _LOOKED_AT)
    if not is_asked and before and timedelta() <= at - datetime.fromisoformat(before) < _EVERY:
        return
    night = project.nights.last_over(now)
    with project.store.write() as connection:
        draws.lock_night(connection, night)
        meta.set_meta(connection, _LOOKED_AT, at.isoformat())
        judge = list(_judges_down(project, connection, at))
        is_down = bool(judge or alerts.open_troubles(connection, JUDGE))
        found = {
            JUDGE: judge,
            NIGHT: list(_unfinished(project, connection, now, is_down=is_down)),
            SETTINGS: list(_old_settings(project, connection, at)),
            SINK: list(_refusing_sinks(project, connection, now)),
        }
        for check, troubles in found.items():
            settle(project, connection, check, troubles, night, now, recovered=_over(connection, check))


def _judges_down(project: Project, connection: Connection, at: datetime) -> Iterator[PipelineTrouble]:
    for lane in ("judge", "batch"):
        row = json.loads(meta.get_meta(connection, f"{TURN}{lane}") or "{}")
        trouble, since = row.get("trouble"), row.get("since")
        if not trouble or not since:
            continue
        began = datetime.fromisoformat(since)
        counts = backlog.lane_backlog(connection, at, lane)
        waiting = counts.due + counts.later + counts.leased
        if at - began < _JUDGE_DOWN or not waiting:
            continue
        text = f"no judge has answered since {_at(project, began)}: {in_short(trouble)}; {waiting:,} scores wait for it"
        subject = JUDGE if lane == "judge" else f"{JUDGE}:{lane}"
        yield PipelineTrouble(subject, project.nights.of(began), text, None, {"waiting": waiting, "began": since})


def _unfinished(project: Project, connection: Connection, now: datetime, *, is_down: bool) -> Iterator[PipelineTrouble]:
    """The oldest night of the lookback that was drawn a day ago and has open jobs, unless the judge is why."""
    since = project.nights.last_over(now) - timedelta(days=project.settings.sampling.lookback_nights)
    nights = draws.drawn_nights(connection, since)
    drawn_at = draws.drawn_at(connection, nights)
    told = {one.night for one in alerts.open_troubles(connection, NIGHT)}
    for night in sorted(nights):
        if now - drawn_at[night] < _UNFINISHED:
            continue
        jobs = cells.open_jobs(connection, night, NIGHTLY)
        if not jobs:
            continue
        if is_down and not told:
            return
        at = project.store.now(connection)
        lanes = {lane: backlog.lane_backlog(connection, at, lane, (night, night), account=NIGHTLY) for lane in LANES}
        by = ", ".join(
            f"{open_now:,} {lane}" for lane, one in lanes.items() if (open_now := one.due + one.later + one.leased)
        )
        text = (
            f"the night of {night:%a %d %b} is not finished a day after its draw: {jobs:,} scores are open ({by}); "
            "is a worker running? spotcheck health says"
        )
        yield PipelineTrouble(NIGHT, night, text, None, {"open": jobs})
        return


def _old_settings(project: Project, connection: Connection, at: datetime) -> Iterator[PipelineTrouble]:
    """Workers that work by other settings or files than the active ones, for a while."""
    troubled = [row for row in workers.live_workers(connection, at) if row["trouble"]]
    since = meta.get_meta(connection, _SINCE)
    if not troubled:
        if since:
            meta.set_meta(connection, _SINCE, "")
        return
    if not since:
        meta.set_meta(connection, _SINCE, at.isoformat())
        return
    began = datetime.fromisoformat(since)
    if at - began < _OLD_SETTINGS:
        return
    first = troubled[0]
    others = f", and {len(troubled) - 1:,} more" if len(troubled) > 1 else ""
    parts = (part.partition(": ") for part in first["trouble"].split(workers.SEPARATOR))
    said = "; ".join(f"{kind}: {in_short(text)}" for kind, _, text in parts)
    text = f"worker {first['name']}{others}: {said}"
    yield PipelineTrouble(
        SETTINGS, project.nights.of(began), text, None, {"workers": [row["name"] for row in troubled]}
    )


def _refusing_sinks(project: Project, connection: Connection, now: datetime) -> Iterator[PipelineTrouble]:
    queued = outbox.queued_by_destination(connection)
    for name, address in project.settings.sink_addresses.items():
        state = destinations.state_of(connection, name, address.get_secret_value())
        since = destinations.begun(state.since, now)
        if not state.failures or since is None or now - since < _SINK_DOWN or not queued.get(name):
            continue
        text = f"{name} has taken no message since {_at(project, since)}: {state.said}; {queued[name]:,} wait" + (
            ", check its address and secret" if state.is_misconfigured else ""
        )
        yield PipelineTrouble(f"{SINK}:{name}", project.nights.of(since), text, None, {"waiting": queued[name]})


def _over(connection: Connection, check: str) -> list[Recovery]:
    """Words for what was told and is over."""
    words = {
        JUDGE: "the judge answers again, or nothing waits for it any more",
        NIGHT: "the night is finished",
        SETTINGS: "every worker works by the active settings again",
        SINK: "it takes messages again, or none wait",
    }
    return [
        Recovery(one.subject, f"{one.subject.partition(':')[2] or check}: {words[check]}")
        for one in alerts.open_troubles(connection, check)
    ]


def _at(project: Project, at: datetime) -> str:
    return f"{at.astimezone(project.settings.zone):%H:%M %Z on %a %d %b}"
