"""How the judge engine stands at this moment: pace, queue, money and trouble, by model. Cheap enough to ask for ever.

The figures of a pace are a few seconds old: each process says its own every three seconds while it works.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.project.project import Project
from worker.queries.budgets import BudgetStatus, budgets
from worker.queries.destinations import DestinationStatus, destination_statuses
from worker.records import ScorerKey
from worker.records.job import LANES
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance as AccountBalance  # for those who may not see the store
from worker.store.queue import batches, enrol, progress, workers
from worker.store.queue import rates as paces
from worker.store.queue.backlog import Backlog as Backlog
from worker.store.queue.backlog import BlockedJobs as BlockedJobs
from worker.store.queue.batches import Batch as Batch
from worker.store.queue.progress import OpenJobs
from worker.store.queue.rates import RateReading

RECENT_S = 12.0
"""A process that said nothing for so long asks nobody at the moment."""
_TROUBLE_KEPT = timedelta(hours=1)
"""Trouble is told so long where nothing waits for the model; where something does, for as long as it is known."""
NOTHING = AccountBalance(0.0, 0.0, 0.0)


class ModelStatus(NamedTuple):
    """One judge's model."""

    model: str
    server: str | None
    """The judge's address as it may be shown; None where nobody asked it lately."""
    processes: int
    """Those that asked it in the last seconds."""
    calls_per_s: float
    """Calls that ended in a second, of the last seconds."""
    refused: float | None
    """Share of them that was refused (429), 0..1; None without calls."""
    failed: float | None
    """Share of them without an answer (5xx, time-outs, hang-ups), 0..1; None without calls."""
    in_flight: int
    waiting: int
    """Calls that are ready and wait for their turn."""
    limit: int
    """Calls that may be under way, all processes together."""
    starts_per_s: float | None
    """Calls that may start in a second, all processes together; None while nothing bounds them."""
    latency_s: float | None
    """Of an answer, lately; None where nobody asked it lately."""
    queue: Backlog
    spent: AccountBalance
    """Today."""
    trouble: str | None
    """Why nothing is asked; None where the last that was heard of it was an answer."""
    trouble_at: datetime | None
    """When it was last met."""
    resumes_at: datetime | None
    """When the next call may start, where the server is left alone."""


class ScorerSpent(NamedTuple):
    """What one scorer's judging cost today."""

    key: ScorerKey | None
    """None for what was booked before accounts were kept by scorer."""
    spent: AccountBalance


class WorkerStatus(NamedTuple):
    """A live worker."""

    name: str
    lanes: str
    """As in the ledger, separated by commas."""
    pid: int
    seen_at: datetime
    """Its last heartbeat."""


class EngineStatus(NamedTuple):
    """The judge engine at one moment: queue, judges, batches, workers, money."""

    at: datetime
    """By the store's clock."""
    lanes: dict[str, Backlog]
    """What is open, by lane; the times are real, also in a rehearsal."""
    by_scorer: list[tuple[ScorerKey, OpenJobs]]
    models: list[ModelStatus]
    batches: list[Batch]
    """Those on their way, the oldest first."""
    workers: Sequence[WorkerStatus]
    """Those whose heartbeat is recent, by name."""
    day: date
    spent: AccountBalance
    """Today, by the schedule's time zone."""
    month: AccountBalance
    spent_by: list[ScorerSpent]
    capped: list[BudgetStatus]
    """Rubrics that have a cap of their own."""
    destinations: list[DestinationStatus]
    """Where alerts go."""

    @property
    def lost(self) -> int:
        """Jobs that are leased to workers which are gone."""
        return sum(one.lost for _, one in self.by_scorer)


class StatusReader:
    """Reads the status again and again; what does not change is read once."""

    def __init__(self, project: Project) -> None:
        """Nothing is read yet."""
        self._project = project
        self._keys: dict[int, ScorerKey] = {}
        self._in_force: list[str] | None = None

    def read(self) -> EngineStatus:
        """The status: a dozen small queries in one transaction.

        Raises:
            StoreError: The database does not answer.
            SettingsError, RubricError: A scorer in force is wrong.
        """
        if self._in_force is None:
            models = (_model(scorer.key) for scorer in self._project.scorers.judges)
            self._in_force = list(dict.fromkeys(model for model in models if model is not None))
        with self._project.store.read() as connection:
            return self._read(connection, self._in_force)

    def _read(self, connection: Connection, in_force: Sequence[str]) -> EngineStatus:
        at = self._project.store.now(connection)
        day = self._project.nights.of(at)
        open_jobs = [self._in_real_time(one) for one in progress.open_jobs(connection, at)]
        said = paces.readings(connection, at)
        spent = accounts.balances_by_scorer(connection, day)
        of_all, *by_rubric = budgets(self._project, connection)
        open_batches = [one for one in batches.recent_batches(connection, at) if one.state != "done"]
        alive = [
            WorkerStatus._make(row[field] for field in WorkerStatus._fields)
            for row in workers.live_workers(connection, at)
        ]
        self._know(connection, {one.scorer_pk for one in open_jobs} | set(spent))
        by_scorer = [(self._keys[one.scorer_pk], one) for one in open_jobs if one.scorer_pk in self._keys]
        spent_by = [ScorerSpent(self._keys.get(pk), one) for pk, one in spent.items() if any(one)]
        lanes = {
            lane: progress.total_backlog([one for one in open_jobs if one.lane == lane]) for lane in _lanes(open_jobs)
        }
        return EngineStatus(
            at=at,
            lanes=lanes,
            by_scorer=by_scorer,
            models=_models(at, in_force, said, by_scorer, spent_by),
            batches=open_batches,
            workers=alive,
            day=day,
            spent=_total(one for one in spent.values()),
            month=of_all.month,
            spent_by=spent_by,
            capped=[one for one in by_rubric if one.usd_per_day is not None or one.usd_per_month is not None],
            destinations=destination_statuses(self._project.settings, connection),
        )

    def _know(self, connection: Connection, pks: set[int]) -> None:
        if new := pks - set(self._keys):
            self._keys |= {one.pk: one.key for one in enrol.registered(connection, sorted(new))}

    def _in_real_time(self, one: OpenJobs) -> OpenJobs:
        """Jobs are dated by the schedule's clock, which a rehearsal turns."""
        if one.oldest_at is None:
            return one
        return one._replace(oldest_at=self._project.settings.clock.real(one.oldest_at))


def count_live_workers(project: Project) -> int:
    """How many workers of all lanes have a recent heartbeat."""
    with project.store.read() as connection:
        return len(workers.live_workers(connection, project.store.now(connection)))


def is_batch(owner: str) -> bool:
    """Whether jobs that this owner holds are in a batch, and not with a worker process."""
    return batches.is_batch(owner)


def batch_of(project: Project, owner: str) -> Batch | None:
    """The batch that holds jobs as this owner; None where it ended some days ago."""
    with project.store.read() as connection:
        recent = batches.recent_batches(connection, project.store.now(connection))
    return next((batch for batch in recent if batch.owner == owner), None)


def _lanes(open_jobs: Sequence[OpenJobs]) -> list[str]:
    """Those that are drained, and others that hold jobs."""
    return list(dict.fromkeys([*LANES, *(one.lane for one in open_jobs)]))


def _model(key: ScorerKey | None) -> str | None:
    model = None if key is None else key.spec.get("model")
    return None if model is None else str(model)


def _total(each: Iterable[AccountBalance]) -> AccountBalance:
    return AccountBalance(*(sum(amounts) for amounts in zip(*each, strict=True))) if (each := list(each)) else NOTHING


def _models(
    at: datetime,
    in_force: Sequence[str],
    said: Sequence[RateReading],
    by_scorer: Sequence[tuple[ScorerKey, OpenJobs]],
    spent_by: Sequence[ScorerSpent],
) -> list[ModelStatus]:
    """Every model that is in force, asked, waited for or paid today."""
    jobs: dict[str, list[OpenJobs]] = defaultdict(list)
    for key, one in by_scorer:
        if (model := _model(key)) is not None:
            jobs[model].append(one)
    spent: dict[str, list[AccountBalance]] = defaultdict(list)
    for each in spent_by:
        if (model := _model(each.key)) is not None:
            spent[model].append(each.spent)
    heard: dict[str, list[RateReading]] = defaultdict(list)
    for reading in said:
        heard[reading.model].append(reading)
    asked = {model for model, each in heard.items() if _is_recent(each[0], at)}
    named = list(dict.fromkeys([*in_force, *sorted({*asked, *jobs, *spent})]))
    found = []
    for model in named:
        queue = progress.total_backlog(jobs.get(model, []))
        found.append(_model_now(at, model, heard.get(model, []), queue, _total(spent.get(model, []))))
    return found


def _model_now(
    at: datetime, model: str, heard: Sequence[RateReading], queue: Backlog, spent: AccountBalance
) -> ModelStatus:
    """One model, from what its processes said, the newest first."""
    lately = [one for one in heard if _is_recent(one, at)]
    newest = heard[0] if heard else None
    is_wanted = queue.due + queue.later + queue.leased > 0
    has_trouble = newest is not None and newest.trouble is not None
    is_told = newest is not None and has_trouble and (is_wanted or at - newest.at < _TROUBLE_KEPT)
    calls, rates = _rates(lately)
    bounds = [one.per_second for one in lately]
    latencies = [one.latency_s for one in lately if one.latency_s is not None]
    resumes = [one.resumes_at for one in lately if one.resumes_at is not None and one.resumes_at > at]
    return ModelStatus(
        model=model,
        server=newest.server if newest is not None else None,
        processes=len(lately),
        calls_per_s=sum(rates.values()),
        refused=calls["refused"] / total if (total := sum(calls.values())) else None,
        failed=calls["failed"] / total if total else None,
        in_flight=sum(one.in_flight for one in lately),
        waiting=sum(one.waiting for one in lately),
        limit=sum(one.limit for one in lately),
        starts_per_s=sum(one for one in bounds if one is not None) if bounds and None not in bounds else None,
        latency_s=sum(latencies) / len(latencies) if latencies else None,
        queue=queue,
        spent=spent,
        trouble=newest.trouble if newest is not None and is_told else None,
        trouble_at=newest.at if newest is not None and is_told else None,
        resumes_at=min(resumes, default=None),
    )


def _is_recent(one: RateReading, at: datetime) -> bool:
    return at - one.at < timedelta(seconds=RECENT_S)


def _rates(lately: Sequence[RateReading]) -> tuple[Mapping[str, int], Mapping[str, float]]:
    """Calls of the last seconds by how they ended, and how many of them a second."""
    calls, rates = defaultdict[str, int](int), defaultdict[str, float](float)
    for one in lately:
        seconds = max(0.5, (one.at - one.since_at).total_seconds())
        for name in ("answered", "refused", "failed"):
            count = getattr(one, name)
            calls[name] += count
            rates[name] += count / seconds
    return calls, rates
