"""Runs to sample: thresholds per stratum of a night, stored; late runs decided by them, never re-drawn."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from worker.core import sampling
from worker.pipeline.activate import Active, activate
from worker.project.project import Project
from worker.records import Draw, Stratum
from worker.records.sample import StratumDraw
from worker.settings.sections_sampling import SamplingSection
from worker.store.queue import enrol, handover
from worker.store.queue.enrol import Registered
from worker.store.rubrics import revisions
from worker.store.runs import draws, references

REFERENCE_NIGHTS = 28
_MOST_FOR_REFERENCE = 5_000
"""Runs a task type's medians are taken from; a uniform subset beyond."""


def plan_night(
    sampling_policy: SamplingSection,
    connection: Connection,
    night: date,
    rate: float | None = None,
    *,
    with_floors: bool = True,
) -> list[tuple[StratumDraw, float]]:
    """What a draw of a night would be, with the rate of each stratum; reads only.

    Args:
        sampling_policy: Rates and floors.
        connection: Any transaction.
        night: Which.
        rate: Instead of the policy's rate; a flagged stratum keeps its own where that is higher.
        with_floors: Whether the floor counts. Not for a stratum that comes late: its first few runs would set the
            threshold to 1 for all that follow.
    """
    plans = []
    for population in draws.populations(connection, night):
        stratum, size = population
        wanted, floor = sampling_policy.policy(stratum.task_type, flagged=stratum.flagged)
        if rate is not None:
            wanted = max(rate, wanted) if stratum.flagged else rate
        floor = floor if with_floors else 0
        keys = draws.smallest_keys(connection, night, stratum, floor + 2)
        decided = sampling.threshold(keys, size, wanted, floor)
        sampled = draws.count_below(connection, night, stratum, decided.value)
        why = "flagged" if decided.why == "rate" and stratum.flagged else decided.why
        plans.append((StratumDraw(night, stratum, size, sampled, decided.value, why), wanted))
    return plans


def draw_night(
    project: Project, night: date, now: datetime, *, rate: float | None = None, lost: Collection[int] = ()
) -> list[StratumDraw]:
    """Draw a night once, and queue its jobs in the same transaction; repeating it adds nothing.

    What the settings and rubric files ask for becomes active in that transaction (`pipeline.activate`), and a night
    that is drawn keeps the scorers that it was drawn with.

    A night that is drawn already keeps its thresholds: late runs are decided by them. With a rate above them the
    stratum gets a new draw that supersedes the old one and only adds runs. A judge that was not there when the night
    was drawn takes it up.

    Returns:
        The strata as they stand after it.
    """
    project.secret  # noqa: B018 stored before the transaction below
    with project.store.write() as connection:
        is_drawn = draws.lock_night(connection, night)
        if not is_drawn and _is_waiting_for_runs(project, connection, night, now):
            return []
        if not is_drawn:
            _learn_references(connection, night)
        active = activate(project, connection, None if is_drawn else night, now)
        _decide(active.sampling, connection, night, now, rate, is_new=not is_drawn)
        if not is_drawn:
            draws.mark_drawn(connection, night, now)
            revisions.note_night(connection, night, active.number)
            enrol.enrol(connection, night, active.scorers, now)
        else:
            draws.add_samples(connection, night, now)
            handover.supersede(connection, night, active.scorers, now, lost)
            handover.adopt(connection, night, active.scorers, now)
        _dispatch(connection, night, now)
        _send_to_batches(project, connection, night, active.scorers)
        standing = _standing(connection, night)
    project.scorers.tell([*active.lines, *([active.trouble] if active.trouble else ())])
    return standing


def decide_late(project: Project, night: date, now: datetime, active: Active, lost: Collection[int] = ()) -> int:
    """Reconcile one drawn night: late runs by the stored thresholds, missing jobs, jobs that nobody else will do.

    Nothing is locked or written where nothing is to be done: this is asked of every recent night twice a minute.

    Args:
        project: Whose night.
        night: Which.
        now: The time.
        active: What is active; without scorers, open jobs are left to whoever has them.
        lost: Keys of scorers that no process can make.

    Returns:
        Jobs added.
    """
    scorers = active.scorers
    with project.store.read() as connection:
        if not draws.has_late_runs(connection, night) and handover.is_up_to_date(connection, night, scorers, lost):
            return 0
    with project.store.write() as connection:
        if not draws.lock_night(connection, night):
            return 0
        _decide(active.sampling, connection, night, now, None, is_new=False)
        draws.add_samples(connection, night, now)
        adopted = 0
        if scorers:
            handover.supersede(connection, night, scorers, now, lost)
            adopted = handover.adopt(connection, night, scorers, now)
        added = adopted + _dispatch(connection, night, now)
        _send_to_batches(project, connection, night, scorers)
        return added


def retire(
    project: Project, night: date, now: datetime, scorers: Sequence[Registered], lost: Collection[int] = ()
) -> None:
    """On a night of long ago, the active scorers take over what one that is not active any more left open."""
    with project.store.write() as connection:
        if draws.lock_night(connection, night):
            handover.supersede(connection, night, scorers, now, lost)
            _send_to_batches(project, connection, night, scorers)


def _send_to_batches(project: Project, connection: Connection, night: date, scorers: Sequence[Registered]) -> None:
    """Move what no process has tried yet to the batch lane, where the settings want that."""
    batched = project.lanes.batched(scorers, is_backfill=project.nights.is_backfill(night), connection=connection)
    enrol.move_untried_to_batch(connection, night, batched)


def _decide(
    sampling_policy: SamplingSection,
    connection: Connection,
    night: date,
    now: datetime,
    rate: float | None,
    *,
    is_new: bool,
) -> None:
    standing = draws.current_draws(connection, night)
    is_raised = False
    with_floors = is_new or rate is not None
    for plan, wanted in plan_night(sampling_policy, connection, night, rate, with_floors=with_floors):
        old = standing.get(plan.stratum)
        if old is not None and (is_new or rate is None or plan.inclusion_probability <= old["threshold"]):
            continue
        is_raised |= old is not None
        decided = Draw(
            night=night,
            stratum=plan.stratum,
            population=plan.population,
            threshold=plan.inclusion_probability,
            drawn=plan.sampled,
            why=plan.why,
            drawn_at=now,
        )
        draws.store_draw(connection, decided, wanted)
    if is_raised:
        enrol.reorder_jobs(connection, night)


def _is_waiting_for_runs(project: Project, connection: Connection, night: date, now: datetime) -> bool:
    """Whether a night without runs should stay undrawn for now: they may be on their way, and want their floors."""
    since = project.nights.last_over(now) - timedelta(days=project.settings.sampling.lookback_nights)
    return night >= since and not draws.populations(connection, night)


def _dispatch(connection: Connection, night: date, now: datetime) -> int:
    pks = enrol.enrolled(connection, [night])[night]
    return enrol.enqueue(connection, night, enrol.registered(connection, pks), now) if pks else 0


def _standing(connection: Connection, night: date) -> list[StratumDraw]:
    current: Mapping[Stratum, Mapping[str, object]] = draws.current_draws(connection, night)  # type: ignore[assignment]  # rows are mappings
    sizes = dict(draws.populations(connection, night))
    found = []
    for stratum, row in sorted(current.items()):
        threshold = float(str(row["threshold"]))
        sampled = draws.count_below(connection, night, stratum, threshold)
        found.append(StratumDraw(night, stratum, sizes.get(stratum, 0), sampled, threshold, str(row["why"])))
    return found


def _learn_references(connection: Connection, night: date) -> None:
    """Store what was usual over the nights before: heuristics of this night are judged by it, whenever they run."""
    since, until = night - timedelta(days=REFERENCE_NIGHTS), night - timedelta(days=1)
    rows = []
    for task_type, values in references.recent_values(connection, since, until, _MOST_FOR_REFERENCE).items():
        usual = sampling.reference(
            [row["cost_usd"] for row in values],
            [row["steps"] for row in values],
            [row["latency_ms"] for row in values],
        )
        rows.append({"night": night, "task_type": task_type, **usual._asdict()})
    references.store_references(connection, rows)
